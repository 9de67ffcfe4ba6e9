"""The AWS Encryption SDK for Python with the Material Providers Library's KMS
keyring, unmodified, against kms-mock."""

import logging
import os

import aws_encryption_sdk
import boto3
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import (
    CreateAwsKmsKeyringInput,
    CreateAwsKmsMultiKeyringInput,
)
from aws_encryption_sdk import CommitmentPolicy
from botocore.config import Config

from cases import Cases, same

# It logs the trace of every refusal, and the cases here are about refusals.
logging.getLogger("aws_encryption_sdk").setLevel(logging.CRITICAL + 1)

cases = Cases()

ONCE = Config(retries={"total_max_attempts": 1})
CONTEXT = {"study": "1.2.840.1", "purpose": "test"}


class World:
    def __init__(self):
        self.kms = boto3.client("kms", config=ONCE)
        self.sdk = aws_encryption_sdk.EncryptionSDKClient(
            commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
        )
        self.providers = AwsCryptographicMaterialProviders(
            config=MaterialProvidersConfig()
        )
        self.one = self.new_key()

    def new_key(self):
        return self.kms.create_key()["KeyMetadata"]["Arn"]

    def keyring(self, key):
        return self.providers.create_aws_kms_keyring(
            CreateAwsKmsKeyringInput(kms_key_id=key, kms_client=self.kms)
        )

    def encrypt(self, keyring, plaintext, context=CONTEXT, **more):
        return self.sdk.encrypt(
            source=plaintext, keyring=keyring, encryption_context=context, **more
        )[0]

    def decrypt(self, keyring, message, context=CONTEXT):
        return self.sdk.decrypt(
            source=message, keyring=keyring, encryption_context=context
        )


def round_trip(length):
    def case(w):
        plaintext = os.urandom(length)
        message = w.encrypt(w.keyring(w.one), plaintext)
        same(message[:3], b"\x02\x05\x78")
        opened, header = w.decrypt(w.keyring(w.one), message)
        same(opened, plaintext)
        assert CONTEXT.items() <= header.encryption_context.items()

    return case


for length in (0, 1, 4096, 10_000):
    cases(f"round trip of {length} bytes")(round_trip(length))


def refused(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Exception:  # the library's errors have no common root
        return
    raise AssertionError("a refusal was expected, and the call succeeded")


@cases("another context is refused")
def other_context(w):
    message = w.encrypt(w.keyring(w.one), b"pixels")
    refused(w.decrypt, w.keyring(w.one), message, {"study": "1.2.840.2"})


@cases("another key is refused")
def other_key(w):
    message = w.encrypt(w.keyring(w.one), b"pixels")
    refused(w.decrypt, w.keyring(w.new_key()), message)


@cases("a disabled key is refused until it is enabled")
def disabled_key(w):
    key = w.new_key()
    message = w.encrypt(w.keyring(key), b"pixels")
    w.kms.disable_key(KeyId=key)
    refused(w.decrypt, w.keyring(key), message)
    w.kms.enable_key(KeyId=key)
    same(w.decrypt(w.keyring(key), message)[0], b"pixels")


@cases("a flipped bit is refused")
def flipped_bit(w):
    message = bytearray(w.encrypt(w.keyring(w.one), b"pixels"))
    message[len(message) // 2] ^= 1
    refused(w.decrypt, w.keyring(w.one), bytes(message))


@cases("a message for two keys opens with either")
def two_keys(w):
    """The second key wraps the data key with Encrypt."""
    other = w.new_key()
    both = w.providers.create_aws_kms_multi_keyring(
        CreateAwsKmsMultiKeyringInput(generator=w.one, kms_key_ids=[other])
    )
    message = w.encrypt(both, b"pixels")
    for key in (w.one, other):
        same(w.decrypt(w.keyring(key), message)[0], b"pixels")


@cases("a message from before a rotation opens after it")
def rotation(w):
    message = w.encrypt(w.keyring(w.one), b"pixels")
    w.kms.rotate_key_on_demand(KeyId=w.one)
    same(w.decrypt(w.keyring(w.one), message)[0], b"pixels")


if __name__ == "__main__":
    cases.run(World())
