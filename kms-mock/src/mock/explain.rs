//! Why a call was allowed or refused, for people and for programs.
//!
//! Source of truth: the decision that was made, as it stands in the audit log;
//! nothing is evaluated again. AWS has nothing like it: it names the principal,
//! the action and the kind of policy.

use std::fmt;

use serde_json::{Value, json};

use crate::{audit::AuditRecord, edge::Received};

/// Values longer than this are shown with their beginning and their length.
const VALUE_CHARS_MAX: usize = 200;

/// What became of one request and why. `Display` is the text for people: which
/// statement allowed it or why each did not, expected beside presented.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation(Value);

impl Explanation {
    pub(crate) fn of(record: &AuditRecord) -> Self {
        Self(record.explanation())
    }

    /// For a request that never came to KMS.
    pub(crate) fn of_received(received: &Received) -> Self {
        Self(json!({
            "requestId": received.request_id.as_str(),
            "time": received.at.to_string(),
            "service": received.service,
            "operation": received.operation,
            "principal": received.principal.as_deref(),
            "status": received.status,
            "reason": received.reason,
        }))
    }

    /// What [`Explanation::json`] gave, for example over the management port.
    #[must_use]
    pub fn from_json(json: Value) -> Self {
        Self(json)
    }

    /// `requestId`, `time`, `operation`, `principal`, `key`, `attested`,
    /// `resource`, `document`, `errorCode`, `errorMessage`, `reason`, `faults`, `decisions`
    /// (each with `allowed`, `because`, `remarks`, `policies`, `grants`).
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.0
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = &self.0;
        let outcome = match (text(record, "errorCode"), record["status"].as_u64()) {
            (Some(code), _) => format!("refused: {code}"),
            (None, Some(status)) if status >= 400 => format!("refused with status {status}"),
            _ => "done".to_owned(),
        };
        writeln!(
            f,
            "{} {outcome}",
            text(record, "operation").unwrap_or("(no operation)")
        )?;
        for (label, member) in [
            ("request", "requestId"),
            ("at", "time"),
            ("by", "principal"),
            ("key", "key"),
            ("on", "resource"),
            ("message", "errorMessage"),
            ("reason", "reason"),
        ] {
            if let Some(text) = text(record, member) {
                writeln!(f, "  {label:<9} {}", shortened(text))?;
            }
        }
        for fault in list(record, "faults") {
            writeln!(f, "  injected  {}", shown(fault))?;
        }
        document(f, record)?;
        for (at, decision) in list(record, "decisions").iter().enumerate() {
            decision_text(f, at + 1, decision)?;
        }
        if list(record, "decisions").is_empty() {
            writeln!(f, "\nNo policy was evaluated: the call ended before that.")?;
        }
        Ok(())
    }
}

fn document(f: &mut fmt::Formatter<'_>, record: &Value) -> fmt::Result {
    let Some(document) = record["document"].as_object() else {
        if record.get("attested").is_some() {
            writeln!(f, "  document  none: the call is not attested")?;
        }
        return Ok(());
    };
    let member = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or("?");
    writeln!(
        f,
        "  document  {}, signed {}",
        member("moduleId"),
        member("timestamp")
    )?;
    let pcrs = document.get("pcrs").and_then(Value::as_object);
    let mut pcrs: Vec<(u8, &str)> = pcrs
        .into_iter()
        .flatten()
        .filter_map(|(index, value)| Some((index.parse().ok()?, value.as_str()?)))
        .collect();
    pcrs.sort_unstable();
    let zero = |value: &str| value.bytes().all(|b| b == b'0');
    for (index, value) in pcrs.iter().filter(|(_, value)| !zero(value)) {
        writeln!(f, "    PCR{index:<3}  {value}")?;
    }
    if pcrs.iter().any(|(index, value)| *index == 0 && zero(value)) {
        writeln!(f, "    PCR0 is zero: the enclave is in debug mode")?;
    }
    Ok(())
}

fn decision_text(f: &mut fmt::Formatter<'_>, number: usize, decision: &Value) -> fmt::Result {
    let verb = if decision["allowed"] == true {
        "Allowed"
    } else {
        "Denied"
    };
    writeln!(
        f,
        "\nDecision {number}: {verb}: {}",
        text(decision, "because").unwrap_or("?")
    )?;
    for remark in list(decision, "remarks") {
        writeln!(f, "  ! {}", shown(remark))?;
    }
    for policy in list(decision, "policies") {
        let id = text(policy, "id").map_or(String::new(), |id| format!(" \"{id}\""));
        writeln!(f, "  {}{id}", text(policy, "source").unwrap_or("policy"))?;
        let statements = list(policy, "statements");
        if statements.is_empty() {
            writeln!(f, "    has no statements")?;
        }
        for statement in statements {
            let sid = text(statement, "sid").map_or(String::new(), |sid| format!(" \"{sid}\""));
            writeln!(
                f,
                "    statement {}{sid}, {}: {}",
                statement["statement"],
                text(statement, "effect").unwrap_or("?"),
                text(statement, "verdict").unwrap_or("?")
            )?;
            for condition in list(statement, "conditions") {
                condition_text(f, condition)?;
            }
        }
    }
    for grant in list(decision, "grants") {
        writeln!(
            f,
            "  grant {}: {}",
            text(grant, "grantId").unwrap_or("?"),
            text(grant, "verdict").unwrap_or("?")
        )?;
    }
    Ok(())
}

fn condition_text(f: &mut fmt::Formatter<'_>, condition: &Value) -> fmt::Result {
    let mark = if condition["satisfied"] == true {
        "holds"
    } else {
        "FAILS"
    };
    writeln!(
        f,
        "      {mark}  {} {}: {}",
        text(condition, "operator").unwrap_or("?"),
        text(condition, "key").unwrap_or("?"),
        text(condition, "because").unwrap_or("?")
    )?;
    for value in list(condition, "expected") {
        writeln!(f, "             expected  {}", shown(value))?;
    }
    match condition["presented"].as_array() {
        None => writeln!(f, "             presented nothing"),
        Some(values) => values
            .iter()
            .try_for_each(|value| writeln!(f, "             presented {}", shown(value))),
    }
}

fn text<'a>(of: &'a Value, member: &str) -> Option<&'a str> {
    of.get(member)?.as_str()
}

fn list<'a>(of: &'a Value, member: &str) -> &'a [Value] {
    of.get(member)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), shortened)
}

/// What a client sent may be long and may hold control characters.
fn shortened(text: &str) -> String {
    let visible = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let count = text.chars().count();
    // Messages are AWS's and as long as they are.
    if count <= 4 * VALUE_CHARS_MAX {
        return visible.collect();
    }
    let start: String = visible.take(VALUE_CHARS_MAX).collect();
    format!("{start}… ({count} characters)")
}
