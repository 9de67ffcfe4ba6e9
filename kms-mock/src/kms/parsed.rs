//! A call whose operation is looked up and whose body is parsed: once, for everybody
//! who has to know something of it.
//!
//! Source of truth: the KMS service model. Nothing is refused here: what is wrong with
//! a call is an answer of the operation.

use std::borrow::Cow;

use super::{json::Object, service::Call};
use crate::model::{operation::Operation, spec::KeySpec};

/// A call, parsed.
#[derive(Debug)]
pub(crate) struct ParsedCall<'a> {
    pub(super) call: Call<'a>,
    /// `None` if there is no such operation.
    pub(super) operation: Option<Operation>,
    /// `None` if the body is not a JSON object.
    pub(super) body: Option<Object<'a>>,
}

impl<'a> ParsedCall<'a> {
    pub(crate) fn of(call: Call<'a>) -> Self {
        let operation = Operation::parse(call.operation);
        let body =
            operation.map_or_else(|| Some(Object::default()), |_| Object::of_body(call.body));
        Self {
            call,
            operation,
            body,
        }
    }

    /// The name of the operation, borrowed if there is such an operation.
    pub(crate) fn operation_name(&self) -> Cow<'static, str> {
        name_of(self.operation, self.call.operation)
    }

    /// The call as it came.
    pub(crate) fn call(&self) -> &Call<'a> {
        &self.call
    }

    /// Whether it may have to make an RSA key, which takes up to a second.
    pub(crate) fn may_make_rsa_key(&self) -> bool {
        let (Some(operation), Some(body)) = (self.operation, &self.body) else {
            return false;
        };
        operation.row().new_key_specs.iter().any(|member| {
            let spec = body.text(member).and_then(KeySpec::parse);
            spec.is_some_and(KeySpec::is_rsa)
        })
    }

    /// Whether it carries a `Recipient`.
    pub(crate) fn is_attested(&self) -> bool {
        let takes_it = |operation: Operation| operation.row().takes_recipient;
        let body = self.body.as_ref();
        self.operation.is_some_and(takes_it) && body.is_some_and(|body| body.has("Recipient"))
    }
}

/// The name of an operation, borrowed if there is such an operation.
pub(crate) fn static_name(name: &str) -> Cow<'static, str> {
    name_of(Operation::parse(name), name)
}

fn name_of(operation: Option<Operation>, name: &str) -> Cow<'static, str> {
    match operation {
        Some(operation) => operation.name().into(),
        None => Cow::Owned(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{policy::Caller, world::principal::Principal};

    fn parsed<T>(operation: &str, body: &str, ask: impl FnOnce(&ParsedCall<'_>) -> T) -> T {
        let caller = Arc::new(Caller::new(Principal::Root {
            account: "123456789012".into(),
        }));
        ask(&ParsedCall::of(Call {
            operation,
            body: body.as_bytes(),
            region: None,
            caller: &caller,
            request_id: uuid::Uuid::nil().into(),
            user_agent: "",
        }))
    }

    #[test]
    fn calls_that_make_rsa_keys_are_known_by_their_members() {
        for (operation, body, expected) in [
            ("CreateKey", r#"{"KeySpec":"RSA_2048"}"#, true),
            ("CreateKey", r#"{"CustomerMasterKeySpec":"RSA_4096"}"#, true),
            ("CreateKey", r#"{"KeySpec":"ECC_NIST_P256"}"#, false),
            ("CreateKey", r#"{"Description":"RSA_2048"}"#, false),
            ("CreateKey", r#"{"KeySpec":"\u0052SA_3072"}"#, true),
            ("GenerateDataKeyPair", r#"{"KeyPairSpec":"RSA_2048"}"#, true),
            (
                "GenerateDataKeyPairWithoutPlaintext",
                r#"{"KeyPairSpec":"RSA_3072"}"#,
                true,
            ),
            (
                "GetParametersForImport",
                r#"{"WrappingKeySpec":"RSA_3072"}"#,
                true,
            ),
            ("Encrypt", r#"{"KeySpec":"RSA_2048"}"#, false),
            ("CreateKey", "RSA_2048", false),
            ("MakeKey", r#"{"KeySpec":"RSA_2048"}"#, false),
        ] {
            let may = parsed(operation, body, |call| call.may_make_rsa_key());
            assert_eq!(may, expected, "{operation} {body}");
        }
    }

    #[test]
    fn attested_calls_are_known_by_their_recipient() {
        for (operation, body, expected) in [
            ("Decrypt", r#"{"Recipient":{}}"#, true),
            ("Decrypt", r#"{"Recipient":null}"#, false),
            ("Decrypt", r#"{"KeyId":"\"Recipient\""}"#, false),
            ("Encrypt", r#"{"Recipient":{}}"#, false),
            ("Decrypt", "\"Recipient\"", false),
        ] {
            let attested = parsed(operation, body, |call| call.is_attested());
            assert_eq!(attested, expected, "{operation} {body}");
        }
    }
}
