"""boto3 against kms-mock, as the environment says."""

import os
import ssl
import urllib.request

import boto3
from botocore.config import Config

from cases import same
from service_cases import World, cases

ONCE = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})


def connect(service, **more):
    return boto3.client(service, config=ONCE, **more)


@cases("s3 presigned URLs")
def presigned(w):
    w.s3.put_object(Bucket=w.bucket(), Key="signed", Body=b"pixels")
    # Left alone, boto3 signs URLs with version 2, which new buckets refuse.
    signer = boto3.client("s3", config=ONCE.merge(Config(signature_version="s3v4")))
    url = signer.generate_presigned_url(
        "get_object", Params={"Bucket": w.bucket(), "Key": "signed"}, ExpiresIn=60
    )
    bundle = os.environ.get("AWS_CA_BUNDLE")
    trusting = ssl.create_default_context(cafile=bundle) if bundle else None
    with urllib.request.urlopen(url, context=trusting) as answer:
        same(answer.read(), b"pixels")


cases.run(World(connect))
