"""Named cases against a running kms-mock: one line each, a count at the end.

`passed NAME` or `failed NAME: …`; the last line counts them. The program fails
if a case does. There is no third outcome: what kms-mock documents not to have is
a case whose refusal is expected word by word (`lacks`).
"""

import sys
import traceback

class Refused(Exception):
    """A client that is a program of its own was refused: AWS's code and message."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Cases:
    """A list of cases in the order in which they were written."""

    def __init__(self):
        self.cases = []

    def __call__(self, name):
        def add(function):
            self.cases.append((name, function))
            return function

        return add

    def keep(self, names):
        """These cases, which must be there, and no others."""
        known = {name for name, _ in self.cases}
        assert set(names) <= known, set(names) - known
        self.cases = [case for case in self.cases if case[0] in names]

    def run(self, world):
        names = [name for name, _ in self.cases]
        assert len(names) == len(set(names)), "two cases have one name"
        counts = {"passed": 0, "failed": 0}
        for name, function in self.cases:
            standing, because = outcome(function, world)
            counts[standing] += 1
            line = f"{standing} {name}"
            print(f"{line}: {because}" if because else line, flush=True)
        print(
            f"cases: {counts['passed']} passed, {counts['failed']} failed", flush=True
        )
        sys.exit(1 if counts["failed"] else 0)


def outcome(function, world):
    try:
        function(world)
        return "passed", None
    except Exception as error:  # every kind of failure is one line
        where = traceback.extract_tb(error.__traceback__)[1:]
        # The case's own line tells more than the client's.
        place = f"{where[0].filename.rsplit('/', 1)[-1]}:{where[0].lineno} " if where else ""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return "failed", place + text


def answer(error):
    """Code and message of the AWS error that `error` is, if it is one."""
    if isinstance(error, Refused):
        return error.code, error.message
    details = getattr(error, "response", None)
    if isinstance(details, dict) and "Error" in details:
        return details["Error"].get("Code", ""), details["Error"].get("Message", "")
    return "", ""


def refuses(code, call, *arguments, **named):
    """The message of the refusal that `call` must answer; with several codes, any."""
    codes = (code,) if isinstance(code, str) else code
    try:
        call(*arguments, **named)
    except Exception as error:
        got, message = answer(error)
        if got in codes:
            return message
        raise
    raise AssertionError(f"{' or '.join(codes)} was expected, and the call succeeded")


def lacks(text, call, *arguments, **named):
    """`call` asks for what the README says kms-mock has not, and is told so."""
    message = refuses("UnsupportedOperationException", call, *arguments, **named)
    same(message, f"[drydock] {text}")


def same(left, right):
    assert left == right, f"{left!r} is not {right!r}"
