"""The AWS CLI (version 1, as PyPI has it) against kms-mock, as the environment says.

A start of the program takes most of a second. So one case starts it as a user
does, and all others call its entry point in this process, with the arguments
that the program would have got.
"""

import contextlib
import functools
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from awscli.clidriver import create_clidriver
from botocore import xform_name

from cases import Refused, same
from service_cases import DIFFERENT, World, cases
from shapes import Client, write

ERROR = re.compile(
    r"An error occurred \((\w+)\) when calling the \w+ operation"
    r"(?: \(reached max retries: \d+\))?: ?(.*)",
    re.S,
)
ENVIRONMENT = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
    "region_name": "AWS_DEFAULT_REGION",
    "endpoint_url": "AWS_ENDPOINT_URL",
    "attempts": "AWS_MAX_ATTEMPTS",
}
FOLDER = tempfile.TemporaryDirectory()
os.environ["AWS_MAX_ATTEMPTS"] = "1"


def connect(service, **given):
    changes = {ENVIRONMENT[name]: str(value) for name, value in given.items()}
    return Client(service, lambda *call: perform(service, changes, *call))


def file_of(name, data):
    file = pathlib.Path(FOLDER.name, name)
    file.write_bytes(data)
    return str(file)


def perform(service, changes, operation, given):
    """`aws SERVICE OPERATION --cli-input-json …`, blobs from and to files."""
    files, rest, out = [], {}, None
    for name, value in given.items():
        shape = operation.input_shape.members[name]
        if shape.type_name == "blob":
            streams = name == operation.input_shape.serialization.get("payload")
            argument = file_of(name, value) if streams else f"fileb://{file_of(name, value)}"
        elif shape.type_name == "structure" and bytes in map(type, value.values()):
            argument = ",".join(
                f"{member}@=fileb://{file_of(member, entry)}"
                if isinstance(entry, bytes)
                else f"{member}={entry}"
                for member, entry in value.items()
            )
        else:
            rest[name] = write(shape, value, bytes.decode)
            continue
        files += [f"--{xform_name(name, '-')}", argument]
    command = "s3api" if service == "s3" else service
    arguments = [command, xform_name(operation.name, "-"), "--no-paginate", "--output", "json"]
    if operation.has_streaming_output:  # it takes no JSON, and a file's name at the end
        out = pathlib.Path(FOLDER.name, "out")
        for name, value in rest.items():
            arguments += [f"--{xform_name(name, '-')}", value]
        arguments.append(str(out))
    else:
        arguments += ["--cli-input-json", json.dumps(rest), *files]
    code, said, complained = within(arguments, changes)
    if code != 0:
        found = ERROR.search(complained)
        raise Refused(found[1], found[2].strip()) if found else AssertionError(complained)
    answer = json.loads(said) if said.strip() else {}
    if out is not None:
        answer["Body"] = out.read_bytes()
    return answer


@functools.cache
def driver(_changes):
    """One for each set of credentials: it keeps those it found first."""
    return create_clidriver()


def within(arguments, changes):
    """Runs the CLI's entry point in a changed environment."""
    before = dict(os.environ)
    said, complained = io.StringIO(), io.StringIO()
    if "AWS_ACCESS_KEY_ID" in changes:
        os.environ.pop("AWS_SESSION_TOKEN", None)
    os.environ.update(changes)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            code = driver(tuple(changes.items())).main(arguments)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return code, said.getvalue(), complained.getvalue()


@cases("the program itself")
def program(w):
    aws = pathlib.Path(sys.executable).parent / "aws"

    def run(*arguments):
        done = subprocess.run([aws, *arguments], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    arn = ["--query", "Arn", "--output", "text"]
    same(run("sts", "get-caller-identity", *arn), os.environ["CASES_ARN"])
    source = pathlib.Path(FOLDER.name, "source")
    source.write_bytes(os.urandom(1_000_000))
    copy = pathlib.Path(FOLDER.name, "copy")
    bucket = w.bucket()
    run("s3", "cp", "--only-show-errors", str(source), f"s3://{bucket}/cli/object")
    assert "object" in run("s3", "ls", f"s3://{bucket}/cli/")
    run("s3", "cp", "--only-show-errors", f"s3://{bucket}/cli/object", str(copy))
    same(copy.read_bytes() == source.read_bytes(), True)


cases.keep([*DIFFERENT, "the program itself"])
cases.run(World(connect))
