"""One case for each of the 56 operations of KMS, and some of their refusals, those
of what kms-mock documents not to have among them.

`world.kms` is called with boto3's names and arguments, so that every client
that can be called that way runs the same list. What KMS computes is checked
apart from it: signatures, public keys and wrapped keys with `cryptography`.
"""

import base64
import hashlib
import hmac
import json
import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from cases import Cases, lacks, refuses, same

cases = Cases()

CONTEXT = {"study": "1.2.840.1", "purpose": "test"}
UNKNOWN_KEY = "00000000-0000-4000-8000-000000000000"
UNKNOWN_STORE = "cks-1234567890abcdef0"
NO_STORE = "CustomKeyStoreNotFoundException"


class World:
    """A KMS client and the keys that cases share, each made at its first use."""

    def __init__(self, kms, other_region=None, account="123456789012"):
        self.kms = kms
        self.other_region = other_region
        self.account = account
        self.made = {}
        self.unique = os.urandom(4).hex()

    def key(self, name="key", **arguments):
        """The id of the key `name`."""
        if name not in self.made:
            answer = self.kms.create_key(Description=name, **arguments)
            self.made[name] = answer["KeyMetadata"]["KeyId"]
        return self.made[name]

    def fresh(self, **arguments):
        """The metadata of a key of the case's own."""
        return self.kms.create_key(**arguments)["KeyMetadata"]

    def signing(self):
        return self.key("signing", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")

    def mac(self):
        return self.key("mac", KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")

    def agreeing(self):
        return self.key("agreeing", KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")

    def encapsulating(self):
        return self.key(
            "encapsulating", KeySpec="ML_KEM_768", KeyUsage="ENCAPSULATE_DECAPSULATE"
        )

    def rsa(self):
        return self.key("rsa", KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")

    def public(self, key):
        der = self.kms.get_public_key(KeyId=key)["PublicKey"]
        return serialization.load_der_public_key(der)


def pages(call, member, **arguments):
    """All entries of a paged list, two at a time."""
    found, marker = [], {}
    for _ in range(1000):
        answer = call(Limit=2, **arguments, **marker)
        found += answer[member]
        if not answer.get("Truncated"):
            return found
        marker = {"Marker": answer["NextMarker"]}
    raise AssertionError("the list does not end")


# Keys.


@cases("CreateKey")
def create_key(w):
    key = w.fresh(Description="a key", Tags=[{"TagKey": "k", "TagValue": "v"}])
    same(key["Arn"].split(":")[5], f"key/{key['KeyId']}")
    same((key["KeyState"], key["Enabled"]), ("Enabled", True))
    same((key["KeySpec"], key["KeyUsage"]), ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"))
    same((key["Origin"], key["KeyManager"]), ("AWS_KMS", "CUSTOMER"))
    same(key["EncryptionAlgorithms"], ["SYMMETRIC_DEFAULT"])


@cases("DescribeKey")
def describe_key(w):
    key = w.fresh(Description="described")
    for name in (key["KeyId"], key["Arn"]):
        same(w.kms.describe_key(KeyId=name)["KeyMetadata"], key)
    message = refuses("NotFoundException", w.kms.describe_key, KeyId=UNKNOWN_KEY)
    assert UNKNOWN_KEY in message, message


@cases("ListKeys")
def list_keys(w):
    keys = [w.fresh()["KeyId"] for _ in range(3)]
    listed = [entry["KeyId"] for entry in pages(w.kms.list_keys, "Keys")]
    assert set(keys) <= set(listed), listed
    same(len(listed), len(set(listed)))


@cases("DisableKey")
def disable_key(w):
    key = w.fresh()
    w.kms.disable_key(KeyId=key["KeyId"])
    message = refuses(
        "DisabledException", w.kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x"
    )
    same(message, f"{key['Arn']} is disabled.")


@cases("EnableKey")
def enable_key(w):
    key = w.fresh()["KeyId"]
    w.kms.disable_key(KeyId=key)
    w.kms.enable_key(KeyId=key)
    w.kms.encrypt(KeyId=key, Plaintext=b"x")


@cases("UpdateKeyDescription")
def update_key_description(w):
    key = w.fresh(Description="old")["KeyId"]
    new = "Röntgen, 胸部, \"two\"\\three 🩻"
    w.kms.update_key_description(KeyId=key, Description=new)
    same(w.kms.describe_key(KeyId=key)["KeyMetadata"]["Description"], new)


@cases("ScheduleKeyDeletion")
def schedule_key_deletion(w):
    key = w.fresh()
    answer = w.kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    same(answer["KeyState"], "PendingDeletion")
    same(answer["PendingWindowInDays"], 7)
    days = (answer["DeletionDate"] - key["CreationDate"]).total_seconds() / 86400
    assert 6.9 < days < 7.1, days
    message = refuses(
        "KMSInvalidStateException", w.kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x"
    )
    same(message, f"{key['Arn']} is pending deletion.")


@cases("CancelKeyDeletion")
def cancel_key_deletion(w):
    key = w.fresh()
    w.kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    same(w.kms.cancel_key_deletion(KeyId=key["KeyId"])["KeyId"], key["Arn"])
    state = w.kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]
    same(state, "Disabled")


@cases("GetKeyLastUsage")
def get_key_last_usage(w):
    key = w.fresh()
    w.kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")
    answer = w.kms.get_key_last_usage(KeyId=key["KeyId"])
    assert key["KeyId"] in answer["KeyId"], answer


@cases("TagResource")
def tag_resource(w):
    w.kms.tag_resource(KeyId=w.key(), Tags=[{"TagKey": "a", "TagValue": "1"}])


@cases("ListResourceTags")
def list_resource_tags(w):
    key = w.fresh(Tags=[{"TagKey": t, "TagValue": t * 2} for t in "abc"])["KeyId"]
    tags = pages(w.kms.list_resource_tags, "Tags", KeyId=key)
    same({t["TagKey"]: t["TagValue"] for t in tags}, {"a": "aa", "b": "bb", "c": "cc"})


@cases("UntagResource")
def untag_resource(w):
    key = w.fresh(Tags=[{"TagKey": t, "TagValue": ""} for t in "ab"])["KeyId"]
    w.kms.untag_resource(KeyId=key, TagKeys=["a"])
    tags = w.kms.list_resource_tags(KeyId=key)["Tags"]
    same([t["TagKey"] for t in tags], ["b"])


# Aliases.


@cases("CreateAlias")
def create_alias(w):
    alias = f"alias/made/{w.unique}"
    w.kms.create_alias(AliasName=alias, TargetKeyId=w.key())
    refuses(
        "AlreadyExistsException",
        w.kms.create_alias,
        AliasName=alias,
        TargetKeyId=w.key(),
    )
    same(w.kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"], w.key())


@cases("UpdateAlias")
def update_alias(w):
    alias, other = f"alias/moved/{w.unique}", w.fresh()["KeyId"]
    w.kms.create_alias(AliasName=alias, TargetKeyId=w.key())
    w.kms.update_alias(AliasName=alias, TargetKeyId=other)
    same(w.kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"], other)


@cases("ListAliases")
def list_aliases(w):
    key = w.fresh()["KeyId"]
    names = [f"alias/listed/{w.unique}/{n}" for n in range(3)]
    for name in names:
        w.kms.create_alias(AliasName=name, TargetKeyId=key)
    listed = pages(w.kms.list_aliases, "Aliases", KeyId=key)
    same(sorted(a["AliasName"] for a in listed), names)
    same({a["TargetKeyId"] for a in listed}, {key})


@cases("DeleteAlias")
def delete_alias(w):
    alias = f"alias/gone/{w.unique}"
    w.kms.create_alias(AliasName=alias, TargetKeyId=w.key())
    w.kms.delete_alias(AliasName=alias)
    refuses("NotFoundException", w.kms.describe_key, KeyId=alias)


# Policies.


def root_only(w):
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Account",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{w.account}:root"},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    }


@cases("PutKeyPolicy")
def put_key_policy(w):
    key, policy = w.fresh()["KeyId"], root_only(w)
    policy["Statement"].append(
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "kms:Encrypt",
            "Resource": "*",
        }
    )
    w.kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    message = refuses(
        "AccessDeniedException", w.kms.encrypt, KeyId=key, Plaintext=b"x"
    )
    assert message.endswith("with an explicit deny in a resource-based policy"), message
    refuses(
        "MalformedPolicyDocumentException",
        w.kms.put_key_policy,
        KeyId=key,
        PolicyName="default",
        Policy="{}",
    )


@cases("GetKeyPolicy")
def get_key_policy(w):
    policy = root_only(w)
    key = w.fresh(Policy=json.dumps(policy))["KeyId"]
    answer = w.kms.get_key_policy(KeyId=key, PolicyName="default")
    same(json.loads(answer["Policy"]), policy)


@cases("ListKeyPolicies")
def list_key_policies(w):
    same(w.kms.list_key_policies(KeyId=w.key())["PolicyNames"], ["default"])


# Rotation.


@cases("EnableKeyRotation")
def enable_key_rotation(w):
    w.kms.enable_key_rotation(KeyId=w.fresh()["KeyId"], RotationPeriodInDays=90)


@cases("GetKeyRotationStatus")
def get_key_rotation_status(w):
    key = w.fresh()["KeyId"]
    same(w.kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"], False)
    w.kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=120)
    status = w.kms.get_key_rotation_status(KeyId=key)
    same((status["KeyRotationEnabled"], status["RotationPeriodInDays"]), (True, 120))


@cases("DisableKeyRotation")
def disable_key_rotation(w):
    key = w.fresh()["KeyId"]
    w.kms.enable_key_rotation(KeyId=key)
    w.kms.disable_key_rotation(KeyId=key)
    same(w.kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"], False)


@cases("RotateKeyOnDemand")
def rotate_key_on_demand(w):
    key = w.fresh()["KeyId"]
    before = w.kms.encrypt(KeyId=key, Plaintext=b"before")["CiphertextBlob"]
    w.kms.rotate_key_on_demand(KeyId=key)
    same(w.kms.decrypt(CiphertextBlob=before)["Plaintext"], b"before")


@cases("ListKeyRotations")
def list_key_rotations(w):
    key = w.fresh()["KeyId"]
    w.kms.rotate_key_on_demand(KeyId=key)
    rotations = w.kms.list_key_rotations(KeyId=key)["Rotations"]
    same([r["RotationType"] for r in rotations], ["ON_DEMAND"])


# Grants.


def grant(w, key, operations=("Decrypt",), **more):
    return w.kms.create_grant(
        KeyId=key,
        GranteePrincipal=f"arn:aws:iam::{w.account}:root",
        Operations=list(operations),
        **more,
    )


@cases("CreateGrant")
def create_grant(w):
    answer = grant(w, w.key(), Constraints={"EncryptionContextSubset": {"a": "b"}})
    assert answer["GrantId"] and answer["GrantToken"], answer


@cases("ListGrants")
def list_grants(w):
    key = w.fresh()["KeyId"]
    ids = {grant(w, key, Name=f"n{n}")["GrantId"] for n in range(3)}
    listed = pages(w.kms.list_grants, "Grants", KeyId=key)
    same({g["GrantId"] for g in listed}, ids)
    same(listed[0]["Operations"], ["Decrypt"])


@cases("ListRetirableGrants")
def list_retirable_grants(w):
    root = f"arn:aws:iam::{w.account}:root"
    made = grant(w, w.fresh()["KeyId"], RetiringPrincipal=root)["GrantId"]
    listed = pages(w.kms.list_retirable_grants, "Grants", RetiringPrincipal=root)
    assert made in {g["GrantId"] for g in listed}, listed


@cases("RevokeGrant")
def revoke_grant(w):
    key = w.fresh()["KeyId"]
    w.kms.revoke_grant(KeyId=key, GrantId=grant(w, key)["GrantId"])
    same(w.kms.list_grants(KeyId=key)["Grants"], [])


@cases("RetireGrant")
def retire_grant(w):
    key = w.fresh()
    root = f"arn:aws:iam::{w.account}:root"
    made = grant(
        w, key["KeyId"], operations=("RetireGrant", "Decrypt"), RetiringPrincipal=root
    )
    w.kms.retire_grant(KeyId=key["Arn"], GrantId=made["GrantId"])
    same(w.kms.list_grants(KeyId=key["KeyId"])["Grants"], [])


# Symmetric encryption.


@cases("Encrypt")
def encrypt(w):
    answer = w.kms.encrypt(
        KeyId=w.key(), Plaintext=b"pixels", EncryptionContext=CONTEXT
    )
    same(answer["EncryptionAlgorithm"], "SYMMETRIC_DEFAULT")
    assert b"pixels" not in answer["CiphertextBlob"]
    assert len(answer["CiphertextBlob"]) == 158, len(answer["CiphertextBlob"])
    message = refuses(
        "ValidationException", w.kms.encrypt, KeyId=w.key(), Plaintext=b"x" * 4097
    )
    assert "less than or equal to 4096" in message, message


@cases("Decrypt")
def decrypt(w):
    blob = w.kms.encrypt(
        KeyId=w.key(), Plaintext=b"pixels", EncryptionContext=CONTEXT
    )["CiphertextBlob"]
    answer = w.kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    same(answer["Plaintext"], b"pixels")
    assert answer["KeyId"].endswith(f"key/{w.key()}"), answer["KeyId"]
    refuses("InvalidCiphertextException", w.kms.decrypt, CiphertextBlob=blob)
    refuses(
        "IncorrectKeyException",
        w.kms.decrypt,
        CiphertextBlob=blob,
        EncryptionContext=CONTEXT,
        KeyId=w.fresh()["KeyId"],
    )


@cases("ReEncrypt")
def re_encrypt(w):
    blob = w.kms.encrypt(KeyId=w.key(), Plaintext=b"pixels")["CiphertextBlob"]
    other = w.fresh()
    answer = w.kms.re_encrypt(
        CiphertextBlob=blob,
        DestinationKeyId=other["KeyId"],
        DestinationEncryptionContext=CONTEXT,
    )
    same(answer["KeyId"], other["Arn"])
    opened = w.kms.decrypt(
        CiphertextBlob=answer["CiphertextBlob"], EncryptionContext=CONTEXT
    )
    same(opened["Plaintext"], b"pixels")


@cases("GenerateDataKey")
def generate_data_key(w):
    answer = w.kms.generate_data_key(
        KeyId=w.key(), KeySpec="AES_256", EncryptionContext=CONTEXT
    )
    same(len(answer["Plaintext"]), 32)
    same(len(answer["CiphertextBlob"]), 184)
    opened = w.kms.decrypt(
        CiphertextBlob=answer["CiphertextBlob"], EncryptionContext=CONTEXT
    )
    same(opened["Plaintext"], answer["Plaintext"])
    refuses("ValidationException", w.kms.generate_data_key, KeyId=w.key())


@cases("GenerateDataKeyWithoutPlaintext")
def generate_data_key_without_plaintext(w):
    answer = w.kms.generate_data_key_without_plaintext(
        KeyId=w.key(), NumberOfBytes=64
    )
    assert "Plaintext" not in answer, answer.keys()
    opened = w.kms.decrypt(CiphertextBlob=answer["CiphertextBlob"])
    same(len(opened["Plaintext"]), 64)


@cases("GenerateRandom")
def generate_random(w):
    one = w.kms.generate_random(NumberOfBytes=32)["Plaintext"]
    two = w.kms.generate_random(NumberOfBytes=32)["Plaintext"]
    same(len(one), 32)
    assert one != two


# Key pairs, signatures, MACs, agreement.


@cases("GenerateDataKeyPair")
def generate_data_key_pair(w):
    answer = w.kms.generate_data_key_pair(KeyId=w.key(), KeyPairSpec="ECC_NIST_P256")
    private = serialization.load_der_private_key(answer["PrivateKeyPlaintext"], None)
    public = serialization.load_der_public_key(answer["PublicKey"])
    same(private.public_key().public_numbers(), public.public_numbers())
    opened = w.kms.decrypt(CiphertextBlob=answer["PrivateKeyCiphertextBlob"])
    same(opened["Plaintext"], answer["PrivateKeyPlaintext"])


@cases("GenerateDataKeyPairWithoutPlaintext")
def generate_data_key_pair_without_plaintext(w):
    answer = w.kms.generate_data_key_pair_without_plaintext(
        KeyId=w.key(), KeyPairSpec="RSA_2048"
    )
    assert "PrivateKeyPlaintext" not in answer, answer.keys()
    opened = w.kms.decrypt(CiphertextBlob=answer["PrivateKeyCiphertextBlob"])
    private = serialization.load_der_private_key(opened["Plaintext"], None)
    public = serialization.load_der_public_key(answer["PublicKey"])
    same(private.public_key().public_numbers(), public.public_numbers())


@cases("GetPublicKey")
def get_public_key(w):
    answer = w.kms.get_public_key(KeyId=w.signing())
    same(answer["KeySpec"], "ECC_NIST_P256")
    same(answer["SigningAlgorithms"], ["ECDSA_SHA_256"])
    key = serialization.load_der_public_key(answer["PublicKey"])
    same(key.curve.name, "secp256r1")


@cases("Sign")
def sign(w):
    answer = w.kms.sign(
        KeyId=w.signing(), Message=b"report", SigningAlgorithm="ECDSA_SHA_256"
    )
    w.public(w.signing()).verify(
        answer["Signature"], b"report", ec.ECDSA(hashes.SHA256())
    )
    rsa = w.key("rsa signing", KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    answer = w.kms.sign(
        KeyId=rsa,
        Message=hashlib.sha256(b"report").digest(),
        MessageType="DIGEST",
        SigningAlgorithm="RSASSA_PSS_SHA_256",
    )
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    w.public(rsa).verify(answer["Signature"], b"report", pss, hashes.SHA256())


@cases("Verify")
def verify(w):
    signed = {
        "KeyId": w.signing(),
        "Message": b"report",
        "SigningAlgorithm": "ECDSA_SHA_256",
    }
    signature = w.kms.sign(**signed)["Signature"]
    same(w.kms.verify(Signature=signature, **signed)["SignatureValid"], True)
    signed["Message"] = b"another"
    refuses(
        "KMSInvalidSignatureException", w.kms.verify, Signature=signature, **signed
    )


@cases("GenerateMac")
def generate_mac(w):
    answer = w.kms.generate_mac(
        KeyId=w.mac(), Message=b"report", MacAlgorithm="HMAC_SHA_256"
    )
    same(len(answer["Mac"]), 32)


@cases("VerifyMac")
def verify_mac(w):
    made = {"KeyId": w.mac(), "Message": b"report", "MacAlgorithm": "HMAC_SHA_256"}
    mac = w.kms.generate_mac(**made)["Mac"]
    same(w.kms.verify_mac(Mac=mac, **made)["MacValid"], True)
    refuses("KMSInvalidMacException", w.kms.verify_mac, Mac=bytes(32), **made)


@cases("DeriveSharedSecret")
def derive_shared_secret(w):
    ours = ec.generate_private_key(ec.SECP256R1())
    der = ours.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    answer = w.kms.derive_shared_secret(
        KeyId=w.agreeing(), KeyAgreementAlgorithm="ECDH", PublicKey=der
    )
    theirs = w.public(w.agreeing())
    same(answer["SharedSecret"], ours.exchange(ec.ECDH(), theirs))


@cases("Encapsulate")
def encapsulate(w):
    answer = w.kms.encapsulate(
        KeyId=w.encapsulating(), EncapsulationAlgorithm="ML_KEM"
    )
    assert answer["SharedSecretCiphertextBlob"], answer.keys()


@cases("Decapsulate")
def decapsulate(w):
    sent = w.kms.encapsulate(
        KeyId=w.encapsulating(), EncapsulationAlgorithm="ML_KEM"
    )
    answer = w.kms.decapsulate(
        KeyId=w.encapsulating(),
        EncapsulationAlgorithm="ML_KEM",
        SharedSecretCiphertextBlob=sent["SharedSecretCiphertextBlob"],
    )
    same(answer["SharedSecret"], sent["SharedSecret"])


@cases("RSA decryption")
def rsa_decryption(w):
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    blob = w.public(w.rsa()).encrypt(b"pixels", oaep)
    answer = w.kms.decrypt(
        KeyId=w.rsa(), CiphertextBlob=blob, EncryptionAlgorithm="RSAES_OAEP_SHA_256"
    )
    same(answer["Plaintext"], b"pixels")


# Imported material.


def importing(w, **more):
    key = w.fresh(Origin="EXTERNAL", **more)
    parameters = w.kms.get_parameters_for_import(
        KeyId=key["KeyId"],
        WrappingAlgorithm="RSAES_OAEP_SHA_256",
        WrappingKeySpec="RSA_2048",
    )
    return key, parameters


def imported(w, material, **more):
    key, parameters = importing(w, **more)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapping = serialization.load_der_public_key(parameters["PublicKey"])
    w.kms.import_key_material(
        KeyId=key["KeyId"],
        ImportToken=parameters["ImportToken"],
        EncryptedKeyMaterial=wrapping.encrypt(material, oaep),
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )
    return key["KeyId"]


@cases("GetParametersForImport")
def get_parameters_for_import(w):
    key, parameters = importing(w)
    same((key["KeyState"], key["Origin"]), ("PendingImport", "EXTERNAL"))
    same(serialization.load_der_public_key(parameters["PublicKey"]).key_size, 2048)
    assert parameters["ImportToken"]


@cases("ImportKeyMaterial")
def import_key_material(w):
    key = imported(w, bytes(range(32)))
    same(w.kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "Enabled")
    blob = w.kms.encrypt(KeyId=key, Plaintext=b"pixels")["CiphertextBlob"]
    same(w.kms.decrypt(CiphertextBlob=blob)["Plaintext"], b"pixels")


@cases("imported HMAC material")
def imported_hmac_material(w):
    """What KMS computes with it is what everybody computes with it."""
    material = bytes(range(32))
    key = imported(w, material, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    answer = w.kms.generate_mac(
        KeyId=key, Message=b"report", MacAlgorithm="HMAC_SHA_256"
    )
    same(answer["Mac"], hmac.digest(material, b"report", "sha256"))


@cases("DeleteImportedKeyMaterial")
def delete_imported_key_material(w):
    key = imported(w, bytes(range(32)))
    w.kms.delete_imported_key_material(KeyId=key)
    same(w.kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "PendingImport")


# Other Regions.


@cases("ReplicateKey")
def replicate_key(w):
    key = w.fresh(MultiRegion=True)["KeyId"]
    answer = w.kms.replicate_key(KeyId=key, ReplicaRegion="eu-west-1")
    replica = answer["ReplicaKeyMetadata"]
    same(replica["KeyId"], key)
    same(replica["Arn"].split(":")[3], "eu-west-1")
    same(replica["MultiRegionConfiguration"]["MultiRegionKeyType"], "REPLICA")
    if w.other_region is not None:
        blob = w.kms.encrypt(KeyId=key, Plaintext=b"pixels")["CiphertextBlob"]
        same(w.other_region.decrypt(CiphertextBlob=blob)["Plaintext"], b"pixels")


@cases("UpdatePrimaryRegion")
def update_primary_region(w):
    key = w.fresh(MultiRegion=True)["KeyId"]
    w.kms.replicate_key(KeyId=key, ReplicaRegion="eu-west-1")
    w.kms.update_primary_region(KeyId=key, PrimaryRegion="eu-west-1")
    described = w.kms.describe_key(KeyId=key)["KeyMetadata"]
    same(described["MultiRegionConfiguration"]["MultiRegionKeyType"], "REPLICA")


# Custom key stores.


def hsm_store(w):
    """The arguments of a key store in a cluster of its own, and its id."""
    cluster = base64.b32encode(os.urandom(7)).decode().rstrip("=")
    given = {
        "CustomKeyStoreName": f"store-{cluster}",
        "CloudHsmClusterId": f"cluster-{cluster}",
        "TrustAnchorCertificate": "certificate",
        "KeyStorePassword": "password",
    }
    return given, w.kms.create_custom_key_store(**given)["CustomKeyStoreId"]


def store_state(w, store):
    stores = w.kms.describe_custom_key_stores(CustomKeyStoreId=store)["CustomKeyStores"]
    same(len(stores), 1)
    return stores[0]["ConnectionState"]


@cases("CreateCustomKeyStore")
def create_custom_key_store(w):
    given, store = hsm_store(w)
    assert store.startswith("cks-"), store
    refuses(
        "CustomKeyStoreNameInUseException", w.kms.create_custom_key_store, **given
    )
    # Nobody answers there.
    refuses(
        "XksProxyUriUnreachableException",
        w.kms.create_custom_key_store,
        CustomKeyStoreName=f"external-{w.unique}",
        CustomKeyStoreType="EXTERNAL_KEY_STORE",
        XksProxyUriEndpoint="https://127.0.0.1:9",
        XksProxyUriPath="/kms/xks/v1",
        XksProxyConnectivity="PUBLIC_ENDPOINT",
        XksProxyAuthenticationCredential={
            "AccessKeyId": "ABCDEFGHIJKLMNOPQRST",
            "RawSecretAccessKey": base64.b64encode(bytes(33)).decode(),
        },
    )


@cases("DescribeCustomKeyStores")
def describe_custom_key_stores(w):
    given, store = hsm_store(w)
    everything = w.kms.describe_custom_key_stores()["CustomKeyStores"]
    found = [entry for entry in everything if entry["CustomKeyStoreId"] == store]
    same(len(found), 1)
    same(found[0]["CustomKeyStoreName"], given["CustomKeyStoreName"])
    same(found[0]["CloudHsmClusterId"], given["CloudHsmClusterId"])
    refuses(
        NO_STORE, w.kms.describe_custom_key_stores, CustomKeyStoreId=UNKNOWN_STORE
    )


@cases("ConnectCustomKeyStore")
def connect_custom_key_store(w):
    _, store = hsm_store(w)
    same(store_state(w, store), "DISCONNECTED")
    w.kms.connect_custom_key_store(CustomKeyStoreId=store)
    same(store_state(w, store), "CONNECTED")
    key = w.fresh(CustomKeyStoreId=store, Origin="AWS_CLOUDHSM")
    same(key["CustomKeyStoreId"], store)
    blob = w.kms.encrypt(KeyId=key["KeyId"], Plaintext=b"pixels")["CiphertextBlob"]
    same(w.kms.decrypt(CiphertextBlob=blob)["Plaintext"], b"pixels")
    refuses(
        NO_STORE, w.kms.connect_custom_key_store, CustomKeyStoreId=UNKNOWN_STORE
    )


@cases("DisconnectCustomKeyStore")
def disconnect_custom_key_store(w):
    _, store = hsm_store(w)
    w.kms.connect_custom_key_store(CustomKeyStoreId=store)
    w.kms.disconnect_custom_key_store(CustomKeyStoreId=store)
    same(store_state(w, store), "DISCONNECTED")
    refuses(
        NO_STORE, w.kms.disconnect_custom_key_store, CustomKeyStoreId=UNKNOWN_STORE
    )


@cases("UpdateCustomKeyStore")
def update_custom_key_store(w):
    given, store = hsm_store(w)
    name = f"renamed-{given['CustomKeyStoreName']}"
    w.kms.update_custom_key_store(CustomKeyStoreId=store, NewCustomKeyStoreName=name)
    found = w.kms.describe_custom_key_stores(CustomKeyStoreName=name)
    same([entry["CustomKeyStoreId"] for entry in found["CustomKeyStores"]], [store])
    refuses(
        NO_STORE,
        w.kms.update_custom_key_store,
        CustomKeyStoreId=UNKNOWN_STORE,
        NewCustomKeyStoreName="renamed",
    )


@cases("DeleteCustomKeyStore")
def delete_custom_key_store(w):
    _, store = hsm_store(w)
    w.kms.delete_custom_key_store(CustomKeyStoreId=store)
    refuses(NO_STORE, w.kms.describe_custom_key_stores, CustomKeyStoreId=store)
    refuses(NO_STORE, w.kms.delete_custom_key_store, CustomKeyStoreId=UNKNOWN_STORE)


# What the README says that there is not.


@cases("SM2 keys are refused by their name")
def sm2_keys(w):
    message = refuses(
        "UnsupportedOperationException",
        w.kms.create_key,
        KeySpec="SM2",
        KeyUsage="SIGN_VERIFY",
    )
    same(message, "KeySpec SM2 is not supported in this Region")


@cases("wrapping under SM2 and by PKCS #1 v1.5 is refused by name")
def lacking_wrapping(w):
    key = w.fresh(Origin="EXTERNAL")["KeyId"]
    for algorithm, spec in (
        ("SM2PKE", "SM2"),
        ("RSAES_PKCS1_V1_5", "RSA_2048"),
    ):
        lacks(
            f"Wrapping algorithm {algorithm} with {spec} is not available in this"
            " emulator.",
            w.kms.get_parameters_for_import,
            KeyId=key,
            WrappingAlgorithm=algorithm,
            WrappingKeySpec=spec,
        )


@cases("grants for AWS services")
def service_grants(w):
    key, source = w.fresh()["KeyId"], "arn:aws:s3:::a-bucket"
    w.kms.create_grant(
        KeyId=key,
        GranteeServicePrincipal="s3.amazonaws.com",
        RetiringServicePrincipal="s3.amazonaws.com",
        Constraints={"SourceArn": source},
        Operations=["Decrypt"],
    )
    [shown] = w.kms.list_grants(KeyId=key)["Grants"]
    assert shown["GranteeServicePrincipal"] == "s3.amazonaws.com", shown
    assert shown["Constraints"]["SourceArn"] == source, shown
    assert "GranteePrincipal" not in shown, shown
    refuses(
        "ValidationException",
        grant,
        w,
        key,
        GranteeServicePrincipal="s3.amazonaws.com",
    )


# What the clients make of refusals.


@cases("a dry run")
def dry_run(w):
    message = refuses(
        "DryRunOperationException",
        w.kms.generate_data_key,
        KeyId=w.key(),
        KeySpec="AES_128",
        DryRun=True,
    )
    same(
        message,
        "The request would have succeeded, but the DryRun option is set.",
    )


@cases("an attested call")
def attested(w):
    """The enclave's document and its private key are told by the environment."""
    document, private = map(base64.b64decode, os.environ["CASES_ENCLAVE"].split())
    blob = w.kms.encrypt(KeyId=w.key(), Plaintext=b"pixels")["CiphertextBlob"]
    answer = w.kms.decrypt(
        CiphertextBlob=blob,
        Recipient={
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            "AttestationDocument": document,
        },
    )
    assert not answer.get("Plaintext"), answer.keys()
    sealed = answer["CiphertextForRecipient"]
    assert sealed.startswith(b"\x30\x80"), sealed[:2]
    # The content key, an octet string of 256 bytes, came through bit by bit.
    at = sealed.index(b"\x04\x82\x01\x00") + 4
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    enclave = serialization.load_der_private_key(private, None)
    same(len(enclave.decrypt(sealed[at : at + 256], oaep)), 32)


@cases("an attested call with a forged document")
def forged_document(w):
    blob = w.kms.encrypt(KeyId=w.key(), Plaintext=b"pixels")["CiphertextBlob"]
    refuses(
        "ValidationException",
        w.kms.decrypt,
        CiphertextBlob=blob,
        Recipient={
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            "AttestationDocument": b"no document",
        },
    )
