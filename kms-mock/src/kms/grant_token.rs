//! Grant tokens: what `CreateGrant` answers and other calls bring.
//!
//! Source of truth: AWS KMS developer guide, "Using a grant token". A grant counts
//! from the moment it is made, so that its token is accepted and not needed; nothing
//! in it is secret.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::error::Failure;

const PREFIX: &str = "drydock grant token ";

/// The key and the grant that a token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrantToken {
    pub(crate) key_arn: String,
    pub(crate) grant_id: String,
}

/// A token of a grant: each is another one, and all of a grant mean the same.
pub(crate) fn write(key_arn: &str, grant_id: &str, unique: &[u8; 16]) -> String {
    let unique = hex::encode(unique);
    BASE64.encode(format!("{PREFIX}{key_arn} {grant_id} {unique}"))
}

/// Reads a token, whether its grant is still there or not.
pub(crate) fn read(token: &str) -> Result<GrantToken, Failure> {
    let bytes = BASE64
        .decode(token)
        .map_err(|_| Failure::InvalidGrantToken)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::InvalidGrantToken)?;
    let (key_arn, grant_id) = text
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once(' '))
        .ok_or(Failure::InvalidGrantToken)?;
    let grant_id = grant_id.split_once(' ').map_or(grant_id, |(id, _)| id);
    Ok(GrantToken {
        key_arn: key_arn.to_owned(),
        grant_id: grant_id.to_owned(),
    })
}
