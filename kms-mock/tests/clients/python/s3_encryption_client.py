"""The Amazon S3 Encryption Client for Python, unmodified, against kms-mock.

`cases`: round trips and refusals of its own. `write BUCKET KEY KMS_KEY CONTEXT
FILE` and `read BUCKET KEY KMS_KEY CONTEXT FILE` encrypt a file into an object
and decrypt an object into a file, for tests that do the other half.
"""

import json
import os
import pathlib
import sys

import boto3
from botocore.config import Config
from s3_encryption import S3EncryptionClient, S3EncryptionClientConfig
from s3_encryption.exceptions import S3EncryptionClientError
from s3_encryption.materials.kms_keyring import KmsKeyring
from s3_encryption.materials.materials import AlgorithmSuite, CommitmentPolicy

from cases import Cases, answer, same

cases = Cases()

ONCE = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
CONTEXT = {"study": "1.2.840.1", "purpose": "test"}
BUCKET = "s3ec"


def encryption_client(kms_key, **more):
    keyring = KmsKeyring(boto3.client("kms", config=ONCE), kms_key)
    return S3EncryptionClient(
        boto3.client("s3", config=ONCE),
        S3EncryptionClientConfig(keyring=keyring, **more),
    )


class World:
    def __init__(self):
        self.kms = boto3.client("kms", config=ONCE)
        self.s3 = boto3.client("s3", config=ONCE)
        self.s3.create_bucket(Bucket=BUCKET)
        self.key = self.kms.create_key()["KeyMetadata"]["Arn"]
        self.client = encryption_client(self.key)

    def put(self, name, body, context=CONTEXT):
        self.client.put_object(
            Bucket=BUCKET, Key=name, Body=body, EncryptionContext=dict(context)
        )

    def get(self, name, context=CONTEXT, client=None):
        got = (client or self.client).get_object(
            Bucket=BUCKET, Key=name, EncryptionContext=dict(context)
        )
        return got["Body"].read()

    def stored(self, name):
        got = self.s3.get_object(Bucket=BUCKET, Key=name)
        return got["Body"].read(), got["Metadata"]


def round_trip(length):
    def case(w):
        body = os.urandom(length)
        w.put(f"object-{length}", body)
        stored, metadata = w.stored(f"object-{length}")
        same(len(stored), length + 16)
        same((metadata["x-amz-c"], metadata["x-amz-w"]), ("115", "12"))
        same(w.get(f"object-{length}"), body)

    return case


for length in (0, 1, 16, 4096, 1_000_000):
    cases(f"round trip of {length} bytes")(round_trip(length))


def refused(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception as error:
        assert isinstance(error, S3EncryptionClientError) or answer(error)[0], error
        return error
    raise AssertionError("a refusal was expected, and the call succeeded")


@cases("another context is refused")
def other_context(w):
    w.put("context", b"pixels")
    refused(w.get, "context", {**CONTEXT, "study": "1.2.840.2"})


@cases("a context exchanged in storage is refused by KMS")
def exchanged_context(w):
    w.put("exchanged", b"pixels")
    body, metadata = w.stored("exchanged")
    context = {**json.loads(metadata["x-amz-t"]), "study": "1.2.840.2"}
    metadata["x-amz-t"] = json.dumps(context)
    w.s3.put_object(Bucket=BUCKET, Key="exchanged", Body=body, Metadata=metadata)
    error = refused(w.get, "exchanged", {**CONTEXT, "study": "1.2.840.2"})
    while error is not None and not answer(error)[0]:
        error = error.__cause__ or error.__context__
    same(answer(error)[0] if error else None, "InvalidCiphertextException")


@cases("a flipped bit is refused")
def flipped_bit(w):
    w.put("flipped", b"pixels")
    body, metadata = w.stored("flipped")
    body = bytes([body[0] ^ 1]) + body[1:]
    w.s3.put_object(Bucket=BUCKET, Key="flipped", Body=body, Metadata=metadata)
    refused(w.get, "flipped")


@cases("another object's wrapped key is refused")
def substituted_key(w):
    w.put("one", b"pixels")
    w.put("two", b"others")
    body, metadata = w.stored("one")
    metadata["x-amz-3"] = w.stored("two")[1]["x-amz-3"]
    w.s3.put_object(Bucket=BUCKET, Key="one", Body=body, Metadata=metadata)
    refused(w.get, "one")


@cases("an object from before a rotation opens after it")
def rotation(w):
    w.put("old", b"pixels")
    w.kms.rotate_key_on_demand(KeyId=w.key)
    same(w.get("old"), b"pixels")
    w.put("new", b"pixels")
    same(w.get("new"), b"pixels")


@cases("the older V2 format")
def version_two(w):
    client = version_two_client(w.key)
    client.put_object(
        Bucket=BUCKET, Key="v2", Body=b"pixels", EncryptionContext=dict(CONTEXT)
    )
    assert "x-amz-key-v2" in w.stored("v2")[1]
    same(w.get("v2", client=client), b"pixels")
    refused(w.get, "v2")


def version_two_client(kms_key):
    return encryption_client(
        kms_key,
        encryption_algorithm=AlgorithmSuite.ALG_AES_256_GCM_IV12_TAG16_NO_KDF,
        commitment_policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT,
    )


def main():
    verb, *arguments = sys.argv[1:]
    if verb == "cases":
        cases.run(World())
    bucket, name, kms_key, context, file = arguments
    file, context = pathlib.Path(file), json.loads(context)
    where = {"Bucket": bucket, "Key": name, "EncryptionContext": context}
    if verb == "write":
        encryption_client(kms_key).put_object(Body=file.read_bytes(), **where)
    elif verb == "write-v2":
        version_two_client(kms_key).put_object(Body=file.read_bytes(), **where)
    elif verb == "read":
        got = encryption_client(kms_key).get_object(**where)
        file.write_bytes(got["Body"].read())
    else:
        sys.exit(f"no verb {verb}")


main()
