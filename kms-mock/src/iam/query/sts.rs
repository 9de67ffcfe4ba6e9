//! STS: who calls, and sessions.

use std::time::Duration;

use super::{super::AssumeRole, Call, IamError, STS, write};

/// Whether an action is one of STS's.
pub(super) fn knows(action: &str) -> bool {
    matches!(
        action,
        "AssumeRole" | "GetCallerIdentity" | "GetSessionToken" | "GetAccessKeyInfo"
    )
}

pub(super) fn answer(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let form = call.form;
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
            let arns = form.members("PolicyArns", ".arn");
            let session = call.iam.assume_role_with(call.caller, &request, &arns)?;
            call.result(STS, |xml| {
                xml.element("AssumedRoleUser", |xml| {
                    xml.text("AssumedRoleId", &session.assumed_role_id);
                    xml.text("Arn", &session.arn);
                });
                write::credentials(xml, &session.credentials);
            })
        }
    })
}
