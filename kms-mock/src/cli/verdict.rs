//! What `kms-mock policy check` answers: in words, as JSON, and as SARIF 2.1.0 for
//! those who read code.

use std::{collections::BTreeMap, path::Path};

use kms_mock::{
    mock::replay::{Checked, Replayed},
    policy::{
        Question,
        prove::{Claim, Enclave, Finding, Verdict, fix},
    },
};
use serde_json::{Value, json};

/// The verdict in words.
pub(crate) fn in_words(checked: &Checked, claim: &Claim) -> String {
    let proof = &checked.proof;
    let mut out = Vec::new();
    let who = if claim.principals.is_empty() {
        "anybody".to_owned()
    } else {
        claim.principals.join(", ")
    };
    let paths = proof.findings.iter().filter(|f| f.kind.is_path()).count();
    let verdict = checked.verdict();
    out.push(match verdict {
        Verdict::Closed => format!("closed: no path to the key round the enclave for {who}"),
        Verdict::Open => format!("OPEN: {paths} path(s) to the key round the enclave for {who}"),
        Verdict::Undecided => {
            format!("undecided: no path was found for {who}, but not everything could be decided")
        }
    });
    out.push(format!(
        "  the key belongs to account {}; {} kind(s) of principals, {} requests decided",
        proof.accounts.join(" or "),
        proof.principals,
        proof.decisions
    ));
    if proof.expected_pcr0.is_empty() {
        out.push("  no image is expected: neither --pcr0 nor the policy names one".to_owned());
    } else if claim.expected_pcr0.is_empty() && proof.expected_pcr0.len() > 1 {
        out.push(format!(
            "  the policy accepts {} images; say which is the current one with --pcr0",
            proof.expected_pcr0.len()
        ));
    }
    out.extend(proof.enclaves.iter().map(enclave_in_words));
    let mut by_statement: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (finding, replayed) in proof.findings.iter().zip(&checked.replayed) {
        let key = (!finding.kind.is_path(), statement_of(finding));
        by_statement
            .entry(key)
            .or_default()
            .push((finding, replayed));
    }
    for ((is_note, statement), findings) in &by_statement {
        let what = if *is_note {
            "ends the key"
        } else {
            "opens the key"
        };
        out.push(format!("\n{statement} {what}:"));
        out.extend(
            findings
                .iter()
                .map(|(f, replayed)| finding_in_words(f, replayed)),
        );
    }
    if verdict == Verdict::Open {
        out.push(match fix(claim, proof) {
            Some(fix) => format!(
                "\nfix: with these statements added the policy is closed (checked); a Deny without a condition is for everybody, for good:\n{fix:#}"
            ),
            None => "\nno Deny that could simply be added closes the policy".to_owned(),
        });
    }
    for (finding, refused) in &checked.faults {
        let Replayed::Refused { call, answer } = refused else {
            continue;
        };
        out.push(format!(
            "\nFAULT of this search, please report it: {} was found and {call} was refused: {answer}",
            finding.action()
        ));
    }
    for lint in &proof.lints {
        out.push(format!(
            "\nlint {} (statement {}): {}",
            lint.kind.name(),
            named(lint.statement, lint.sid.as_deref()),
            lint.message
        ));
    }
    for gap in &proof.undecided {
        let who = gap
            .principal
            .as_ref()
            .map_or("all principals".to_owned(), |p| p.role_arn());
        out.push(format!(
            "\nundecided: {} for {who}: {}",
            gap.action, gap.why
        ));
    }
    if verdict == Verdict::Closed {
        out.push("\nthat stands on:".to_owned());
        out.extend(proof.assumptions.iter().map(|it| format!("  - {it}")));
    }
    out.push(String::new());
    out.join("\n")
}

/// The verdict as JSON.
pub(crate) fn to_json(checked: &Checked) -> Value {
    let mut json = checked.proof.to_json();
    json["verdict"] = word(checked.verdict()).into();
    let findings = json["findings"].as_array_mut().into_iter().flatten();
    for (finding, replayed) in findings.zip(&checked.replayed) {
        finding["replayed"] = match replayed {
            Replayed::Answered { calls } => json!({ "calls": calls }),
            Replayed::Not(why) => json!({ "not": why }),
            _ => Value::Null,
        };
    }
    json["faults"] = checked
        .faults
        .iter()
        .map(|(finding, _)| json!(finding.action()))
        .collect();
    json
}

/// The verdict as SARIF.
pub(crate) fn to_sarif(checked: &Checked, file: &Path, text: &str) -> Value {
    let lines = statement_lines(text);
    let place = |statement: Option<usize>| {
        let line = statement
            .and_then(|number| lines.get(number.checked_sub(1)?))
            .copied()
            .unwrap_or(1);
        json!([{ "physicalLocation": {
            "artifactLocation": { "uri": file.to_string_lossy() },
            "region": { "startLine": line },
        }}])
    };
    let proof = &checked.proof;
    let mut results: Vec<Value> = Vec::new();
    for finding in &proof.findings {
        let level = if finding.kind.is_path() {
            "error"
        } else {
            "note"
        };
        let number = finding.statement.as_ref().map(|(number, _)| *number);
        let text = format!(
            "{} leads to {}: {}",
            finding.action(),
            finding.reaches.in_words(),
            finding.reason
        );
        results.push(json!({
            "ruleId": finding.kind_name(), "level": level,
            "message": { "text": text }, "locations": place(number),
        }));
    }
    for gap in &proof.undecided {
        results.push(json!({
            "ruleId": "undecided", "level": "warning",
            "message": { "text": format!("{}: {}", gap.action, gap.why) },
            "locations": place(None),
        }));
    }
    for lint in &proof.lints {
        results.push(json!({
            "ruleId": lint.kind.name(), "level": "warning",
            "message": { "text": lint.message }, "locations": place(Some(lint.statement)),
        }));
    }
    json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": { "driver": { "name": "kms-mock policy check", "version": env!("CARGO_PKG_VERSION") } },
            "results": results,
            "properties": { "verdict": word(checked.verdict()) },
        }],
    })
}

/// The line that each statement of a bare policy begins in, from one.
fn statement_lines(text: &str) -> Vec<usize> {
    let Some(from) = text.find("\"Statement\"") else {
        return Vec::new();
    };
    let (mut depth, mut is_in_text, mut is_escaped) = (0usize, false, false);
    let mut line = 1 + text
        .get(..from)
        .map_or(0, |before| before.matches('\n').count());
    let mut lines = Vec::new();
    for c in text.get(from..).unwrap_or_default().chars() {
        match c {
            '\n' => line += 1,
            _ if is_escaped => is_escaped = false,
            '\\' if is_in_text => is_escaped = true,
            '"' => is_in_text = !is_in_text,
            _ if is_in_text => {}
            '{' => {
                if depth == 0 {
                    lines.push(line);
                }
                depth += 1;
            }
            // The policy's own end comes after its last statement.
            '}' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => break,
            },
            _ => {}
        }
    }
    lines
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Closed => "closed",
        Verdict::Open => "open",
        Verdict::Undecided => "undecided",
    }
}

fn named(statement: usize, sid: Option<&str>) -> String {
    match sid {
        Some(sid) => format!("{statement}, \"{sid}\""),
        None => statement.to_string(),
    }
}

fn statement_of(finding: &Finding) -> String {
    finding.statement.as_ref().map_or_else(
        || "no statement".to_owned(),
        |(number, sid)| format!("statement {}", named(*number, sid.as_deref())),
    )
}

fn enclave_in_words(enclave: &Enclave) -> String {
    let mut out = format!(
        "  the enclave of PCR0 {}…",
        enclave.pcr0.get(..16).unwrap_or_default()
    );
    if enclave.can.is_empty() && enclave.cannot.is_empty() {
        out.push_str(" is given nothing by the policy");
    }
    for ability in &enclave.can {
        let by = ability
            .statement
            .as_ref()
            .map_or(String::new(), |(number, sid)| {
                format!(" by statement {}", named(*number, sid.as_deref()))
            });
        out.push_str(&format!("\n    can    {}{by}", ability.call.action));
    }
    for action in &enclave.cannot {
        out.push_str(&format!(
            "\n    CANNOT {action}, though a statement is about it"
        ));
    }
    out
}

fn finding_in_words(finding: &Finding, replayed: &Replayed) -> String {
    let head = if finding.kind.is_path() {
        "PATH"
    } else {
        "note"
    };
    let mut out = format!(
        "{head} {} {} by {}\n  leads to {}: {}\n  witness: {}",
        finding.kind_name(),
        finding.action(),
        statement_of(finding),
        finding.reaches.in_words(),
        finding.reason,
        request_in_words(finding.witness())
    );
    for step in finding.steps.iter().skip(1) {
        out.push_str(&format!("\n  then:    {}", request_in_words(&step.call)));
    }
    out.push_str(&match replayed {
        Replayed::Answered { calls } => format!("\n  replayed: KMS has answered {calls} call(s)"),
        Replayed::Not(why) => format!("\n  not replayed: {why}"),
        _ => String::new(),
    });
    out
}

/// A request in a line.
pub(crate) fn request_in_words(question: &Question) -> String {
    let mut parts = vec![format!("{} {}", question.principal, question.action)];
    match &question.recipient {
        None => parts.push("no Recipient".to_owned()),
        Some(recipient) => {
            let kind = if recipient.nitrotpm {
                "NitroTPM document"
            } else {
                "document"
            };
            let pcrs: Vec<String> = recipient
                .pcrs
                .iter()
                .map(|(index, bytes)| format!("PCR{index} {}", hex::encode(bytes)))
                .collect();
            parts.push(format!("{kind} with {}", pcrs.join(", ")));
        }
    }
    let facts = serde_json::to_value(&question.facts).expect("facts are JSON");
    for (name, value) in facts.as_object().into_iter().flatten() {
        parts.push(format!("{name} {value}"));
    }
    for (name, value) in &question.key.tags {
        parts.push(format!("key tagged {name}={value}"));
    }
    parts.join("; ")
}
