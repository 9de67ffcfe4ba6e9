"""Named cases against a running kms-mock: one line each, a count at the end.

Standing: `passed NAME`, `not built NAME: …` where the server says by its own
prefix that it lacks the operation, `failed NAME: …`. The last line counts them.
The program fails if a case does.
"""

import sys
import traceback

NOT_BUILT = "[drydock]"


class NotBuilt(Exception):
    """The server lacks what the case is about."""


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

    def leave_out(self, names):
        """Cases about what a client does not have."""
        assert set(names) <= {name for name, _ in self.cases}
        self.cases = [case for case in self.cases if case[0] not in names]

    def run(self, world):
        names = [name for name, _ in self.cases]
        assert len(names) == len(set(names)), "two cases have one name"
        counts = {"passed": 0, "not built": 0, "failed": 0}
        for name, function in self.cases:
            standing, because = outcome(function, world)
            counts[standing] += 1
            line = f"{standing} {name}"
            print(f"{line}: {because}" if because else line, flush=True)
        print(
            f"cases: {counts['passed']} passed, {counts['not built']} not built, "
            f"{counts['failed']} failed",
            flush=True,
        )
        sys.exit(1 if counts["failed"] else 0)


def outcome(function, world):
    try:
        function(world)
        return "passed", None
    except Exception as error:  # every kind of failure is one line
        refused = not_built(error)
        if refused is not None:
            return "not built", refused
        where = traceback.extract_tb(error.__traceback__)[1:]
        # The case's own line tells more than the client's.
        place = f"{where[0].filename.rsplit('/', 1)[-1]}:{where[0].lineno} " if where else ""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return "failed", place + text


def not_built(error):
    """What the server said, if it said that it lacks the operation."""
    code, message = answer(error)
    if code == "UnsupportedOperationException" and NOT_BUILT in message:
        return message
    cause = error.__cause__ or error.__context__
    return not_built(cause) if cause is not None else None


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


def same(left, right):
    assert left == right, f"{left!r} is not {right!r}"
