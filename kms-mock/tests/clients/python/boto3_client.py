"""boto3 against kms-mock, as the environment says: the whole list; with the
argument `different` what clients do differently, with names those cases."""

import io
import os
import ssl
import sys
import urllib.request

import boto3
from botocore.config import Config

from cases import same
from service_cases import DIFFERENT, World, cases

ONCE = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})


def connect(service, attempts=1, **more):
    config = ONCE.merge(Config(retries={"total_max_attempts": attempts}))
    return boto3.client(service, config=config, **more)


@cases("s3 presigned URLs")
def presigned(w):
    w.s3.put_object(Bucket=w.bucket(), Key="signed", Body=b"pixels")
    # Left alone, boto3 signs URLs with version 2.
    signer = boto3.client("s3", config=ONCE.merge(Config(signature_version="s3v4")))
    url = signer.generate_presigned_url(
        "get_object", Params={"Bucket": w.bucket(), "Key": "signed"}, ExpiresIn=60
    )
    bundle = os.environ.get("AWS_CA_BUNDLE")
    trusting = ssl.create_default_context(cafile=bundle) if bundle else None
    with urllib.request.urlopen(url, context=trusting) as answer:
        same(answer.read(), b"pixels")


@cases("s3 files of many parts")
def files(w):
    body = os.urandom(20 * 1024 * 1024)
    w.s3.upload_fileobj(io.BytesIO(body), w.bucket(), "large")
    assert w.s3.head_object(Bucket=w.bucket(), Key="large")["ETag"].endswith('-3"')
    got = io.BytesIO()
    w.s3.download_fileobj(w.bucket(), "large", got)
    same(got.getvalue() == body, True)


if sys.argv[1:]:
    cases.keep(DIFFERENT if sys.argv[1:] == ["different"] else sys.argv[1:])
cases.run(World(connect))
