"""The AWS SDK for JavaScript v3 against kms-mock, as the environment says: the
calls are made by `../javascript/calls.mjs` in the folder given as argument,
which has its `node_modules`; they are checked here."""

import base64
import json
import pathlib
import subprocess
import sys

from cases import Refused
from service_cases import DIFFERENT, World, cases
from shapes import Client, write


class Node:
    """A Node process that makes calls, one at a time."""

    def __init__(self, home):
        calls = pathlib.Path(__file__).parent.parent / "javascript" / "calls.mjs"
        self.process = subprocess.Popen(
            ["node", calls],
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def connect(self, service, **given):
        config = {}
        config["maxAttempts"] = given.get("attempts", 1)
        if "endpoint_url" in given:
            config["endpoint"] = given["endpoint_url"]
        if "region_name" in given:
            config["region"] = given["region_name"]
        if "aws_access_key_id" in given:
            config["credentials"] = {
                "accessKeyId": given["aws_access_key_id"],
                "secretAccessKey": given["aws_secret_access_key"],
                "sessionToken": given.get("aws_session_token"),
            }
        return Client(service, lambda *call: self.perform(service, config, *call))

    def perform(self, service, config, operation, given):
        blob = lambda data: {"$bytes": base64.b64encode(data).decode()}
        call = {
            "service": service,
            "operation": operation.name,
            "input": write(operation.input_shape, given, blob),
            "config": config,
        }
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "node ended"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"]["code"], answer["error"]["message"])
        return answer["output"]


cases.keep(DIFFERENT)
cases.run(World(Node(sys.argv[1]).connect, corrects_clocks=True))
