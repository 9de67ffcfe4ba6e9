//! The plainest request for a permission: what every such request has, and nothing
//! that only some have.
//!
//! Source of truth: the KMS service model (which members a request must have).

use std::collections::BTreeMap;

use super::{
    asked::{Asked, KeyKind},
    search::Prover,
    space::State,
};
use crate::{
    model::{condition_key::ConditionKey, operation::Operation},
    policy::{EncryptionContext, Question, QuestionKey, Recipient},
    world::principal::Principal,
};

impl Prover<'_> {
    /// The plainest request for a permission, about a key of this kind.
    pub(super) fn blank(
        &self,
        principal: &Principal,
        asked: &Asked,
        state: Option<State>,
        kind: KeyKind,
    ) -> Question {
        let key = QuestionKey {
            arn: format!(
                "arn:aws:kms:us-east-1:{}:key/00000000-0000-4000-8000-000000000000",
                self.account
            ),
            ..QuestionKey::default()
        };
        let mut question = Question::new(principal.clone(), asked.action(), key, self.claim.now);
        kind.put(&mut question);
        let (iam, boundary) = self.iam_of(principal);
        question.identity_policies = iam.to_vec();
        question.boundary = boundary.cloned();
        if matches!(principal, Principal::FederatedUser { .. }) {
            // The user who asks for the session chooses its policies.
            question.session_policies.clone_from(&self.iam_of_others);
        }
        let facts = &mut question.facts;
        facts.requested_region = Some("us-east-1".to_owned());
        if asked.has(&ConditionKey::EncryptionContextKeys) {
            facts.encryption_context = Some(EncryptionContext::new());
            let algorithms = kind.spec.encryption_algorithms().iter();
            facts.encryption_algorithm = algorithms.map(|a| a.name().to_owned()).next();
        }
        let text = |text: &str| Some(text.to_owned());
        match asked.operation {
            Operation::DeriveSharedSecret => facts.key_agreement_algorithm = text("ECDH"),
            Operation::Sign => {
                let algorithms = kind.spec.signing_algorithms().iter();
                facts.signing_algorithm = algorithms.map(|a| a.name().to_owned()).next();
                facts.message_type = text("RAW");
            }
            Operation::GenerateMac => {
                let algorithms = kind.spec.mac_algorithms().iter();
                facts.mac_algorithm = algorithms.map(|a| a.name().to_owned()).next();
            }
            Operation::ReEncrypt => facts.re_encrypt_on_same_key = Some(false),
            Operation::CreateGrant => facts.grant_is_for_aws_resource = Some(false),
            Operation::PutKeyPolicy => {
                facts.bypass_policy_lockout_safety_check = Some(false);
                facts.policy_name = text("default");
            }
            Operation::ReplicateKey => {
                facts.bypass_policy_lockout_safety_check = Some(false);
                facts.replica_region = text("eu-west-1");
            }
            Operation::ScheduleKeyDeletion => {
                facts.schedule_key_deletion_pending_window_in_days = Some(7);
            }
            Operation::GenerateDataKeyPair | Operation::GenerateDataKeyPairWithoutPlaintext => {
                facts.data_key_pair_spec = text("ECC_NIST_P256");
            }
            _ => {}
        }
        let zero = vec![0; 48];
        let other = || {
            (0x5a..=0xff_u8)
                .map(|byte| vec![byte; 48])
                .find(|bytes| !self.expected.contains(&hex::encode(bytes)))
                .unwrap_or_else(|| vec![1; 48])
        };
        question.recipient = match state {
            // Of an expected image: put in by who asks.
            None | Some(State::Unattested | State::Wanted) => None,
            Some(State::Debug) => Some(Recipient {
                pcrs: (0..3).map(|index| (index, zero.clone())).collect(),
                nitrotpm: false,
            }),
            Some(State::OtherImage) => Some(Recipient {
                pcrs: (0..3).map(|index| (index, other())).collect(),
                nitrotpm: false,
            }),
            Some(State::NitroTpm) => Some(Recipient {
                pcrs: BTreeMap::new(),
                nitrotpm: true,
            }),
        };
        question
    }
}
