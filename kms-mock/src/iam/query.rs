//! STS and IAM over the AWS query protocol: a form with `Action` in, XML out.
//!
//! Source of truth: STS API version 2011-06-15 and IAM API version 2010-05-08;
//! every operation here asks the caller's own policies first, as IAM does
//! (GetCallerIdentity asks none).

use std::{collections::BTreeMap, time::Duration};

use nsm_sim::clock::UnixMillis;

use super::{AssumeRole, Credentials, Iam, IamError, Identity, NewRole, Role, User, xml::Xml};

const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const IAM: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
/// More parameters than any operation here takes.
const PARAMETERS_MAX: usize = 200;

/// An answer of the query protocol.
#[derive(Debug)]
pub(crate) struct FormAnswer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Code of an error.
    pub(crate) error: Option<&'static str>,
}

/// The parameters of one request.
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    /// Parameters of the query string and the body together.
    pub(crate) fn parse(query: &str, body: &[u8]) -> Self {
        let from_query = url::form_urlencoded::parse(query.as_bytes());
        let from_body = url::form_urlencoded::parse(body);
        let pairs = from_query.chain(from_body).take(PARAMETERS_MAX);
        Self(
            pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    pub(crate) fn action(&self) -> &str {
        self.get("Action").unwrap_or_default()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn need(&self, name: &str, shown: &'static str) -> Result<&str, IamError> {
        self.get(name).ok_or(IamError::MissingParameter(shown))
    }

    fn seconds(&self, name: &str, shown: &'static str) -> Result<Duration, IamError> {
        let Some(text) = self.get(name) else {
            return Ok(Duration::from_secs(3600));
        };
        text.parse()
            .map(Duration::from_secs)
            .map_err(|_| IamError::Validation {
                parameter: shown,
                value: text.chars().take(64).collect(),
                constraint: "Member must be a number of seconds",
            })
    }
}

/// Answers one STS or IAM call.
pub(crate) fn answer(iam: &Iam, caller: &Identity, form: &Form, request_id: &str) -> FormAnswer {
    match dispatch(iam, caller, form, request_id) {
        Ok(body) => FormAnswer {
            status: 200,
            body,
            error: None,
        },
        Err(error) => {
            let (code, status) = code_of(&error);
            refusal(form.action(), code, status, &error.to_string(), request_id)
        }
    }
}

/// An error of the query protocol.
pub(crate) fn refusal(
    action: &str,
    code: &'static str,
    status: u16,
    message: &str,
    request_id: &str,
) -> FormAnswer {
    let mut xml = Xml::default();
    let namespace = if is_sts(action) { STS } else { IAM };
    xml.root("ErrorResponse", namespace, |xml| {
        xml.element("Error", |xml| {
            xml.text("Type", "Sender");
            xml.text("Code", code);
            xml.text("Message", message);
        });
        xml.text("RequestId", request_id);
    });
    FormAnswer {
        status,
        body: xml.into_bytes(),
        error: Some(code),
    }
}

fn is_sts(action: &str) -> bool {
    matches!(action, "AssumeRole" | "GetCallerIdentity")
}

fn code_of(error: &IamError) -> (&'static str, u16) {
    match error {
        IamError::NoSuchEntity { .. } => ("NoSuchEntity", 404),
        IamError::EntityAlreadyExists { .. } => ("EntityAlreadyExists", 409),
        IamError::MalformedPolicyDocument(_) => ("MalformedPolicyDocument", 400),
        IamError::LimitExceeded { .. } => ("LimitExceeded", 409),
        IamError::Validation { .. }
        | IamError::MissingParameter(_)
        | IamError::SessionTooLong { .. } => ("ValidationError", 400),
        IamError::AccessDenied { .. } => ("AccessDenied", 403),
        IamError::InvalidAction { .. } => ("InvalidAction", 400),
    }
}

fn dispatch(
    iam: &Iam,
    caller: &Identity,
    form: &Form,
    request_id: &str,
) -> Result<Vec<u8>, IamError> {
    let account = caller.principal.account();
    let action = form.action();
    let role_arn = |name: &str| match iam.role(account, name) {
        Ok(role) => role.arn,
        Err(_) => format!("arn:aws:iam::{account}:role/{name}"),
    };
    let user_arn = |name: &str| format!("arn:aws:iam::{account}:user/{name}");
    let authorize =
        |resource: &str| caller.authorize(&format!("iam:{action}"), resource, iam.now());
    let done = |namespace: &str, result: Option<&mut dyn FnMut(&mut Xml)>| {
        let mut xml = Xml::default();
        xml.root(&format!("{action}Response"), namespace, |xml| {
            if let Some(result) = result {
                xml.element(&format!("{action}Result"), result);
            }
            xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
        });
        xml.into_bytes()
    };
    Ok(match action {
        "GetCallerIdentity" => done(
            STS,
            Some(&mut |xml| {
                xml.text("Arn", &caller.principal.arn());
                xml.text("UserId", &caller.unique_id);
                xml.text("Account", account);
            }),
        ),
        "AssumeRole" => {
            let request = AssumeRole {
                role_arn: form.need("RoleArn", "roleArn")?,
                session_name: form.need("RoleSessionName", "roleSessionName")?,
                duration: form.seconds("DurationSeconds", "durationSeconds")?,
                policy: form.get("Policy"),
                external_id: form.get("ExternalId"),
            };
            let session = iam.assume_role(caller, &request)?;
            done(
                STS,
                Some(&mut |xml| {
                    xml.element("AssumedRoleUser", |xml| {
                        xml.text("AssumedRoleId", &session.assumed_role_id);
                        xml.text("Arn", &session.arn);
                    });
                    write_credentials(xml, &session.credentials);
                }),
            )
        }
        "CreateRole" => {
            let name = form.need("RoleName", "roleName")?;
            authorize(&format!(
                "arn:aws:iam::{account}:role{}{name}",
                form.get("Path").unwrap_or("/")
            ))?;
            let role = iam.create_role(
                account,
                &NewRole {
                    name,
                    path: form.get("Path").unwrap_or("/"),
                    trust_policy: form
                        .need("AssumeRolePolicyDocument", "assumeRolePolicyDocument")?,
                    max_session: form.seconds("MaxSessionDuration", "maxSessionDuration")?,
                },
            )?;
            done(IAM, Some(&mut |xml| write_role(xml, &role)))
        }
        "GetRole" => {
            let name = form.need("RoleName", "roleName")?;
            authorize(&role_arn(name))?;
            let role = iam.role(account, name)?;
            done(IAM, Some(&mut |xml| write_role(xml, &role)))
        }
        "PutRolePolicy" => {
            let name = form.need("RoleName", "roleName")?;
            authorize(&role_arn(name))?;
            let policy_name = form.need("PolicyName", "policyName")?;
            let document = form.need("PolicyDocument", "policyDocument")?;
            iam.put_role_policy(account, name, policy_name, document)?;
            done(IAM, None)
        }
        "CreateUser" => {
            let name = form.need("UserName", "userName")?;
            authorize(&user_arn(name))?;
            let user = iam.create_user(account, form.get("Path").unwrap_or("/"), name)?;
            done(IAM, Some(&mut |xml| write_user(xml, &user)))
        }
        "PutUserPolicy" => {
            let name = form.need("UserName", "userName")?;
            authorize(&user_arn(name))?;
            let policy_name = form.need("PolicyName", "policyName")?;
            let document = form.need("PolicyDocument", "policyDocument")?;
            iam.put_user_policy(account, name, policy_name, document)?;
            done(IAM, None)
        }
        "CreateAccessKey" => {
            let name = form.need("UserName", "userName")?;
            authorize(&user_arn(name))?;
            let credentials = iam.create_access_key(account, name)?;
            let created = iam.clock.now();
            done(
                IAM,
                Some(&mut |xml| {
                    xml.element("AccessKey", |xml| {
                        xml.text("UserName", name);
                        xml.text("AccessKeyId", &credentials.access_key_id);
                        xml.text("Status", "Active");
                        xml.text("SecretAccessKey", &credentials.secret_access_key);
                        xml.text("CreateDate", &seconds(created));
                    });
                }),
            )
        }
        _ => {
            return Err(IamError::InvalidAction {
                action: action.chars().take(128).collect(),
                version: form
                    .get("Version")
                    .unwrap_or_default()
                    .chars()
                    .take(32)
                    .collect(),
            });
        }
    })
}

fn write_credentials(xml: &mut Xml, credentials: &Credentials) {
    xml.element("Credentials", |xml| {
        xml.text("AccessKeyId", &credentials.access_key_id);
        xml.text("SecretAccessKey", &credentials.secret_access_key);
        if let Some(token) = &credentials.session_token {
            xml.text("SessionToken", token);
        }
        if let Some(expiration) = credentials.expiration {
            xml.text("Expiration", &seconds(expiration));
        }
    });
}

fn write_role(xml: &mut Xml, role: &Role) {
    let document: String =
        url::form_urlencoded::byte_serialize(role.trust.text().as_bytes()).collect();
    xml.element("Role", |xml| {
        xml.text("Path", &role.path);
        xml.text("RoleName", &role.name);
        xml.text("RoleId", &role.id);
        xml.text("Arn", &role.arn);
        xml.text("CreateDate", &seconds(role.created));
        // RFC 3986 wants %20 where a form has a plus; the text holds no other plus.
        xml.text("AssumeRolePolicyDocument", &document.replace('+', "%20"));
        xml.text(
            "MaxSessionDuration",
            &role.max_session.as_secs().to_string(),
        );
    });
}

fn write_user(xml: &mut Xml, user: &User) {
    xml.element("User", |xml| {
        xml.text("Path", &user.path);
        xml.text("UserName", &user.name);
        xml.text("UserId", &user.id);
        xml.text("Arn", &user.arn);
        xml.text("CreateDate", &seconds(user.created));
    });
}

/// A time without fraction, `2025-12-25T16:04:18Z`.
fn seconds(at: UnixMillis) -> String {
    UnixMillis::from_secs(at.as_secs()).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nsm_sim::{clock::SettableClock, seed::WorldSeed};

    use super::*;

    fn world() -> Iam {
        let clock = SettableClock::frozen(UnixMillis(1_766_678_658_123));
        Iam::new(Arc::new(clock), Some(&WorldSeed::from_u64(1)))
    }

    fn call(iam: &Iam, caller: &Identity, form: &str) -> (u16, String) {
        let answer = answer(iam, caller, &Form::parse("", form.as_bytes()), "rid");
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    #[test]
    fn the_root_user_is_told_who_it_is() {
        let (status, body) = call(
            &world(),
            &Identity::root("123456789012"),
            "Action=GetCallerIdentity",
        );
        assert_eq!(status, 200);
        assert_eq!(
            body,
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:root</Arn>\
             <UserId>123456789012</UserId><Account>123456789012</Account>\
             </GetCallerIdentityResult><ResponseMetadata><RequestId>rid</RequestId>\
             </ResponseMetadata></GetCallerIdentityResponse>"
        );
    }

    #[test]
    fn a_role_is_made_found_and_not_made_twice() {
        let (iam, root) = (world(), Identity::root("123456789012"));
        let trust = url::form_urlencoded::byte_serialize(
            br#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#,
        )
        .collect::<String>();
        let form = format!("Action=CreateRole&RoleName=app&AssumeRolePolicyDocument={trust}");
        assert_eq!(call(&iam, &root, &form).0, 200);
        let (status, body) = call(&iam, &root, &form);
        assert_eq!(status, 409);
        assert!(body.contains("<Code>EntityAlreadyExists</Code>"), "{body}");
        let (status, body) = call(&iam, &root, "Action=GetRole&RoleName=app");
        assert_eq!(status, 200);
        assert!(
            body.contains("<Arn>arn:aws:iam::123456789012:role/app</Arn>"),
            "{body}"
        );
        assert!(
            body.contains("<CreateDate>2025-12-25T16:04:18Z</CreateDate>"),
            "{body}"
        );
    }

    #[test]
    fn wrong_parameters_get_the_documented_codes() {
        let (iam, root) = (world(), Identity::root("123456789012"));
        let table = [
            ("Action=GetRole&RoleName=none", 404, "NoSuchEntity"),
            ("Action=GetRole", 400, "ValidationError"),
            ("Action=CreateUser&UserName=a%20b", 400, "ValidationError"),
            (
                "Action=CreateRole&RoleName=a&AssumeRolePolicyDocument=x",
                400,
                "MalformedPolicyDocument",
            ),
            ("Action=CreateAccessKey&UserName=none", 404, "NoSuchEntity"),
            (
                "Action=AssumeRole&RoleArn=arn:aws:iam::1:role/x&RoleSessionName=ab",
                403,
                "AccessDenied",
            ),
            (
                "Action=AssumeRole&RoleArn=x&RoleSessionName=ab&DurationSeconds=1",
                400,
                "ValidationError",
            ),
            (
                "Action=DeleteAccountAlias&Version=2010-05-08",
                400,
                "InvalidAction",
            ),
            ("", 400, "InvalidAction"),
        ];
        for (form, status, code) in table {
            let (got, body) = call(&iam, &root, form);
            assert_eq!(got, status, "{form}: {body}");
            assert!(
                body.contains(&format!("<Code>{code}</Code>")),
                "{form}: {body}"
            );
        }
    }

    #[test]
    fn a_user_without_policies_may_only_ask_who_it_is() {
        let (iam, root) = (world(), Identity::root("123456789012"));
        assert_eq!(call(&iam, &root, "Action=CreateUser&UserName=alice").0, 200);
        let credentials = iam.create_access_key("123456789012", "alice").unwrap();
        let key = iam.key(&credentials.access_key_id).unwrap();
        let alice = iam.identity(&key).unwrap();
        assert_eq!(call(&iam, &alice, "Action=GetCallerIdentity").0, 200);
        let (status, body) = call(&iam, &alice, "Action=CreateUser&UserName=bob");
        assert_eq!(status, 403);
        assert!(
            body.contains(
                "User: arn:aws:iam::123456789012:user/alice is not authorized to perform: \
                 iam:CreateUser on resource: arn:aws:iam::123456789012:user/bob because no \
                 identity-based policy allows the iam:CreateUser action"
            ),
            "{body}"
        );
        let policy = r#"{"Statement":{"Effect":"Allow","Action":"iam:Create*","Resource":"*"}}"#;
        iam.put_user_policy("123456789012", "alice", "admin", policy)
            .unwrap();
        let alice = iam.identity(&key).unwrap();
        assert_eq!(call(&iam, &alice, "Action=CreateUser&UserName=bob").0, 200);
    }
}
