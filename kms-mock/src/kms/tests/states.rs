//! Every operation on keys of every kind in every state, beside the table of
//! operations.

use super::*;
use crate::{
    keys::{key::Key, record::KeyState},
    model::{
        operation::{Check, Operation, Row, State, WhenDisabled},
        spec::{Algorithm, EncryptionAlgorithm, KeySpec, KeyUsage, MacAlgorithm, SigningAlgorithm},
    },
};

/// Which states an operation accepts, as AWS's developer guide lists them ("Key states
/// of AWS KMS keys"): Enabled, Disabled, PendingImport, Updating,
/// PendingReplicaDeletion, PendingDeletion. What is not here accepts all.
const ACCEPTED: [(&str, &str); 33] = [
    ("CancelKeyDeletion", "- - - - + +"),
    ("CreateAlias", "+ + + + - -"),
    ("CreateGrant", "+ - - + - -"),
    ("Decapsulate", "+ - - + - -"),
    ("Decrypt", "+ - - + - -"),
    ("DeriveSharedSecret", "+ - - + - -"),
    ("DisableKey", "+ + - - - -"),
    ("DisableKeyRotation", "+ - - + - -"),
    ("EnableKey", "+ + - - - -"),
    ("EnableKeyRotation", "+ - - + - -"),
    ("Encapsulate", "+ - - + - -"),
    ("Encrypt", "+ - - + - -"),
    ("GenerateDataKey", "+ - - + - -"),
    ("GenerateDataKeyPair", "+ - - + - -"),
    ("GenerateDataKeyPairWithoutPlaintext", "+ - - + - -"),
    ("GenerateDataKeyWithoutPlaintext", "+ - - + - -"),
    ("GenerateMac", "+ - - + - -"),
    ("GetParametersForImport", "+ + + + - -"),
    ("GetPublicKey", "+ - - + - -"),
    ("ImportKeyMaterial", "+ - + + - -"),
    ("ListKeyRotations", "+ + + + - -"),
    ("ReEncrypt", "+ - - + - -"),
    ("ReplicateKey", "+ - - - - -"),
    ("RotateKeyOnDemand", "+ - - + - -"),
    ("ScheduleKeyDeletion", "+ + + + - -"),
    ("Sign", "+ - - + - -"),
    ("TagResource", "+ + + + - -"),
    ("UpdateAlias", "+ + + + - -"),
    ("UpdateKeyDescription", "+ + + + - -"),
    ("UpdatePrimaryRegion", "+ - - - - -"),
    ("Verify", "+ - - + - -"),
    ("VerifyMac", "+ - - + - -"),
    ("UntagResource", "+ + + + + +"),
];

const KINDS: [(&str, &str, &str); 9] = [
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS"),
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EXTERNAL"),
    ("RSA_2048", "ENCRYPT_DECRYPT", "AWS_KMS"),
    ("RSA_2048", "SIGN_VERIFY", "AWS_KMS"),
    ("ECC_NIST_P256", "SIGN_VERIFY", "AWS_KMS"),
    ("ECC_NIST_P256", "KEY_AGREEMENT", "AWS_KMS"),
    ("HMAC_256", "GENERATE_VERIFY_MAC", "AWS_KMS"),
    ("ML_DSA_44", "SIGN_VERIFY", "AWS_KMS"),
    ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE", "AWS_KMS"),
];

#[test]
fn the_table_accepts_the_states_that_aws_lists() {
    for operation in Operation::all() {
        let row = operation.row();
        let listed = ACCEPTED.iter().find(|(name, _)| *name == operation.name());
        let states: Vec<&str> = listed
            .map_or("+ + + + + +", |(_, it)| it)
            .split(' ')
            .collect();
        for (state, expected) in State::ALL.into_iter().zip(states) {
            let accepted = !row.checks.contains(&Check::State) || row.states.contains(state);
            assert_eq!(accepted, expected == "+", "{operation:?} {state:?}");
        }
    }
}

#[test]
fn every_operation_refuses_what_its_row_refuses_and_nothing_else() {
    let world = World::new();
    for (spec, usage, origin) in KINDS {
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

    /// What the first check of the row that is not met answers.
    fn refusal(
        &self,
        operation: Operation,
        state: State,
    ) -> Option<(&'static str, Option<String>)> {
        let row = operation.row();
        let arn = &self.arn;
        row.checks.iter().find_map(|check| match check {
            Check::State if !row.states.contains(state) => Some(by_state(row, state, arn)),
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

fn by_state(row: &Row, state: State, arn: &str) -> (&'static str, Option<String>) {
    let what = match state {
        State::Enabled => "not pending deletion",
        _ if row.states.contains(State::PendingDeletion) => "not pending deletion",
        State::Disabled => "disabled",
        State::PendingImport => "pending import",
        State::Updating => "updating",
        State::PendingReplicaDeletion => "pending replica deletion",
        State::PendingDeletion => "pending deletion",
    };
    let code = if what == "disabled" && row.disabled == WhenDisabled::Disabled {
        "DisabledException"
    } else {
        "KMSInvalidStateException"
    };
    (code, Some(format!("{arn} is {what}.")))
}
