//! iam-rs behind a pipe: one condition with its request on each line of standard
//! input, `true`, `false` or `error …` on each line of standard output.
//!
//! A line is `{"condition": {operator: {key: values}}, "context": {key: value}}`,
//! a value being a string, a bool or a list of strings. The tests of kms-mock's
//! evaluator (`policy/iam_rs.rs`) ask the questions.

use std::io::{BufRead, Write};

use iam_rs::{
    Arn, Context, ContextValue, Decision, IAMPolicy, IAMRequest, Principal, PrincipalId,
    evaluate_policy,
};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        match answer(&serde_json::from_str(&line?)?) {
            Ok(allowed) => writeln!(out, "{allowed}")?,
            Err(error) => writeln!(out, "error {}", error.to_string().replace('\n', " "))?,
        }
    }
    Ok(())
}

fn answer(question: &Value) -> Result<bool, Box<dyn std::error::Error>> {
    let policy: IAMPolicy = serde_json::from_value(json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*",
            "Condition": question["condition"],
        }],
    }))?;
    let mut context = Context::new();
    for (key, value) in question["context"].as_object().into_iter().flatten() {
        let value = match value {
            Value::Bool(value) => ContextValue::Boolean(*value),
            Value::Array(items) => ContextValue::StringList(
                items
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            ),
            other => ContextValue::String(other.as_str().unwrap_or_default().to_owned()),
        };
        context.insert(key.clone(), value);
    }
    let request = IAMRequest::new_with_context(
        Principal::Aws(PrincipalId::String(
            "arn:aws:iam::123456789012:role/r".to_owned(),
        )),
        "kms:Decrypt",
        Arn::parse("arn:aws:kms:us-east-1:123456789012:key/k")?,
        context,
    );
    Ok(evaluate_policy(&policy, &request)? == Decision::Allow)
}
