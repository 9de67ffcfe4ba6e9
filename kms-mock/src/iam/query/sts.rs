//! STS: who calls, and sessions.

use std::time::Duration;

use super::{Call, IamError, STS, write};
use crate::{
    iam::{AssumeRole, terms::Asked},
    world::principal::Principal,
};

/// Whether an action is one of STS's.
pub(super) fn knows(action: &str) -> bool {
    matches!(
        action,
        "AssumeRole"
            | "GetCallerIdentity"
            | "GetSessionToken"
            | "GetFederationToken"
            | "GetAccessKeyInfo"
    )
}

pub(super) fn answer(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let form = call.form;
    let asks_who = call.action() == "GetCallerIdentity";
    if matches!(call.caller.principal, Principal::FederatedUser { .. }) && !asks_who {
        let operation = "AWS STS";
        return Err(IamError::SessionOfSession { operation });
    }
    Ok(match call.action() {
        "GetCallerIdentity" => call.result(STS, |xml| {
            xml.text("Arn", &call.caller.principal.arn());
            xml.text("UserId", &call.caller.unique_id);
            xml.text("Account", call.account());
        }),
        "GetSessionToken" => {
            let duration = form.seconds("DurationSeconds", "durationSeconds")?;
            let credentials = call.iam.session_token(call.caller, duration)?;
            call.result(STS, |xml| write::credentials(xml, &credentials))
        }
        "GetFederationToken" => {
            let federated = call.iam.federation_token(
                call.caller,
                form.need("Name", "name")?,
                form.get("Policy"),
                &asked(call),
                form.seconds("DurationSeconds", "durationSeconds")?,
            )?;
            call.result(STS, |xml| {
                write::credentials(xml, &federated.credentials);
                xml.element("FederatedUser", |xml| {
                    xml.text("FederatedUserId", &federated.id);
                    xml.text("Arn", &federated.arn);
                });
                if federated.is_bare {
                    xml.text("PackedPolicySize", "0");
                }
            })
        }
        "GetAccessKeyInfo" => {
            let id = form.need("AccessKeyId", "accessKeyId")?;
            call.authorize("*")?;
            let key = call.iam.key(id);
            let is_account = id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit());
            // A stranger's key acts for the account that is asked.
            let account = match &key {
                Some(key) => key.holder.account(),
                None if is_account => id,
                None => call.account(),
            };
            call.result(STS, |xml| xml.text("Account", account))
        }
        // AssumeRole, by `knows`.
        _ => {
            let duration = form.seconds("DurationSeconds", "durationSeconds")?;
            let request = AssumeRole {
                role_arn: form.need("RoleArn", "roleArn")?,
                session_name: form.need("RoleSessionName", "roleSessionName")?,
                duration: duration.unwrap_or(Duration::from_secs(3_600)),
                policy: form.get("Policy"),
                external_id: form.get("ExternalId"),
            };
            let asked = asked(call);
            let session = call.iam.assume_role_with(call.caller, &request, &asked)?;
            call.result(STS, |xml| {
                xml.element("AssumedRoleUser", |xml| {
                    xml.text("AssumedRoleId", &session.assumed_role_id);
                    xml.text("Arn", &session.arn);
                });
                write::credentials(xml, &session.credentials);
                if let Some(source_identity) = &session.source_identity {
                    xml.text("SourceIdentity", source_identity);
                }
            })
        }
    })
}

fn asked(call: &Call<'_>) -> Asked {
    let form = call.form;
    Asked {
        policy_arns: form.members("PolicyArns", ".arn"),
        tags: form.tags(),
        transitive_keys: form.members("TransitiveTagKeys", ""),
        source_identity: form.get("SourceIdentity").map(str::to_owned),
    }
}
