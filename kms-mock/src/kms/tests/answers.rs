//! Every answer of every operation against a table of the documented members.
//!
//! Source of truth: the output shapes of the KMS service model (version 2014-11-01,
//! 2026). The table is written by hand: a member is `Name:type`, with `?` before
//! the colon where AWS documents when it is absent, and with `!` where this
//! emulator never has it, for the reason beside the table.
//!
//! Each answer holds members of its shape alone, of the documented JSON type, and
//! all that are always there; and over the whole test every optional member is seen
//! at least once, so that none is missing everywhere.

use std::{cell::RefCell, collections::BTreeMap};

use aws_lc_rs::rsa::KeySize;

use super::{
    custom_key_store::connected,
    import::{pending, with},
    xks_proxy::XksProxy,
    *,
};
use crate::keys::wrapping::tests::wrap;

#[rustfmt::skip]
const OPERATIONS: [(&str, &str); 56] = [
    ("CancelKeyDeletion", "KeyId:text"),
    ("ConnectCustomKeyStore", ""),
    ("CreateAlias", "none"),
    ("CreateCustomKeyStore", "CustomKeyStoreId:text"),
    ("CreateGrant", "GrantToken:text GrantId:text"),
    ("CreateKey", "KeyMetadata:KeyMetadata"),
    ("Decapsulate", "KeyId:text SharedSecret:blob EncapsulationAlgorithm:text"),
    ("Decrypt", "KeyId:text Plaintext?:blob EncryptionAlgorithm:text CiphertextForRecipient?:blob KeyMaterialId?:text"),
    ("DeleteAlias", "none"),
    ("DeleteCustomKeyStore", ""),
    ("DeleteImportedKeyMaterial", "KeyId:text KeyMaterialId?:text"),
    ("DeriveSharedSecret", "KeyId:text SharedSecret?:blob CiphertextForRecipient?:blob KeyAgreementAlgorithm:text KeyOrigin:text"),
    ("DescribeCustomKeyStores", "CustomKeyStores:[CustomKeyStoresListEntry] NextMarker?:text Truncated:flag"),
    ("DescribeKey", "KeyMetadata:KeyMetadata"),
    ("DisableKey", "none"),
    ("DisableKeyRotation", "none"),
    ("DisconnectCustomKeyStore", ""),
    ("EnableKey", "none"),
    ("EnableKeyRotation", "none"),
    ("Encapsulate", "KeyId:text SharedSecret:blob SharedSecretCiphertextBlob:blob EncapsulationAlgorithm:text"),
    ("Encrypt", "CiphertextBlob:blob KeyId:text EncryptionAlgorithm:text"),
    ("GenerateDataKey", "CiphertextBlob:blob Plaintext?:blob KeyId:text CiphertextForRecipient?:blob KeyMaterialId?:text"),
    ("GenerateDataKeyPair", "PrivateKeyCiphertextBlob:blob PrivateKeyPlaintext?:blob PublicKey:blob KeyId:text KeyPairSpec:text CiphertextForRecipient?:blob KeyMaterialId?:text"),
    ("GenerateDataKeyPairWithoutPlaintext", "PrivateKeyCiphertextBlob:blob PublicKey:blob KeyId:text KeyPairSpec:text KeyMaterialId:text"),
    ("GenerateDataKeyWithoutPlaintext", "CiphertextBlob:blob KeyId:text KeyMaterialId:text"),
    ("GenerateMac", "Mac:blob MacAlgorithm:text KeyId:text"),
    ("GenerateRandom", "Plaintext?:blob CiphertextForRecipient?:blob"),
    ("GetKeyLastUsage", "KeyId:text KeyLastUsage:KeyLastUsageData TrackingStartDate:time KeyCreationDate:time"),
    ("GetKeyPolicy", "Policy:text PolicyName:text"),
    // A rotation on demand is over when it is answered.
    ("GetKeyRotationStatus", "KeyRotationEnabled:flag KeyId:text RotationPeriodInDays?:number NextRotationDate?:time OnDemandRotationStartDate!:time"),
    ("GetParametersForImport", "KeyId:text ImportToken:blob PublicKey:blob ParametersValidTo:time"),
    ("GetPublicKey", "KeyId:text PublicKey:blob CustomerMasterKeySpec:text KeySpec:text KeyUsage:text EncryptionAlgorithms?:[text] SigningAlgorithms?:[text] KeyAgreementAlgorithms?:[text] EncapsulationAlgorithms?:[text]"),
    ("ImportKeyMaterial", "KeyId:text KeyMaterialId?:text"),
    ("ListAliases", "Aliases:[AliasListEntry] NextMarker?:text Truncated:flag"),
    ("ListGrants", "Grants:[GrantListEntry] NextMarker?:text Truncated:flag"),
    // There is one policy, and a second only of keys that are shared through RAM.
    ("ListKeyPolicies", "PolicyNames:[text] NextMarker!:text Truncated:flag"),
    ("ListKeyRotations", "Rotations:[RotationsListEntry] NextMarker?:text Truncated:flag"),
    ("ListKeys", "Keys:[KeyListEntry] NextMarker?:text Truncated:flag"),
    ("ListResourceTags", "Tags:[Tag] NextMarker?:text Truncated:flag"),
    ("ListRetirableGrants", "Grants:[GrantListEntry] NextMarker?:text Truncated:flag"),
    ("PutKeyPolicy", "none"),
    ("ReEncrypt", "CiphertextBlob:blob SourceKeyId:text KeyId:text SourceEncryptionAlgorithm:text DestinationEncryptionAlgorithm:text SourceKeyMaterialId?:text DestinationKeyMaterialId?:text"),
    ("ReplicateKey", "ReplicaKeyMetadata:KeyMetadata ReplicaPolicy:text ReplicaTags?:[Tag]"),
    ("RetireGrant", "none"),
    ("RevokeGrant", "none"),
    ("RotateKeyOnDemand", "KeyId:text"),
    ("ScheduleKeyDeletion", "KeyId:text DeletionDate?:time KeyState:text PendingWindowInDays:number"),
    ("Sign", "KeyId:text Signature:blob SigningAlgorithm:text"),
    ("TagResource", "none"),
    ("UntagResource", "none"),
    ("UpdateAlias", "none"),
    ("UpdateCustomKeyStore", ""),
    ("UpdateKeyDescription", "none"),
    ("UpdatePrimaryRegion", "none"),
    ("Verify", "KeyId:text SignatureValid:flag SigningAlgorithm:text"),
    ("VerifyMac", "KeyId:text MacValid:flag MacAlgorithm:text"),
];

#[rustfmt::skip]
const STRUCTURES: [(&str, &str); 13] = [
    ("KeyMetadata", "AWSAccountId:text KeyId:text Arn:text CreationDate:time Enabled:flag Description:text KeyUsage:text KeyState:text DeletionDate?:time ValidTo?:time Origin:text CustomKeyStoreId?:text CloudHsmClusterId?:text ExpirationModel?:text KeyManager:text CustomerMasterKeySpec:text KeySpec:text EncryptionAlgorithms?:[text] SigningAlgorithms?:[text] KeyAgreementAlgorithms?:[text] EncapsulationAlgorithms?:[text] MultiRegion:flag MultiRegionConfiguration?:MultiRegionConfiguration PendingDeletionWindowInDays?:number MacAlgorithms?:[text] XksKeyConfiguration?:XksKeyConfiguration CurrentKeyMaterialId?:text"),
    ("MultiRegionConfiguration", "MultiRegionKeyType:text PrimaryKey:MultiRegionKey ReplicaKeys:[MultiRegionKey]"),
    ("MultiRegionKey", "Arn:text Region:text"),
    ("XksKeyConfiguration", "Id:text"),
    ("CustomKeyStoresListEntry", "CustomKeyStoreId:text CustomKeyStoreName:text CloudHsmClusterId?:text TrustAnchorCertificate?:text ConnectionState:text ConnectionErrorCode?:text CreationDate:time CustomKeyStoreType:text XksProxyConfiguration?:XksProxyConfiguration"),
    ("XksProxyConfiguration", "Connectivity:text AccessKeyId:text UriEndpoint:text UriPath:text VpcEndpointServiceName?:text VpcEndpointServiceOwner?:text"),
    ("KeyLastUsageData", "Operation?:text Timestamp?:time CloudTrailEventId?:text KmsRequestId?:text"),
    // An alias of AWS's own keys, for which there may be no key yet, lacks the rest.
    ("AliasListEntry", "AliasName:text AliasArn:text TargetKeyId?:text CreationDate?:time LastUpdatedDate?:time"),
    ("GrantListEntry", "KeyId:text GrantId:text Name:text CreationDate:time GranteePrincipal?:text RetiringPrincipal?:text IssuingAccount:text Operations:[text] Constraints?:GrantConstraints GranteeServicePrincipal?:text RetiringServicePrincipal?:text"),
    ("GrantConstraints", "EncryptionContextSubset?:pairs EncryptionContextEquals?:pairs SourceArn?:text"),
    ("RotationsListEntry", "KeyId:text KeyMaterialId:text KeyMaterialDescription?:text ImportState?:text KeyMaterialState:text ExpirationModel?:text ValidTo?:time RotationDate?:time RotationType?:text"),
    ("KeyListEntry", "KeyId:text KeyArn:text"),
    ("Tag", "TagKey:text TagValue:text"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Always,
    Sometimes,
    Never,
}

struct Member {
    presence: Presence,
    kind: &'static str,
}

fn shape(name: &str) -> Option<&'static str> {
    let all = OPERATIONS.iter().chain(&STRUCTURES);
    let mut all = all.filter(|(shape, _)| *shape == name);
    all.next().map(|(_, members)| *members)
}

fn parsed(members: &'static str) -> BTreeMap<&'static str, Member> {
    let read = |member: &'static str| {
        let (name, kind) = member.split_once(':').unwrap();
        let (name, presence) = match name.strip_suffix('?') {
            Some(name) => (name, Presence::Sometimes),
            None => match name.strip_suffix('!') {
                Some(name) => (name, Presence::Never),
                None => (name, Presence::Always),
            },
        };
        (name, Member { presence, kind })
    };
    members.split_whitespace().map(read).collect()
}

/// A world whose answers are checked.
struct Checked {
    world: World,
    called: RefCell<BTreeSet<String>>,
    seen: RefCell<BTreeSet<(String, String)>>,
}

impl Checked {
    fn ok(&self, operation: &str, body: Value) -> Value {
        self.in_region(None, operation, body)
    }

    fn in_region(&self, region: Option<&str>, operation: &str, body: Value) -> Value {
        let root = &self.world.root;
        let answer = self.world.call_in(region, root, operation, body);
        let answer = answer.unwrap_or_else(|refused| panic!("{operation}: {refused:?}"));
        self.called.borrow_mut().insert(operation.to_owned());
        match shape(operation).unwrap() {
            "none" => assert_eq!(answer, Value::Null, "{operation}"),
            _ => self.structure(operation, operation, &answer),
        }
        answer
    }

    fn structure(&self, path: &str, name: &str, value: &Value) {
        let documented = parsed(shape(name).unwrap_or_else(|| panic!("{name} is no shape")));
        let members = value
            .as_object()
            .unwrap_or_else(|| panic!("{path}: {value}"));
        for (member, value) in members {
            let Some(known) = documented.get(member.as_str()) else {
                panic!("{path}: {member} is not documented");
            };
            assert!(known.presence != Presence::Never, "{path}: {member}");
            self.seen
                .borrow_mut()
                .insert((name.to_owned(), member.clone()));
            self.value(&format!("{path}.{member}"), known.kind, value);
        }
        for (member, known) in documented {
            let is_there = members.contains_key(member) || known.presence != Presence::Always;
            assert!(is_there, "{path}: {member} is missing");
        }
    }

    fn value(&self, path: &str, kind: &str, value: &Value) {
        let fits = match kind {
            "text" => value.is_string(),
            "blob" => BASE64
                .decode(value.as_str().unwrap())
                .is_ok_and(|b| !b.is_empty()),
            "number" => value.is_u64(),
            "time" => value.as_f64().is_some_and(|at| at > 1e9 && at < 1e10),
            "flag" => value.is_boolean(),
            "pairs" => value
                .as_object()
                .is_some_and(|pairs| pairs.values().all(Value::is_string)),
            _ => match kind
                .strip_prefix('[')
                .and_then(|kind| kind.strip_suffix(']'))
            {
                Some(kind) => {
                    for item in value.as_array().unwrap() {
                        self.value(path, kind, item);
                    }
                    true
                }
                None => {
                    self.structure(path, kind, value);
                    true
                }
            },
        };
        assert!(fits, "{path} is no {kind}: {value}");
    }

    fn key(&self, body: Value) -> String {
        text(&self.ok("CreateKey", body)["KeyMetadata"]["Arn"])
    }

    fn key_of(&self, spec: &str, usage: &str) -> String {
        let key = self.key(json!({ "KeySpec": spec, "KeyUsage": usage }));
        self.ok("DescribeKey", json!({ "KeyId": key }));
        key
    }

    fn import(&self, key: &str, material: &[u8], more: Value) {
        let algorithm = "RSAES_OAEP_SHA_256";
        let parameters = self.ok(
            "GetParametersForImport",
            json!({ "KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048" }),
        );
        let wrapped = wrap(algorithm, &unbase64(&parameters["PublicKey"]), material);
        let body = json!({
            "KeyId": key, "ImportToken": parameters["ImportToken"],
            "EncryptedKeyMaterial": BASE64.encode(wrapped),
            "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
        });
        self.ok("ImportKeyMaterial", with(body, more));
    }
}

#[test]
fn every_answer_has_the_documented_members_and_no_others() {
    let checked = Checked {
        world: World::new(),
        called: RefCell::default(),
        seen: RefCell::default(),
    };
    let enclave = EnclaveKey::generate(KeySize::Rsa2048);
    let document = json_document(START, &[(0, &"ab".repeat(48))], Some(&enclave.spki));
    let recipient = json!({ "Recipient": {
        "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
        "AttestationDocument": BASE64.encode(document),
    }});
    lives(&checked);
    symmetric(&checked, &recipient);
    asymmetric(&checked, &recipient);
    grants(&checked);
    imports(&checked);
    regions(&checked);
    stores(&checked);

    let called = checked.called.take();
    let seen = checked.seen.take();
    for (operation, _) in OPERATIONS {
        assert!(called.contains(operation), "{operation} was never called");
    }
    for (name, members) in OPERATIONS.iter().chain(&STRUCTURES) {
        for (member, known) in parsed(if *members == "none" { "" } else { members }) {
            let is_seen = seen.contains(&((*name).to_owned(), member.to_owned()));
            let is_never = known.presence == Presence::Never;
            assert!(is_seen != is_never, "{name}.{member} was never seen");
        }
    }
}

/// Keys, aliases, policies, tags, deletion.
fn lives(checked: &Checked) {
    let key = checked.key(json!({ "Description": "d" }));
    let id = || json!({ "KeyId": key });
    let and = |more: Value| with(id(), more);
    let _second = checked.key(json!({}));
    let one = json!({ "Limit": 1 });
    checked.ok("ListKeys", one.clone());
    checked.ok(
        "ListKeys",
        json!({ "ResourceOwners": ["OTHER_ACCOUNTS_VIA_RAM"] }),
    );
    for name in ["alias/a", "alias/b"] {
        checked.ok(
            "CreateAlias",
            json!({ "AliasName": name, "TargetKeyId": key }),
        );
    }
    checked.ok("ListAliases", one.clone());
    checked.ok("ListAliases", id());
    checked.ok(
        "UpdateAlias",
        json!({ "AliasName": "alias/a", "TargetKeyId": key }),
    );
    checked.ok("DeleteAlias", json!({ "AliasName": "alias/a" }));
    checked.ok("DisableKey", id());
    checked.ok("EnableKey", id());
    checked.ok("UpdateKeyDescription", and(json!({ "Description": "e" })));
    let policy = checked.ok("GetKeyPolicy", id());
    checked.ok("PutKeyPolicy", and(json!({ "Policy": policy["Policy"] })));
    checked.ok("ListKeyPolicies", id());
    let tags: Vec<Value> = ["a", "b"]
        .iter()
        .map(|name| json!({ "TagKey": name, "TagValue": "" }))
        .collect();
    checked.ok("TagResource", and(json!({ "Tags": tags })));
    checked.ok("ListResourceTags", and(one.clone()));
    checked.ok("UntagResource", and(json!({ "TagKeys": ["a"] })));
    checked.ok("EnableKeyRotation", id());
    checked.ok("GetKeyRotationStatus", id());
    checked.ok("RotateKeyOnDemand", id());
    checked.ok("RotateKeyOnDemand", id());
    checked.ok("ListKeyRotations", and(one));
    checked.ok(
        "ListKeyRotations",
        and(json!({ "IncludeKeyMaterial": "ALL_KEY_MATERIAL" })),
    );
    checked.ok("DisableKeyRotation", id());
    checked.ok("GetKeyRotationStatus", id());
    checked.ok("GetKeyLastUsage", id());
    checked.ok("Encrypt", and(json!({ "Plaintext": "eA==" })));
    checked.ok("GetKeyLastUsage", id());
    checked.ok("ScheduleKeyDeletion", id());
    checked.ok("DescribeKey", id());
    checked.ok("CancelKeyDeletion", id());
}

fn symmetric(checked: &Checked, recipient: &Value) {
    let key = checked.key(json!({}));
    let and = |more: Value| with(json!({ "KeyId": key }), more);
    let blob = checked.ok("Encrypt", and(json!({ "Plaintext": "eA==" })))["CiphertextBlob"].clone();
    let blob = || json!({ "CiphertextBlob": blob });
    checked.ok("Decrypt", blob());
    checked.ok("Decrypt", with(blob(), recipient.clone()));
    checked.ok(
        "ReEncrypt",
        with(blob(), json!({ "DestinationKeyId": key })),
    );
    let data_key = || and(json!({ "KeySpec": "AES_256" }));
    checked.ok("GenerateDataKey", data_key());
    checked.ok("GenerateDataKey", with(data_key(), recipient.clone()));
    checked.ok("GenerateDataKeyWithoutPlaintext", data_key());
    let pair = || and(json!({ "KeyPairSpec": "ECC_NIST_P256" }));
    checked.ok("GenerateDataKeyPair", pair());
    checked.ok("GenerateDataKeyPair", with(pair(), recipient.clone()));
    checked.ok("GenerateDataKeyPairWithoutPlaintext", pair());
    let random = || json!({ "NumberOfBytes": 8 });
    checked.ok("GenerateRandom", random());
    checked.ok("GenerateRandom", with(random(), recipient.clone()));
}

fn asymmetric(checked: &Checked, recipient: &Value) {
    let key = checked.key_of("ECC_NIST_P256", "SIGN_VERIFY");
    checked.ok("GetPublicKey", json!({ "KeyId": key }));
    let body = json!({ "KeyId": key, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256" });
    let signed = checked.ok("Sign", body.clone());
    checked.ok(
        "Verify",
        with(body, json!({ "Signature": signed["Signature"] })),
    );

    let key = checked.key_of("RSA_2048", "ENCRYPT_DECRYPT");
    checked.ok("GetPublicKey", json!({ "KeyId": key }));
    let algorithm = || json!({ "KeyId": key, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256" });
    let made = checked.ok("Encrypt", with(algorithm(), json!({ "Plaintext": "eA==" })));
    let blob = json!({ "CiphertextBlob": made["CiphertextBlob"] });
    checked.ok("Decrypt", with(algorithm(), blob.clone()));
    let re_encrypt = json!({
        "SourceKeyId": key, "SourceEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
        "DestinationKeyId": key, "DestinationEncryptionAlgorithm": "RSAES_OAEP_SHA_1",
    });
    checked.ok("ReEncrypt", with(blob, re_encrypt));

    let key = checked.key_of("ECC_NIST_P256", "KEY_AGREEMENT");
    let public = checked.ok("GetPublicKey", json!({ "KeyId": key }));
    let derive = json!({
        "KeyId": key, "PublicKey": public["PublicKey"], "KeyAgreementAlgorithm": "ECDH",
    });
    checked.ok("DeriveSharedSecret", derive.clone());
    checked.ok("DeriveSharedSecret", with(derive, recipient.clone()));

    let key = checked.key_of("ML_KEM_768", "ENCAPSULATE_DECAPSULATE");
    checked.ok("GetPublicKey", json!({ "KeyId": key }));
    let body = json!({ "KeyId": key, "EncapsulationAlgorithm": "ML_KEM" });
    let made = checked.ok("Encapsulate", body.clone());
    let blob = json!({ "SharedSecretCiphertextBlob": made["SharedSecretCiphertextBlob"] });
    checked.ok("Decapsulate", with(body, blob));

    let key = checked.key_of("HMAC_256", "GENERATE_VERIFY_MAC");
    let body = json!({ "KeyId": key, "Message": "eA==", "MacAlgorithm": "HMAC_SHA_256" });
    let made = checked.ok("GenerateMac", body.clone());
    checked.ok("VerifyMac", with(body, json!({ "Mac": made["Mac"] })));
}

fn grants(checked: &Checked) {
    let key = checked.key(json!({}));
    let grantee = format!("arn:aws:iam::{ACCOUNT}:role/r");
    let grant = |more: Value| {
        let body = json!({ "KeyId": key, "GranteePrincipal": grantee, "Operations": ["Decrypt"] });
        checked.ok("CreateGrant", with(body, more))
    };
    let context = json!({ "a": "b" });
    let retired = grant(json!({ "RetiringPrincipal": grantee, "Name": "n" }));
    let revoked = grant(json!({ "Constraints": { "EncryptionContextEquals": context } }));
    grant(json!({
        "Constraints": { "EncryptionContextSubset": context }, "RetiringPrincipal": grantee,
    }));
    let service = "rds.amazonaws.com";
    checked.ok(
        "CreateGrant",
        json!({
            "KeyId": key, "GranteeServicePrincipal": service, "RetiringServicePrincipal": service,
            "Constraints": { "SourceArn": "arn:aws:rds:us-east-1:123456789012:db:a" },
            "Operations": ["Decrypt"],
        }),
    );
    checked.ok("ListGrants", json!({ "KeyId": key }));
    checked.ok("ListGrants", json!({ "KeyId": key, "Limit": 1 }));
    let retirable = json!({ "RetiringPrincipal": grantee, "Limit": 1 });
    checked.ok("ListRetirableGrants", retirable);
    checked.ok(
        "RetireGrant",
        json!({ "GrantToken": retired["GrantToken"] }),
    );
    checked.ok(
        "RevokeGrant",
        json!({ "KeyId": key, "GrantId": revoked["GrantId"] }),
    );
    // Only a service can list by a service.
    for (operation, body) in [
        (
            "ListGrants",
            json!({ "KeyId": key, "GranteeServicePrincipal": service }),
        ),
        (
            "ListRetirableGrants",
            json!({ "RetiringServicePrincipal": service }),
        ),
    ] {
        let refused = checked.world.err(operation, body);
        assert_eq!(refused.code, "UnsupportedOperationException", "{operation}");
    }
}

fn imports(checked: &Checked) {
    let key = pending(&checked.world, json!({}));
    let id = || json!({ "KeyId": key });
    let until = START.0 / 1000 + 86_400;
    let expiring = json!({
        "ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": until,
        "KeyMaterialDescription": "first",
    });
    checked.import(&key, &[1; 32], expiring);
    checked.ok("DescribeKey", id());
    checked.import(&key, &[2; 32], json!({ "ImportType": "NEW_KEY_MATERIAL" }));
    checked.ok("RotateKeyOnDemand", id());
    let all = json!({ "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
    checked.ok("ListKeyRotations", with(id(), all));
    // The key expires with the first of its materials, not with the current one.
    let metadata = &checked.ok("DescribeKey", id())["KeyMetadata"];
    assert_eq!(metadata["ValidTo"], until);
    assert_eq!(metadata["ExpirationModel"], "KEY_MATERIAL_EXPIRES");
    checked.ok("DeleteImportedKeyMaterial", id());
    checked.ok("DescribeKey", id());
    let spec = json!({ "KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC" });
    let key = pending(&checked.world, spec);
    checked.import(&key, &[1; 32], json!({}));
    checked.ok("DeleteImportedKeyMaterial", json!({ "KeyId": key }));
}

fn regions(checked: &Checked) {
    let key = checked.key(json!({ "MultiRegion": true }));
    let replicate = |more: Value| {
        let body = json!({ "KeyId": key, "ReplicaRegion": "eu-west-1" });
        checked.ok("ReplicateKey", with(body, more))
    };
    replicate(json!({ "Tags": [{ "TagKey": "a", "TagValue": "b" }] }));
    checked.ok("DescribeKey", json!({ "KeyId": key }));
    let primary = json!({ "KeyId": key, "PrimaryRegion": "eu-west-1" });
    checked.ok("UpdatePrimaryRegion", primary);
    checked.world.clock.advance(Duration::from_secs(1));
    let eu = Some("eu-west-1");
    let in_eu = json!({ "KeyId": key.replace("us-east-1", "eu-west-1") });
    checked.in_region(eu, "DescribeKey", in_eu.clone());
    checked.in_region(eu, "ScheduleKeyDeletion", in_eu.clone());
    checked.in_region(eu, "DescribeKey", in_eu);
}

fn stores(checked: &Checked) {
    let proxy = XksProxy::start();
    proxy.add_key("key-1", json!({}));
    let store = connected(&checked.world, &proxy);
    let by_id = json!({ "CustomKeyStoreId": store });
    let created = json!({ "Origin": "EXTERNAL_KEY_STORE", "XksKeyId": "key-1" });
    let key = checked.key(with(by_id.clone(), created));
    checked.ok("Encrypt", json!({ "KeyId": key, "Plaintext": "eA==" }));
    checked.ok("DescribeCustomKeyStores", by_id.clone());
    checked.ok("DisconnectCustomKeyStore", by_id.clone());
    proxy.state().instead = Some((500, String::new()));
    checked.ok("ConnectCustomKeyStore", by_id.clone());
    checked.ok("DescribeCustomKeyStores", by_id.clone());
    proxy.state().instead = None;
    let service = json!({
        "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE",
        "XksProxyVpcEndpointServiceName": "com.amazonaws.vpce.us-east-1.vpce-svc-1",
        "XksProxyVpcEndpointServiceOwner": ACCOUNT,
    });
    checked.ok("UpdateCustomKeyStore", with(by_id.clone(), service));
    let hsm = json!({
        "CustomKeyStoreName": "hsm", "CloudHsmClusterId": "cluster-abcdefghijk",
        "TrustAnchorCertificate": "certificate", "KeyStorePassword": "password",
    });
    let hsm = checked.ok("CreateCustomKeyStore", hsm);
    let hsm = || json!({ "CustomKeyStoreId": hsm["CustomKeyStoreId"] });
    checked.ok("DescribeCustomKeyStores", json!({ "Limit": 1 }));
    checked.ok("DescribeCustomKeyStores", json!({}));
    checked.ok("ConnectCustomKeyStore", hsm());
    checked.key(with(hsm(), json!({ "Origin": "AWS_CLOUDHSM" })));
    let empty = json!({
        "CustomKeyStoreName": "empty", "CloudHsmClusterId": "cluster-bbbbbbbbbbb",
        "TrustAnchorCertificate": "certificate", "KeyStorePassword": "password",
    });
    let empty = checked.ok("CreateCustomKeyStore", empty);
    checked.ok("DeleteCustomKeyStore", empty);
}
