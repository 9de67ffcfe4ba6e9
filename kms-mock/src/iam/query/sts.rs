//! STS: who calls, and sessions.

use std::time::Duration;

use super::{call::Call, write};
use crate::{
    iam::{
        error::IamError,
        terms::{AssumeRole, SessionOptions},
    },
    world::principal::Principal,
};

pub(super) fn caller_identity(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    Ok(call.result(|xml| {
        xml.text("Arn", &call.caller.principal.arn());
        xml.text("UserId", &call.caller.unique_id);
        xml.text("Account", call.account());
    }))
}

pub(super) fn session_token(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    not_federated(call)?;
    let duration = call.form.seconds("DurationSeconds", "durationSeconds")?;
    let credentials = call.iam.session_token(call.caller, duration)?;
    Ok(call.result(|xml| write::credentials(xml, &credentials)))
}

pub(super) fn federation_token(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    not_federated(call)?;
    let form = call.form;
    let federated = call.iam.federation_token(
        (call.caller, call.connection),
        form.need("Name", "name")?,
        form.get("Policy"),
        &asked(call),
        form.seconds("DurationSeconds", "durationSeconds")?,
    )?;
    Ok(call.result(|xml| {
        write::credentials(xml, &federated.credentials);
        xml.element("FederatedUser", |xml| {
            xml.text("FederatedUserId", &federated.id);
            xml.text("Arn", &federated.arn);
        });
        if federated.is_bare {
            xml.text("PackedPolicySize", "0");
        }
    }))
}

pub(super) fn access_key_info(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    not_federated(call)?;
    let id = call.form.need("AccessKeyId", "accessKeyId")?;
    call.authorize("*")?;
    let key = call.iam.key(id);
    let is_account = id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit());
    // A stranger's key acts for the account that is asked.
    let account = match &key {
        Some(key) => key.holder.account(),
        None if is_account => id,
        None => call.account(),
    };
    Ok(call.result(|xml| xml.text("Account", account)))
}

pub(super) fn assume_role(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    not_federated(call)?;
    let form = call.form;
    let duration = form.seconds("DurationSeconds", "durationSeconds")?;
    let request = AssumeRole {
        role_arn: form.need("RoleArn", "roleArn")?,
        session_name: form.need("RoleSessionName", "roleSessionName")?,
        duration: duration.unwrap_or(Duration::from_secs(3_600)),
        policy: form.get("Policy"),
        external_id: form.get("ExternalId"),
    };
    let asked = asked(call);
    let session = call
        .iam
        .assume_role_with((call.caller, call.connection), &request, &asked)?;
    Ok(call.result(|xml| {
        xml.element("AssumedRoleUser", |xml| {
            xml.text("AssumedRoleId", &session.assumed_role_id);
            xml.text("Arn", &session.arn);
        });
        write::credentials(xml, &session.credentials);
        if let Some(source_identity) = &session.source_identity {
            xml.text("SourceIdentity", source_identity);
        }
    }))
}

/// A federated user may ask STS who it is, and nothing more.
fn not_federated(call: &Call<'_>) -> Result<(), IamError> {
    match call.caller.principal {
        Principal::FederatedUser { .. } => {
            let operation = "AWS STS";
            Err(IamError::SessionOfSession { operation })
        }
        _ => Ok(()),
    }
}

fn asked(call: &Call<'_>) -> SessionOptions {
    let form = call.form;
    SessionOptions {
        policy_arns: form.members("PolicyArns", ".arn"),
        tags: form.tags(),
        transitive_keys: form.members("TransitiveTagKeys", ""),
        source_identity: form.get("SourceIdentity").map(str::to_owned),
    }
}
