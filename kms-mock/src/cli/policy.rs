//! `kms-mock policy check` and `kms-mock policy explain`: key policies looked at
//! without a server.
//!
//! Exit status of `check`: 0 no way to the key round the enclave, 1 there is one,
//! 2 the policy could not be read or not everything could be decided. Of
//! `explain`: 0 allowed, 1 denied, 2 unreadable.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, anyhow};
use kms_mock::policy::{
    Policy, PolicyKind, Question,
    prove::{Claim, Finding, Proof, Verdict, prove},
};
use nsm_sim::clock::{Clock, SystemClock};
use serde_json::Value;

/// Options of `kms-mock policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Decide whether any un-attested, debug-mode or old-image path to the key
    /// exists. Exits with 0 when there is none, 1 when there is one, 2 when that
    /// could not be decided.
    Check(Check),
    /// Trace how one request is decided. Exits with 0 when it is allowed, 1 when
    /// it is denied, 2 when something could not be read.
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
struct Check {
    /// A key policy, or what `aws kms get-key-policy` answers; `-` for standard input.
    file: PathBuf,
    /// ARN of a role, a session, a user or a root user, or an account's number;
    /// may be repeated. Without it: anybody.
    #[arg(long, value_name = "ARN", num_args = 1..)]
    principal: Vec<String>,
    /// The PCR0 of the image that is wanted; may be repeated. Without it: every
    /// PCR0 that the policy names.
    #[arg(long, value_name = "HEX")]
    pcr0: Vec<String>,
    /// An IAM policy of the principals; may be repeated. Without it, IAM is
    /// assumed to allow them everything.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "principal")]
    iam: Vec<PathBuf>,
    /// The permissions boundary of the principals.
    #[arg(long, value_name = "FILE", requires = "principal")]
    boundary: Option<PathBuf>,
    /// The account that owns the key. Without it: the one the policy delegates
    /// to, or that of its first principal.
    #[arg(long, value_name = "12 DIGITS")]
    account: Option<String>,
    /// The key's ARN, when the policies name keys.
    #[arg(long, value_name = "ARN")]
    key: Option<String>,
    /// Print JSON. A finding's `witness` is a request for `policy explain`.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// A key policy, or what `aws kms get-key-policy` answers; `-` for standard input.
    file: PathBuf,
    /// The request, as `policy check --json` prints its witnesses.
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Exit status when something could not be read or decided.
pub(crate) const UNREADABLE: u8 = 2;

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Check(args) => check(&args),
        Verb::Explain(args) => explain(&args),
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).context("reading standard input");
    }
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

/// A policy, bare or inside the answer of `GetKeyPolicy`.
fn read_policy(file: &Path, kind: PolicyKind) -> anyhow::Result<Arc<Policy>> {
    let text = read(file)?;
    let wrapped = serde_json::from_str::<Value>(&text).ok().and_then(|json| {
        let inner = json.get("Policy").or_else(|| json.get("policy"))?;
        Some(match inner {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    });
    Policy::parse(wrapped.as_ref().unwrap_or(&text), kind)
        .map(Arc::new)
        .with_context(|| format!("{} is not a policy", file.display()))
}

#[allow(clippy::print_stdout)] // the answer is this verb's output
fn check(args: &Check) -> anyhow::Result<ExitCode> {
    let iam: Vec<_> = args
        .iam
        .iter()
        .map(|file| read_policy(file, PolicyKind::Identity))
        .collect::<anyhow::Result<_>>()?;
    let boundary = args.boundary.as_deref();
    let claim = Claim {
        principals: args.principal.clone(),
        identity_policies: (!iam.is_empty()).then_some(iam),
        boundary: boundary
            .map(|file| read_policy(file, PolicyKind::Identity))
            .transpose()?,
        expected_pcr0: args.pcr0.clone(),
        account: args.account.clone(),
        key_arn: args.key.clone(),
        now: SystemClock.now(),
        ..Claim::about(read_policy(&args.file, PolicyKind::Key)?)
    };
    let proof = prove(&claim)?;
    if args.json {
        println!("{:#}", proof.to_json());
    } else {
        print!("{}", in_words(&proof, &claim));
    }
    Ok(match proof.verdict() {
        Verdict::Closed => ExitCode::SUCCESS,
        Verdict::Open => ExitCode::from(1),
        Verdict::Undecided => ExitCode::from(UNREADABLE),
    })
}

fn in_words(proof: &Proof, claim: &Claim) -> String {
    let mut out = Vec::new();
    let who = if claim.principals.is_empty() {
        "anybody".to_owned()
    } else {
        claim.principals.join(", ")
    };
    let paths = proof.findings.iter().filter(|f| f.kind.is_path()).count();
    out.push(match proof.verdict() {
        Verdict::Closed => format!("closed: no path to the key round the enclave for {who}"),
        Verdict::Open => format!("OPEN: {paths} path(s) to the key round the enclave for {who}"),
        Verdict::Undecided => {
            format!("undecided: no path was found for {who}, but not everything could be checked")
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
    for finding in &proof.findings {
        out.push(finding_in_words(finding));
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
    out.push(String::new());
    out.join("\n")
}

fn named(statement: usize, sid: Option<&str>) -> String {
    match sid {
        Some(sid) => format!("{statement}, \"{sid}\""),
        None => statement.to_string(),
    }
}

fn finding_in_words(finding: &Finding) -> String {
    let statement = finding.statement.as_ref().map_or_else(
        || "no statement".to_owned(),
        |(number, sid)| format!("statement {}", named(*number, sid.as_deref())),
    );
    let head = if finding.kind.is_path() {
        "PATH"
    } else {
        "note"
    };
    let mut out = format!(
        "\n{head} {} {} by {statement}\n  {}\n  witness: {}",
        finding.kind_name(),
        finding.action(),
        finding.reason,
        request_in_words(finding.witness())
    );
    for step in finding.steps.iter().skip(1) {
        out.push_str(&format!("\n  then:    {}", request_in_words(&step.call)));
    }
    out
}

fn request_in_words(question: &Question) -> String {
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

#[allow(clippy::print_stdout)] // the answer is this verb's output
fn explain(args: &Explain) -> anyhow::Result<ExitCode> {
    let policy = read_policy(&args.file, PolicyKind::Key)?;
    let question: Question = serde_json::from_str(&read(&args.request)?)
        .map_err(|error| anyhow!("{} is not a request: {error}", args.request.display()))?;
    let decision = question.decide(&policy, &[]);
    let json = decision.to_json();
    if args.json {
        println!("{json:#}");
    } else {
        println!("{}", trace_in_words(&question, &json));
    }
    Ok(ExitCode::from(u8::from(!decision.is_allowed())))
}

fn trace_in_words(question: &Question, trace: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let answer = if trace["allowed"] == true {
        "allowed"
    } else {
        "DENIED"
    };
    let mut out = vec![
        request_in_words(question),
        format!("{answer}: {}", text(&trace["because"])),
    ];
    for remark in list(&trace["remarks"]) {
        out.push(format!("  note: {}", text(&remark)));
    }
    for policy in list(&trace["policies"]) {
        out.push(text(&policy["source"]));
        for statement in list(&policy["statements"]) {
            let number = statement["statement"].as_u64().unwrap_or_default();
            let sid = statement["sid"]
                .as_str()
                .map_or(String::new(), |sid| format!(" \"{sid}\""));
            out.push(format!(
                "  {number}{sid} {}: {}",
                text(&statement["effect"]),
                text(&statement["verdict"])
            ));
            for condition in list(&statement["conditions"]) {
                let mark = if condition["satisfied"] == true {
                    "+"
                } else {
                    "-"
                };
                out.push(format!(
                    "    {mark} {} {}: {}\n        expected  {}\n        presented {}",
                    text(&condition["operator"]),
                    text(&condition["key"]),
                    text(&condition["because"]),
                    condition["expected"],
                    condition["presented"]
                ));
            }
        }
    }
    out.join("\n")
}
