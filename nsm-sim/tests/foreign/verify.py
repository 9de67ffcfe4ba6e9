"""PyPI's epsilon-attestation-verifier on one document.

Arguments: document, root (PEM), time (Unix milliseconds). Exits with 0 if it
accepts, 1 if it refuses. Its clock is the machine's; here it is told the time.
"""
import base64
import datetime
import sys

from epsilon_verifier import verifier

document, root, at_ms = sys.argv[1:]
at = datetime.datetime.fromtimestamp(int(at_ms) / 1000, datetime.timezone.utc)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return at


verifier.datetime = Clock
with open(document, "rb") as file:
    text = base64.b64encode(file.read()).decode()
result = verifier.verify_attestation(text, aws_root_cert_path=root)
print(result.module_id, result.pcr0 if result.valid else result.error)
sys.exit(0 if result.valid else 1)
