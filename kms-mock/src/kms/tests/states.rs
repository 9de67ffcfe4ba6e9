//! Every operation on keys of every spec and usage in every state, beside AWS's own
//! table of key states.
//!
//! Source of truth: AWS KMS developer guide, "Key states of AWS KMS keys", as it is
//! written there and not as the table of operations has it; API reference of the
//! operations; recorded answers. Each cell says where it comes from.

use super::*;
use crate::{
    keys::{key::Key, record::KeyState},
    model::{
        operation::{Check, Operation, State},
        spec::{
            Algorithm, EncryptionAlgorithm, KeySpec, KeyUsage, MacAlgorithm, Named,
            SigningAlgorithm,
        },
    },
};

/// Which states an operation accepts (`+`) or refuses (`-`): Enabled, Disabled,
/// PendingImport, Updating, PendingReplicaDeletion, PendingDeletion. `d` is documented,
/// `r` recorded, `i` inferred from the rows beside it. What is not here accepts all, as
/// documented of the first three and the last.
const ACCEPTED: [(&str, &str); 34] = [
    ("CancelKeyDeletion", "-d -d -d -i +d +d"),
    ("CreateAlias", "+d +d +d +i -i -d"),
    ("CreateGrant", "+d -d -d +i -i -d"),
    ("Decapsulate", "+i -i -i +i -i -i"),
    ("Decrypt", "+r -r -r +d -i -r"),
    ("DeleteImportedKeyMaterial", "+d +d +d -d +i +d"),
    ("DeriveSharedSecret", "+d -d -i +d -i -d"),
    ("DisableKey", "+r +d -d -i -i -r"),
    ("DisableKeyRotation", "+d -r +i +i -i -r"),
    ("EnableKey", "+r +d -d -i -i -r"),
    ("EnableKeyRotation", "+d -r +i +i -i -r"),
    ("Encapsulate", "+i -i -i +i -i -i"),
    ("Encrypt", "+r -r -r +d -i -r"),
    ("GenerateDataKey", "+r -r -r +d -i -r"),
    ("GenerateDataKeyPair", "+d -d -d +d -i -d"),
    ("GenerateDataKeyPairWithoutPlaintext", "+d -d -d +d -i -d"),
    ("GenerateDataKeyWithoutPlaintext", "+r -r -d +d -i -r"),
    ("GenerateMac", "+d -d -d +d -i -d"),
    ("GetParametersForImport", "+d +d +d -d -i -d"),
    ("GetPublicKey", "+r +r -i +i -i -d"),
    ("ImportKeyMaterial", "+d +d +d +i -i -d"),
    ("ListKeyRotations", "+d +d +i +i -i -d"),
    ("ReEncrypt", "+d -d -d +d -i -d"),
    ("ReplicateKey", "+d -d -d -d -i -d"),
    ("RotateKeyOnDemand", "+r -r -d +i -i -d"),
    ("ScheduleKeyDeletion", "+r +d +d -d -i -d"),
    ("Sign", "+r -d -i +d -i -d"),
    ("TagResource", "+r +d +d +i -i -r"),
    ("UntagResource", "+r +d +d +i -i -r"),
    ("UpdateAlias", "+d +d +d +i -i -d"),
    ("UpdateKeyDescription", "+d +d +d +i -i -d"),
    ("UpdatePrimaryRegion", "+d -d -d -d -i -d"),
    ("Verify", "+d -d -i +d -i -d"),
    ("VerifyMac", "+d -d -d +d -i -d"),
];

/// Where a state is refused beside other faults of the key, and what comes first:
/// recorded, but for `Usage`, of which another source says the reverse.
fn order(operation: Operation) -> &'static [Check] {
    use Operation as O;
    match operation {
        O::Decapsulate
        | O::Decrypt
        | O::DeriveSharedSecret
        | O::Encapsulate
        | O::Encrypt
        | O::GenerateDataKey
        | O::GenerateDataKeyPair
        | O::GenerateDataKeyPairWithoutPlaintext
        | O::GenerateDataKeyWithoutPlaintext
        | O::GenerateMac
        | O::ReEncrypt
        | O::Sign
        | O::Verify
        | O::VerifyMac => &[Check::Usage, Check::State],
        O::DisableKeyRotation | O::EnableKeyRotation | O::RotateKeyOnDemand => {
            &[Check::State, Check::Spec, Check::Origin]
        }
        O::DeleteImportedKeyMaterial | O::GetParametersForImport | O::ImportKeyMaterial => {
            &[Check::Origin, Check::State]
        }
        O::ListKeyRotations => &[Check::Spec, Check::State],
        O::GetPublicKey => &[Check::State, Check::Spec],
        _ => &[Check::State],
    }
}

/// Whether a cell of the table accepts.
fn accepts(operation: Operation, state: State) -> bool {
    let row = ACCEPTED.iter().find(|(name, _)| *name == operation.name());
    let mut cells = row.map_or("+d +d +d +i +i +d", |(_, it)| it).split(' ');
    let cell = State::ALL
        .into_iter()
        .zip(&mut cells)
        .find(|(of, _)| *of == state);
    cell.is_some_and(|(_, cell)| cell.starts_with('+'))
}

#[test]
fn the_table_of_operations_accepts_the_states_that_aws_lists() {
    for (name, cells) in ACCEPTED {
        assert!(Operation::parse(name).is_some(), "{name}");
        assert_eq!(cells.split(' ').count(), State::ALL.len(), "{name}");
    }
    for operation in Operation::all() {
        let row = operation.row();
        for state in State::ALL {
            let accepted = !row.checks.contains(&Check::State) || row.states.contains(state);
            assert_eq!(
                accepted,
                accepts(*operation, state),
                "{operation:?} {state:?}"
            );
        }
    }
}

#[test]
fn every_operation_refuses_what_aws_lists_and_nothing_else() {
    let world = World::new();
    let own = KeySpec::ALL.iter().filter(|spec| spec.is_available());
    let mut kinds: Vec<(&str, &str, &str)> = own
        .flat_map(|spec| {
            spec.usages()
                .iter()
                .map(|usage| (spec.name(), usage.name(), "AWS_KMS"))
        })
        .collect();
    kinds.push(("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EXTERNAL"));
    kinds.push(("HMAC_256", "GENERATE_VERIFY_MAC", "EXTERNAL"));
    for (spec, usage, origin) in kinds {
        let subject = Subject::new(&world, spec, usage, origin);
        // What succeeds changes the key most in `Enabled`, which comes last.
        for state in State::ALL.into_iter().rev() {
            for operation in Operation::all() {
                let Some(mut body) = subject.body(*operation) else {
                    let checks = operation.row().checks;
                    assert!(checks.is_empty(), "{operation:?} names no key");
                    continue;
                };
                subject.put_in(state);
                body["DryRun"] = true.into();
                let answer = world.call(operation.name(), body);
                let expected = subject.refusal(*operation, state);
                let what = format!("{operation:?} of {spec} {usage} {origin} in {state:?}");
                match expected {
                    None => {
                        let passed = answer
                            .as_ref()
                            .map_or_else(|refused| !is_of_a_check(refused, &subject.arn), |_| true);
                        assert!(passed, "{what}: {answer:?}");
                    }
                    Some((code, message)) => {
                        let refused = answer.expect_err(&what);
                        let found = (refused.code.as_str(), refused.message.as_deref());
                        assert_eq!(found, (code, message.as_deref()), "{what}");
                    }
                }
            }
        }
    }
}

/// The fixed points: what was recorded on AWS, in its own words.
#[test]
fn what_was_recorded_of_states_usages_and_specs_is_answered() {
    let world = World::new();
    let of = |spec, usage| Subject::new(&world, spec, usage, "AWS_KMS");
    let symmetric = of("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT");
    let mac = of("HMAC_256", "GENERATE_VERIFY_MAC");
    let rsa = of("RSA_2048", "ENCRYPT_DECRYPT");
    let signer = of("RSA_2048", "SIGN_VERIFY");
    let curve = of("ECC_NIST_P256", "SIGN_VERIFY");
    let lattice = of("ML_DSA_44", "SIGN_VERIFY");
    let sign = |algorithm: &str, message_type: &str| {
        json!({ "Message": BASE64.encode([1; 32]), "MessageType": message_type,
            "SigningAlgorithm": algorithm })
    };
    let blob = BASE64.encode([7; 256]);
    let tags = json!({ "TagKeys": ["a"] });
    let (usage, state) = ("InvalidKeyUsageException", "KMSInvalidStateException");
    let invalid = "ValidationException";
    #[rustfmt::skip]
    let table = [
        (&symmetric, State::PendingDeletion, "UntagResource", tags.clone(), state, Some("ARN is pending deletion.")),
        (&mac, State::Disabled, "EnableKeyRotation", json!({}), "DisabledException", Some("ARN is disabled.")),
        (&rsa, State::Disabled, "DisableKeyRotation", json!({}), "DisabledException", Some("ARN is disabled.")),
        (&rsa, State::PendingDeletion, "EnableKeyRotation", json!({}), state, Some("ARN is pending deletion.")),
        (&mac, State::Enabled, "EnableKeyRotation", json!({}), "UnsupportedOperationException", None),
        (&symmetric, State::Disabled, "Sign", sign("RSASSA_PSS_SHA_256", "RAW"), usage, Some("ARN key usage is ENCRYPT_DECRYPT which is not valid for Sign.")),
        (&rsa, State::PendingDeletion, "GenerateMac", json!({ "Message": "AAAA", "MacAlgorithm": "HMAC_SHA_256" }), usage, Some("ARN key usage is ENCRYPT_DECRYPT which is not valid for GenerateMac.")),
        (&signer, State::Disabled, "Encrypt", json!({ "Plaintext": "AAAA", "EncryptionAlgorithm": "RSAES_OAEP_SHA_256" }), usage, Some("ARN key usage is SIGN_VERIFY which is not valid for Encrypt.")),
        (&rsa, State::Enabled, "Decrypt", json!({ "CiphertextBlob": blob }), "InvalidCiphertextException", None),
        (&signer, State::Enabled, "Sign", sign("SYMMETRIC_DEFAULT", "RAW"), usage, Some("Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048.")),
        (&signer, State::Enabled, "Sign", sign("RSASSA_PSS_SHA_256", "EXTERNAL_MU"), invalid, Some("Message type EXTERNAL_MU is incompatible with algorithm RSASSA_PSS_SHA_256.")),
        (&curve, State::Enabled, "Sign", sign("ECDSA_SHA_256", "EXTERNAL_MU"), invalid, Some("Message type EXTERNAL_MU is incompatible with algorithm ECDSA_SHA_256.")),
        (&lattice, State::Enabled, "Sign", sign("ML_DSA_SHAKE_256", "DIGEST"), invalid, Some("Message type DIGEST is incompatible with key spec ML_DSA_44.")),
    ];
    for (subject, state, operation, mut body, code, message) in table {
        subject.put_in(state);
        body["KeyId"] = subject.arn.as_str().into();
        let refused = world.err(operation, body);
        let message = message.map(|text| text.replace("ARN", &subject.arn));
        let found = (refused.code.as_str(), refused.message);
        assert_eq!(found, (code, message), "{operation} in {state:?}");
        subject.put_in(State::Enabled);
    }
    // A disabled key shows its public key; a key of another Region's spec is not made.
    signer.put_in(State::Disabled);
    world.ok("GetPublicKey", json!({ "KeyId": signer.arn }));
    let sm2 = json!({ "KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY" });
    world.err("CreateKey", sm2).says(
        "UnsupportedOperationException",
        "KeySpec SM2 is not supported in this Region",
    );
}

/// The seventh state, which a key has by its custom key store alone.
#[test]
fn a_key_of_a_store_that_is_not_connected_does_no_cryptography_and_all_else() {
    let world = World::new();
    let proxy = xks_proxy::XksProxy::start();
    proxy.add_key("key-1", json!({}));
    let store = custom_key_store::connected(&world, &proxy);
    let created = world.ok(
        "CreateKey",
        json!({ "Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store, "XksKeyId": "key-1" }),
    );
    let key = text(&created["KeyMetadata"]["Arn"]);
    let blob = world.encrypt(&key, b"x", json!({}));
    world.ok(
        "DisconnectCustomKeyStore",
        json!({ "CustomKeyStoreId": store }),
    );
    for (operation, body) in [
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "AAAA" })),
        ("Decrypt", json!({ "CiphertextBlob": blob })),
        (
            "GenerateDataKey",
            json!({ "KeyId": key, "KeySpec": "AES_256" }),
        ),
        (
            "GenerateDataKeyWithoutPlaintext",
            json!({ "KeyId": key, "KeySpec": "AES_256" }),
        ),
        (
            "GenerateDataKeyPair",
            json!({ "KeyId": key, "KeyPairSpec": "ECC_NIST_P256" }),
        ),
        (
            "ReEncrypt",
            json!({ "CiphertextBlob": blob, "DestinationKeyId": world.key() }),
        ),
    ] {
        let refused = world.err(operation, body);
        assert_eq!(refused.code, "KMSInvalidStateException", "{operation}");
    }
    let grantee = format!("arn:aws:iam::{ACCOUNT}:role/r");
    for (operation, more) in [
        ("DescribeKey", json!({})),
        (
            "TagResource",
            json!({ "Tags": [{ "TagKey": "a", "TagValue": "b" }] }),
        ),
        ("UntagResource", json!({ "TagKeys": ["a"] })),
        ("UpdateKeyDescription", json!({ "Description": "d" })),
        (
            "CreateGrant",
            json!({ "GranteePrincipal": grantee, "Operations": ["Decrypt"] }),
        ),
        ("DisableKey", json!({})),
        ("EnableKey", json!({})),
        ("ScheduleKeyDeletion", json!({})),
        ("CancelKeyDeletion", json!({})),
    ] {
        world.ok(operation, import::with(json!({ "KeyId": key }), more));
    }
}

/// Whether a refusal is one that a check gives, about the key under test.
fn is_of_a_check(refused: &Refused, arn: &str) -> bool {
    let message = refused.message.as_deref().unwrap_or_default();
    match refused.code.as_str() {
        "InvalidKeyUsageException" | "IncorrectKeyException" => true,
        "DisabledException" | "KMSInvalidStateException" => message.starts_with(arn),
        // Of an algorithm that is not available, which comes after the checks.
        "UnsupportedOperationException" => !message.starts_with("[drydock]"),
        _ => false,
    }
}

/// A multi-Region key with a replica and an alias.
struct Subject {
    arn: String,
    key: Arc<Key>,
    spec: KeySpec,
    usage: KeyUsage,
    peer: Vec<u8>,
}

impl Subject {
    fn new(world: &World, spec: &str, usage: &str, origin: &str) -> Self {
        let body = json!({
            "KeySpec": spec, "KeyUsage": usage, "Origin": origin, "MultiRegion": true,
        });
        let arn = text(&world.ok("CreateKey", body)["KeyMetadata"]["Arn"]);
        let key = world.kms.store.as_it_is(&arn).unwrap();
        let peer = world.key_of("ECC_NIST_P256", "KEY_AGREEMENT");
        let subject = Self {
            peer: world.public_key(&peer),
            spec: key.spec,
            usage: key.usage,
            arn,
            key,
        };
        subject.put_in(State::Enabled);
        let replica = json!({ "KeyId": subject.arn, "ReplicaRegion": "eu-west-1" });
        world.ok("ReplicateKey", replica);
        let alias = format!("alias/{}", subject.key.id());
        let body = json!({ "AliasName": alias, "TargetKeyId": subject.arn });
        world.ok("CreateAlias", body);
        subject
    }

    fn put_in(&self, state: State) {
        let window_days = 30;
        self.key.alter(|record| {
            record.state = match state {
                State::Enabled => KeyState::Enabled,
                State::Disabled => KeyState::Disabled,
                State::PendingImport => KeyState::PendingImport,
                State::Updating => KeyState::Updating { since: START },
                State::PendingReplicaDeletion => KeyState::PendingReplicaDeletion { window_days },
                State::PendingDeletion => KeyState::PendingDeletion {
                    at: UnixMillis(u64::MAX),
                    window_days,
                },
            };
        });
    }

    /// An algorithm of the key, if it has one of the operation's kind.
    fn algorithm(&self, operation: Operation) -> Option<Algorithm> {
        let algorithm = match operation.row().usage? {
            KeyUsage::EncryptDecrypt => Algorithm::Encryption(
                *self
                    .spec
                    .encryption_algorithms()
                    .last()
                    .unwrap_or(&EncryptionAlgorithm::SymmetricDefault),
            ),
            KeyUsage::SignVerify => Algorithm::Signing(
                *self
                    .spec
                    .signing_algorithms()
                    .first()
                    .unwrap_or(&SigningAlgorithm::EcdsaSha256),
            ),
            KeyUsage::GenerateVerifyMac => Algorithm::Mac(
                *self
                    .spec
                    .mac_algorithms()
                    .first()
                    .unwrap_or(&MacAlgorithm::HmacSha256),
            ),
            KeyUsage::KeyAgreement | KeyUsage::EncapsulateDecapsulate => return None,
        };
        Some(algorithm)
    }

    /// A request about the key; `None` for operations that name none, or none that is
    /// checked.
    fn body(&self, operation: Operation) -> Option<Value> {
        use Operation as O;
        let algorithm = self.algorithm(operation).map_or("", Algorithm::name);
        let (arn, blob) = (&self.arn, BASE64.encode([1; 8]));
        let no_ciphertext = json!(["IGNORE_CIPHERTEXT"]);
        let alias = format!("alias/{}", self.key.id());
        Some(match operation {
            O::CreateCustomKeyStore
            | O::CreateKey
            | O::ConnectCustomKeyStore
            | O::DeleteAlias
            | O::DeleteCustomKeyStore
            | O::DescribeCustomKeyStores
            | O::DisconnectCustomKeyStore
            | O::GenerateRandom
            | O::ListKeys
            | O::ListRetirableGrants
            | O::RetireGrant
            | O::RevokeGrant
            | O::UpdateCustomKeyStore => return None,
            O::CancelKeyDeletion
            | O::DeleteImportedKeyMaterial
            | O::DescribeKey
            | O::DisableKey
            | O::DisableKeyRotation
            | O::EnableKey
            | O::EnableKeyRotation
            | O::GetKeyLastUsage
            | O::GetKeyPolicy
            | O::GetKeyRotationStatus
            | O::GetPublicKey
            | O::ListAliases
            | O::ListGrants
            | O::ListKeyPolicies
            | O::ListKeyRotations
            | O::ListResourceTags
            | O::RotateKeyOnDemand
            | O::ScheduleKeyDeletion => json!({ "KeyId": arn }),
            O::CreateAlias => {
                let name = format!("alias/{}", Uuid::new_v4());
                json!({ "AliasName": name, "TargetKeyId": arn })
            }
            O::UpdateAlias => json!({ "AliasName": alias, "TargetKeyId": arn }),
            O::CreateGrant => json!({
                "KeyId": arn,
                "GranteePrincipal": format!("arn:aws:iam::{ACCOUNT}:role/r"),
                "Operations": ["DescribeKey"],
            }),
            O::Encrypt => json!({
                "KeyId": arn, "Plaintext": blob, "EncryptionAlgorithm": algorithm,
            }),
            O::Decrypt => json!({
                "KeyId": arn, "EncryptionAlgorithm": algorithm, "DryRunModifiers": no_ciphertext,
            }),
            O::ReEncrypt => json!({
                "SourceKeyId": arn, "SourceEncryptionAlgorithm": algorithm,
                "DestinationKeyId": arn, "DestinationEncryptionAlgorithm": algorithm,
                "DryRunModifiers": no_ciphertext,
            }),
            O::GenerateDataKey | O::GenerateDataKeyWithoutPlaintext => {
                json!({ "KeyId": arn, "KeySpec": "AES_256" })
            }
            O::GenerateDataKeyPair | O::GenerateDataKeyPairWithoutPlaintext => {
                json!({ "KeyId": arn, "KeyPairSpec": "ECC_NIST_P256" })
            }
            O::Sign | O::Verify => json!({
                "KeyId": arn, "Message": blob, "SigningAlgorithm": algorithm, "Signature": blob,
            }),
            O::GenerateMac | O::VerifyMac => json!({
                "KeyId": arn, "Message": blob, "MacAlgorithm": algorithm, "Mac": blob,
            }),
            O::DeriveSharedSecret => json!({
                "KeyId": arn, "KeyAgreementAlgorithm": "ECDH",
                "PublicKey": BASE64.encode(&self.peer),
            }),
            O::Encapsulate | O::Decapsulate => json!({
                "KeyId": arn, "EncapsulationAlgorithm": "ML_KEM",
                "SharedSecretCiphertextBlob": blob,
            }),
            O::GetParametersForImport => json!({
                "KeyId": arn, "WrappingAlgorithm": "RSAES_OAEP_SHA_1",
                "WrappingKeySpec": "RSA_2048",
            }),
            O::ImportKeyMaterial => json!({
                "KeyId": arn, "ImportToken": blob, "EncryptedKeyMaterial": blob,
                "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
            }),
            O::PutKeyPolicy => {
                let policy = text(&json!(self.key.record().policy.rendered()));
                json!({ "KeyId": arn, "Policy": policy })
            }
            O::ReplicateKey => json!({ "KeyId": arn, "ReplicaRegion": "eu-west-1" }),
            O::TagResource => json!({
                "KeyId": arn, "Tags": [{ "TagKey": "a", "TagValue": "b" }],
            }),
            O::UntagResource => json!({ "KeyId": arn, "TagKeys": ["a"] }),
            O::UpdateKeyDescription => json!({ "KeyId": arn, "Description": "d" }),
            O::UpdatePrimaryRegion => json!({ "KeyId": arn, "PrimaryRegion": "eu-west-1" }),
        })
    }

    /// What is answered first, by AWS's table of states and the order of checks.
    fn refusal(
        &self,
        operation: Operation,
        state: State,
    ) -> Option<(&'static str, Option<String>)> {
        let (row, arn) = (operation.row(), &self.arn);
        order(operation).iter().find_map(|check| match check {
            Check::State if !accepts(operation, state) => Some(by_state(operation, state, arn)),
            Check::Usage if !operation.suits(self.spec, self.usage) => {
                let (usage, operation) = (self.usage.name(), operation.name());
                let text =
                    format!("{arn} key usage is {usage} which is not valid for {operation}.");
                Some(("InvalidKeyUsageException", Some(text)))
            }
            Check::Spec if !row.specs.contains(self.spec) => {
                Some(("UnsupportedOperationException", None))
            }
            Check::Origin if !row.origins.contains(&self.key.origin) => {
                let origin = self.key.origin.name();
                let text =
                    format!("{arn} origin is {origin} which is not valid for this operation.");
                Some(("UnsupportedOperationException", Some(text)))
            }
            _ => None,
        })
    }
}

fn by_state(operation: Operation, state: State, arn: &str) -> (&'static str, Option<String>) {
    let what = match state {
        _ if operation == Operation::CancelKeyDeletion => "not pending deletion",
        State::Enabled => unreachable!("every other operation accepts it"),
        State::Disabled => "disabled",
        State::PendingImport => "pending import",
        State::Updating => "updating",
        State::PendingReplicaDeletion => "pending replica deletion",
        State::PendingDeletion => "pending deletion",
    };
    let code = if what == "disabled" {
        "DisabledException"
    } else {
        "KMSInvalidStateException"
    };
    (code, Some(format!("{arn} is {what}.")))
}
