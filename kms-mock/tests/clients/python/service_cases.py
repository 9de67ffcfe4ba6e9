"""Cases of STS, IAM and S3, added to those of KMS: the whole list, which boto3 runs,
and the dozen of it that every other client runs too (`DIFFERENT`)."""

import hashlib
import json
import os
import urllib.parse
import urllib.request

import kms_cases
from cases import refuses, same
from kms_cases import cases

ACCOUNT = "123456789012"
# The code, and what the model calls it.
NO_ENTITY = ("NoSuchEntity", "NoSuchEntityException")
# HEAD has no body: its clients make up a code each.
NOT_FOUND = ("404", "NotFound", "NoSuchBucket", "NoSuchKey")
# What clients do differently: all else is between the server and the model that
# they share.
DIFFERENT = [
    "Encrypt",  # blobs to and from base64, an encryption context, a refusal's text
    "UpdateKeyDescription",  # letters of every script and escapes in JSON
    "ScheduleKeyDeletion",  # times and numbers
    "ListAliases",  # pages
    "PutKeyPolicy",  # a document in a document; AccessDenied and a modelled refusal
    "an attested call",  # blobs in structures, and those that only newer models have
    "a throttled call is tried again",  # retries
    "sts AssumeRole",  # the query protocol, and signing with a session's token
    "an issued key with a wrong secret",  # refusals of both protocols
    "a server whose clock is an hour ahead",  # signing by the server's clock
    "s3 PutObject and GetObject",  # streams, and chunks where a client sends those
    "s3 names with spaces, slashes and letters of every script",  # paths, signed
    "s3 checksums",  # trailers
    "s3 uploads in parts",  # XML both ways
]


class World(kms_cases.World):
    """`connect(service, region_name=…, aws_access_key_id=…, …)` makes a client, which
    calls once, or as often as `attempts` says. `corrects_clocks`: the client signs by
    the server's clock once it has been told of it."""

    def __init__(self, connect, corrects_clocks=False):
        super().__init__(connect("kms"), connect("kms", region_name="eu-west-1"))
        self.connect = connect
        self.corrects_clocks = corrects_clocks
        self.s3 = connect("s3")
        self.sts = connect("sts")
        self.iam = connect("iam")

    def bucket(self):
        if "bucket" not in self.made:
            self.made["bucket"] = f"bucket-{self.unique}"
            self.s3.create_bucket(Bucket=self.made["bucket"])
        return self.made["bucket"]

    def role(self):
        if "role" not in self.made:
            trust = {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                        "Action": "sts:AssumeRole",
                    }
                ],
            }
            made = self.iam.create_role(
                RoleName=f"reader-{self.unique}",
                AssumeRolePolicyDocument=json.dumps(trust),
            )["Role"]
            document = made["AssumeRolePolicyDocument"]
            if isinstance(document, str):  # boto3 has read it already
                document = json.loads(urllib.parse.unquote(document))
            same(document, trust)
            self.made["role"] = made
        return self.made["role"]

    def session(self, **more):
        answer = self.sts.assume_role(
            RoleArn=self.role()["Arn"], RoleSessionName="test", **more
        )
        held = answer["Credentials"]
        keys = {
            "aws_access_key_id": held["AccessKeyId"],
            "aws_secret_access_key": held["SecretAccessKey"],
            "aws_session_token": held["SessionToken"],
        }
        return answer, keys


# What the server or the way to it does.


@cases("a throttled call is tried again")
def throttled(w):
    key = w.key()
    faults = os.environ["CASES_MANAGEMENT"] + "/faults"

    def arm(count):
        spec = json.dumps({"spec": f"throttle,operation=DescribeKey,next={count}"})
        urllib.request.urlopen(faults, spec.encode()).close()

    arm(2)
    patient = w.connect("kms", attempts=3)
    same(patient.describe_key(KeyId=key)["KeyMetadata"]["KeyId"], key)
    arm(1)
    message = refuses("ThrottlingException", w.kms.describe_key, KeyId=key)
    assert message.startswith("You have exceeded the rate"), message


@cases("a server whose clock is an hour ahead")
def ahead(w):
    """It verifies every signature, and has a user of its own."""
    endpoint, key_id, secret = os.environ["CASES_AHEAD"].split()
    theirs = w.connect(
        "kms",
        attempts=3,
        endpoint_url=endpoint,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
    )
    if w.corrects_clocks:
        theirs.list_keys()
    else:
        message = refuses("InvalidSignatureException", theirs.list_keys)
        assert message.startswith("Signature expired: "), message


# STS and IAM.


@cases("sts GetCallerIdentity")
def get_caller_identity(w):
    answer = w.sts.get_caller_identity()
    same(answer["Account"], ACCOUNT)
    same(answer["Arn"], os.environ["CASES_ARN"])


@cases("iam CreateRole and GetRole")
def create_role(w):
    role = w.role()
    same(w.iam.get_role(RoleName=role["RoleName"])["Role"]["Arn"], role["Arn"])
    refuses(NO_ENTITY, w.iam.get_role, RoleName="nobody")


@cases("sts AssumeRole")
def assume_role(w):
    answer, keys = w.session()
    arn = answer["AssumedRoleUser"]["Arn"]
    same(arn, f"arn:aws:sts::{ACCOUNT}:assumed-role/{w.role()['RoleName']}/test")
    same(w.connect("sts", **keys).get_caller_identity()["Arn"], arn)


@cases("iam PutRolePolicy decides what a session may do")
def put_role_policy(w):
    key = w.fresh()
    _, keys = w.session()
    theirs = w.connect("kms", **keys)
    message = refuses(
        "AccessDeniedException", theirs.encrypt, KeyId=key["KeyId"], Plaintext=b"x"
    )
    assert "no identity-based policy allows the kms:Encrypt action" in message, message
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "kms:Encrypt", "Resource": key["Arn"]}
        ],
    }
    w.iam.put_role_policy(
        RoleName=w.role()["RoleName"],
        PolicyName="encrypts",
        PolicyDocument=json.dumps(policy),
    )
    theirs.encrypt(KeyId=key["KeyId"], Plaintext=b"x")


@cases("a session policy narrows a session")
def session_policy(w):
    nothing = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Action": "kms:*", "Resource": "*"}],
    }
    _, keys = w.session(Policy=json.dumps(nothing))
    refuses(
        "AccessDeniedException",
        w.connect("kms", **keys).encrypt,
        KeyId=w.key(),
        Plaintext=b"x",
    )


@cases("iam CreateUser, CreateAccessKey, PutUserPolicy")
def create_user(w):
    name = f"user-{w.unique}"
    user = w.iam.create_user(UserName=name)["User"]
    same(user["Arn"], f"arn:aws:iam::{ACCOUNT}:user/{name}")
    w.iam.put_user_policy(
        UserName=name,
        PolicyName="lists",
        PolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*"}
                ],
            }
        ),
    )
    key = w.iam.create_access_key(UserName=name)["AccessKey"]
    keys = {
        "aws_access_key_id": key["AccessKeyId"],
        "aws_secret_access_key": key["SecretAccessKey"],
    }
    same(w.connect("sts", **keys).get_caller_identity()["Arn"], user["Arn"])
    w.connect("kms", **keys).list_keys()
    refuses("AccessDeniedException", w.connect("kms", **keys).create_key)


@cases("an issued key with a wrong secret")
def wrong_secret(w):
    _, keys = w.session()
    keys["aws_secret_access_key"] = "not the secret"
    refuses("SignatureDoesNotMatch", w.connect("sts", **keys).get_caller_identity)
    refuses("InvalidSignatureException", w.connect("kms", **keys).list_keys)


# S3.


def fresh_user(w, name):
    """A client of S3 for a new user, and the user's ARN."""
    user = w.iam.create_user(UserName=f"{name}-{w.unique}")["User"]
    key = w.iam.create_access_key(UserName=user["UserName"])["AccessKey"]
    s3 = w.connect(
        "s3",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )
    return s3, user


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@cases("s3 what a user may do is what policies say")
def s3_authorization(w):
    bucket = f"guarded-{w.unique}"
    w.s3.create_bucket(Bucket=bucket)
    w.s3.put_object(Bucket=bucket, Key="a/k", Body=b"x")
    s3, user = fresh_user(w, "reader")
    at = {"Bucket": bucket, "Key": "a/k"}
    arn = f"arn:aws:s3:::{bucket}"
    message = refuses("AccessDenied", s3.get_object, **at)
    same(
        message,
        f"User: {user['Arn']} is not authorized to perform: s3:GetObject on resource: "
        f'"{arn}/a/k" because no identity-based policy allows the s3:GetObject action',
    )
    for call, named in [
        (s3.put_object, {"Body": b"y", **at}),
        (s3.delete_object, at),
        (s3.list_objects_v2, {"Bucket": bucket}),
        (s3.get_bucket_policy, {"Bucket": bucket}),
        (s3.delete_bucket, {"Bucket": bucket}),
        (s3.create_bucket, {"Bucket": f"another-{w.unique}"}),
        (s3.list_buckets, {}),
    ]:
        refuses("AccessDenied", call, **named)
    refuses(("403", "AccessDenied"), s3.head_object, **at)
    same(w.s3.get_object(**at)["Body"].read(), b"x")
    read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{arn}/a/*"}
    name = {"UserName": user["UserName"], "PolicyName": "reads"}
    w.iam.put_user_policy(PolicyDocument=policy(read), **name)
    same(s3.get_object(**at)["Body"].read(), b"x")
    missing = {"Bucket": bucket, "Key": "a/missing"}
    refuses("AccessDenied", s3.get_object, **missing)
    listing = {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": arn,
        "Condition": {"StringLikeIfExists": {"s3:prefix": "a/*"}},
    }
    w.iam.put_user_policy(PolicyDocument=policy(read, listing), **name)
    refuses("NoSuchKey", s3.get_object, **missing)
    same(s3.list_objects_v2(Bucket=bucket, Prefix="a/")["KeyCount"], 1)
    refuses("AccessDenied", s3.list_objects_v2, Bucket=bucket, Prefix="b/")


@cases("s3 PutBucketPolicy, GetBucketPolicy, DeleteBucketPolicy")
def bucket_policies(w):
    bucket = f"policy-{w.unique}"
    w.s3.create_bucket(Bucket=bucket)
    s3, user = fresh_user(w, "writer")
    refuses("NoSuchBucketPolicy", w.s3.get_bucket_policy, Bucket=bucket)
    message = refuses(
        "MalformedPolicy", w.s3.put_bucket_policy, Bucket=bucket, Policy="nonsense"
    )
    same(message, "Policies must be valid JSON and the first byte must be '{'")
    writes = {
        "Effect": "Allow",
        "Principal": {"AWS": user["Arn"]},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"StringEquals": {"s3:x-amz-storage-class": "STANDARD_IA"}},
    }
    w.s3.put_bucket_policy(Bucket=bucket, Policy=policy(writes))
    same(json.loads(w.s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"], [writes])
    status = w.s3.get_bucket_policy_status(Bucket=bucket)
    same(status["PolicyStatus"]["IsPublic"], False)
    put = {"Bucket": bucket, "Key": "k", "Body": b"x"}
    refuses("AccessDenied", s3.put_object, **put)
    s3.put_object(StorageClass="STANDARD_IA", **put)
    refuses("AccessDenied", s3.get_object, Bucket=bucket, Key="k")
    denies = {**writes, "Effect": "Deny", "Principal": "*"}
    w.s3.put_bucket_policy(Bucket=bucket, Policy=policy(writes, denies))
    message = refuses("AccessDenied", s3.put_object, StorageClass="STANDARD_IA", **put)
    assert message.endswith("with an explicit deny in a resource-based policy"), message
    public = {**writes, "Principal": "*", "Condition": {}}
    refuses(
        "AccessDenied", w.s3.put_bucket_policy, Bucket=bucket, Policy=policy(public)
    )
    w.s3.delete_bucket_policy(Bucket=bucket)
    refuses("AccessDenied", s3.put_object, StorageClass="STANDARD_IA", **put)


# What of S3 is answered; all else is refused.
ANSWERED = set(
    """AbortMultipartUpload CompleteMultipartUpload CopyObject CreateBucket
    CreateMultipartUpload DeleteBucket DeleteBucketCors DeleteBucketEncryption
    DeleteBucketLifecycle DeleteBucketOwnershipControls DeleteBucketPolicy
    DeleteBucketReplication DeleteBucketTagging DeleteBucketWebsite DeleteObject
    DeleteObjects DeleteObjectTagging DeletePublicAccessBlock
    GetBucketAccelerateConfiguration GetBucketAcl GetBucketCors GetBucketEncryption
    GetBucketLifecycle GetBucketLifecycleConfiguration GetBucketLocation
    GetBucketLogging GetBucketNotification GetBucketNotificationConfiguration
    GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus
    GetBucketReplication GetBucketRequestPayment GetBucketTagging GetBucketVersioning
    GetBucketWebsite GetObject GetObjectAcl GetObjectAttributes GetObjectLegalHold
    GetObjectLockConfiguration GetObjectRetention GetObjectTagging
    GetPublicAccessBlock HeadBucket HeadObject ListBuckets ListMultipartUploads
    ListObjects ListObjectsV2 ListObjectVersions ListParts PutBucketAcl PutBucketCors
    PutBucketEncryption PutBucketOwnershipControls PutBucketPolicy PutBucketTagging
    PutBucketVersioning PutObject PutObjectAcl PutObjectLegalHold
    PutObjectLockConfiguration PutObjectRetention PutObjectTagging
    PutPublicAccessBlock UploadPart UploadPartCopy""".split()
)
# Sent to other hosts than the endpoint's, or only of directory buckets.
ELSEWHERE = {"CreateSession", "ListDirectoryBuckets", "WriteGetObjectResponse"}


def least(shape, named):
    """The least value of a shape that a client sends."""
    if shape.type_name == "structure":
        needed = shape.required_members
        if getattr(shape, "is_tagged_union", False):
            needed = list(shape.members)[:1]
        return {
            name: named.get(name, None) or least(shape.members[name], named)
            for name in needed
        }
    if shape.type_name == "list":
        return [least(shape.member, named)]
    if shape.type_name == "string":
        return shape.enum[0] if shape.enum else "x" * shape.metadata.get("min", 1)
    return {
        "boolean": True,
        "integer": 1,
        "long": 1,
        "timestamp": 1_900_000_000,
        "blob": b"x",
        "map": {},
    }[shape.type_name]


@cases("s3 what is not simulated is refused and changes nothing")
def not_simulated(w):
    bucket = f"whole-{w.unique}"
    w.s3.create_bucket(Bucket=bucket)
    at = {"Bucket": bucket, "Key": "k"}
    w.s3.put_object(Body=b"kept", **at)
    operations = set(w.s3.meta.service_model.operation_names)
    assert ANSWERED <= operations, ANSWERED - operations
    others = sorted(operations - ANSWERED - ELSEWHERE)
    assert len(others) > 30, others
    for name in others:
        model = w.s3.meta.service_model.operation_model(name)
        asked = least(model.input_shape, at) if model.input_shape else {}
        refuses(
            ("NotImplemented", "MethodNotAllowed", "501", "405"),
            w.s3._make_api_call,
            name,
            asked,
        )
        same(w.s3.get_object(**at)["Body"].read(), b"kept")
        same(w.s3.list_objects_v2(Bucket=bucket)["KeyCount"], 1)


@cases("s3 CreateBucket, HeadBucket, ListBuckets")
def create_bucket(w):
    w.s3.head_bucket(Bucket=w.bucket())
    names = [bucket["Name"] for bucket in w.s3.list_buckets()["Buckets"]]
    assert w.bucket() in names, names
    refuses(NOT_FOUND, w.s3.head_bucket, Bucket="nowhere")


@cases("s3 PutObject and GetObject")
def put_object(w):
    body = os.urandom(300_000)
    put = w.s3.put_object(Bucket=w.bucket(), Key="put", Body=body)
    same(put["ETag"], f'"{hashlib.md5(body).hexdigest()}"')
    got = w.s3.get_object(Bucket=w.bucket(), Key="put")
    same(got["Body"].read(), body)
    same(got["ETag"], put["ETag"])
    refuses("NoSuchKey", w.s3.get_object, Bucket=w.bucket(), Key="nothing")


@cases("s3 names with spaces, slashes and letters of every script")
def names(w):
    for key in ("a b/c+d%e", "Röntgen/胸部.dcm", "~.-_!*'()"):
        w.s3.put_object(Bucket=w.bucket(), Key=key, Body=key.encode())
        got = w.s3.get_object(Bucket=w.bucket(), Key=key)["Body"].read()
        same(got.decode(), key)
        w.s3.delete_object(Bucket=w.bucket(), Key=key)


@cases("s3 metadata and HeadObject")
def metadata(w):
    given = {"x-amz-c": "115", "study": "1.2.840.1"}
    w.s3.put_object(
        Bucket=w.bucket(),
        Key="meta",
        Body=b"x" * 5,
        Metadata=given,
        ContentType="application/dicom",
    )
    head = w.s3.head_object(Bucket=w.bucket(), Key="meta")
    same(head["Metadata"], given)
    same((head["ContentLength"], head["ContentType"]), (5, "application/dicom"))
    refuses(NOT_FOUND, w.s3.head_object, Bucket=w.bucket(), Key="nothing")


@cases("s3 ranges")
def ranges(w):
    w.s3.put_object(Bucket=w.bucket(), Key="range", Body=b"0123456789")
    for asked, body, told in (
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-1", b"9", "bytes 9-9/10"),
    ):
        got = w.s3.get_object(Bucket=w.bucket(), Key="range", Range=asked)
        same((got["Body"].read(), got["ContentRange"]), (body, told))
    refuses(
        "InvalidRange",
        w.s3.get_object,
        Bucket=w.bucket(),
        Key="range",
        Range="bytes=10-11",
    )


@cases("s3 checksums")
def checksums(w):
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        w.s3.put_object(
            Bucket=w.bucket(), Key="sum", Body=b"pixels", ChecksumAlgorithm=algorithm
        )
        got = w.s3.get_object(Bucket=w.bucket(), Key="sum", ChecksumMode="ENABLED")
        assert got[f"Checksum{algorithm}"], got.keys()
        same(got["Body"].read(), b"pixels")


@cases("s3 ListObjectsV2 with prefix, delimiter and pages")
def list_objects(w):
    for name in ("l/a", "l/b", "l/c/1", "l/c/2", "m"):
        w.s3.put_object(Bucket=w.bucket(), Key=name, Body=b"")
    found, more = [], {}
    for _ in range(2):
        answer = w.s3.list_objects_v2(
            Bucket=w.bucket(), Prefix="l/", MaxKeys=2, **more
        )
        found += [entry["Key"] for entry in answer["Contents"]]
        more = {"ContinuationToken": answer.get("NextContinuationToken")}
    same(found, ["l/a", "l/b", "l/c/1", "l/c/2"])
    same((answer["IsTruncated"], answer["KeyCount"]), (False, 2))
    answer = w.s3.list_objects_v2(Bucket=w.bucket(), Prefix="l/", Delimiter="/")
    same([entry["Key"] for entry in answer["Contents"]], ["l/a", "l/b"])
    same([entry["Prefix"] for entry in answer["CommonPrefixes"]], ["l/c/"])


@cases("s3 CopyObject")
def copy_object(w):
    w.s3.put_object(
        Bucket=w.bucket(), Key="from", Body=b"pixels", Metadata={"kept": "yes"}
    )
    w.s3.copy_object(
        Bucket=w.bucket(), Key="to", CopySource=f"{w.bucket()}/from"
    )
    got = w.s3.get_object(Bucket=w.bucket(), Key="to")
    same((got["Body"].read(), got["Metadata"]), (b"pixels", {"kept": "yes"}))


@cases("s3 uploads in parts")
def multipart(w):
    parts = [os.urandom(5 * 1024 * 1024), b"the last may be small"]
    at = {"Bucket": w.bucket(), "Key": "parts"}
    at["UploadId"] = w.s3.create_multipart_upload(**at)["UploadId"]
    done = []
    for number, part in enumerate(parts, 1):
        sent = w.s3.upload_part(PartNumber=number, Body=part, **at)
        done.append({"PartNumber": number, "ETag": sent["ETag"]})
    listed = w.s3.list_parts(**at)["Parts"]
    same([part["Size"] for part in listed], [len(part) for part in parts])
    backwards = {"Parts": done[::-1]}
    refuses(
        "InvalidPartOrder",
        w.s3.complete_multipart_upload,
        MultipartUpload=backwards,
        **at,
    )
    whole = w.s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **at)
    sums = b"".join(hashlib.md5(part).digest() for part in parts)
    same(whole["ETag"], f'"{hashlib.md5(sums).hexdigest()}-2"')
    got = w.s3.get_object(Bucket=w.bucket(), Key="parts")["Body"].read()
    same(hashlib.sha256(got).digest(), hashlib.sha256(b"".join(parts)).digest())


@cases("s3 an upload in parts that is given up")
def aborted(w):
    at = {"Bucket": w.bucket(), "Key": "given up"}
    at["UploadId"] = w.s3.create_multipart_upload(**at)["UploadId"]
    w.s3.upload_part(PartNumber=1, Body=b"lost", **at)
    uploads = w.s3.list_multipart_uploads(Bucket=w.bucket())["Uploads"]
    assert at["UploadId"] in [upload["UploadId"] for upload in uploads], uploads
    w.s3.abort_multipart_upload(**at)
    refuses("NoSuchUpload", w.s3.list_parts, **at)


@cases("s3 versions")
def versions(w):
    bucket = f"versions-{w.unique}"
    w.s3.create_bucket(Bucket=bucket)
    w.s3.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    at = {"Bucket": bucket, "Key": "k"}
    first = w.s3.put_object(Body=b"first", **at)["VersionId"]
    w.s3.put_object(Body=b"second", **at)
    same(w.s3.get_object(**at)["Body"].read(), b"second")
    same(w.s3.get_object(VersionId=first, **at)["Body"].read(), b"first")
    marker = w.s3.delete_object(**at)
    same(marker["DeleteMarker"], True)
    refuses("NoSuchKey", w.s3.get_object, **at)
    listed = w.s3.list_object_versions(Bucket=bucket)
    same((len(listed["Versions"]), len(listed["DeleteMarkers"])), (2, 1))
    w.s3.delete_object(VersionId=marker["VersionId"], **at)
    same(w.s3.get_object(**at)["Body"].read(), b"second")


@cases("s3 DeleteObject and DeleteObjects")
def delete_object(w):
    for name in ("d1", "d2", "d3"):
        w.s3.put_object(Bucket=w.bucket(), Key=name, Body=b"")
    w.s3.delete_object(Bucket=w.bucket(), Key="d1")
    answer = w.s3.delete_objects(
        Bucket=w.bucket(), Delete={"Objects": [{"Key": "d2"}, {"Key": "d3"}]}
    )
    same(sorted(entry["Key"] for entry in answer["Deleted"]), ["d2", "d3"])
    listed = w.s3.list_objects_v2(Bucket=w.bucket(), Prefix="d")
    same(listed["KeyCount"], 0)
