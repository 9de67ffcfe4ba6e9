//! Authorization: key policies, bucket policies, IAM policies and grants, parsed strictly and
//! evaluated by one function that explains itself.
//!
//! Source of truth: ground truth KMS §2 (attestation condition keys) and §3.
//!
//! Reading order: [`Policy`] (what a document may say), [`Request`] (what is
//! asked), [`decide`] (the answer), [`Decision`] (the answer's reasons),
//! [`Grant`], [`Question`] (a request as a text, for `explain` offline),
//! [`prove`](mod@prove) (is any way to the key open), [`lint()`] (what a policy's author
//! may not have meant).

mod binding;
pub(crate) mod bucket;
mod caller;
mod condition;
mod decision;
mod document;
mod evaluate;
mod facts;
mod grant;
#[cfg(test)]
mod iam_rs;
mod json;
mod lint;
mod operator;
#[cfg(test)]
mod oracle;
mod principals;
pub mod prove;
mod question;
mod request;
mod s3_request;
mod template;
#[cfg(test)]
mod tests;
mod value;

pub use caller::Caller;
pub use condition::Because;
pub use decision::{
    AllowedBy, ConditionTrace, Decision, Denial, GrantTrace, GrantVerdict, Named, Outcome,
    PolicySource, PolicyTrace, StatementTrace, Verdict,
};
pub use document::{KEY_POLICY_BYTES_MAX, Policy, PolicyError, PolicyKind};
pub use evaluate::decide;
pub use facts::{EncryptionContext, Facts, KeyFacts, NewKeyFacts, Resource, S3Facts, S3Signature};
pub(crate) use grant::bind_grant_principal;
pub use grant::{Constraint, GRANT_OPERATIONS, Grant};
pub use lint::{Lint, LintKind, lint};
pub use prove::prove;
pub use question::{OneOrMany, Question, QuestionError, QuestionFacts, QuestionKey, Recipient};
pub use request::Request;
