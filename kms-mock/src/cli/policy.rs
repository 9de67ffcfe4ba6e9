//! `kms-mock policy check` and `kms-mock policy explain`: key policies looked at
//! without a server.
//!
//! Exit status of `check`: 0 closed, 1 open, 3 undecided, 4 closed, and the enclave of
//! an image that was asked for cannot do what it is meant to, 2 something could not be
//! read. Of `explain`: 0 allowed, 1 denied, 2 unreadable.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, anyhow};
use kms_mock::{
    mock::replay::Checked,
    policy::{
        Policy, PolicyKind, Question,
        prove::{Claim, Verdict},
    },
};
use nsm_sim::{
    clock::{Clock, SystemClock},
    eif::Eif,
};
use serde_json::Value;

use super::verdict::{in_words, request_in_words, to_json, to_sarif};

/// Options of `kms-mock policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Decide whether there is a way to the key round the enclave.
    ///
    /// The question: may anybody (a root user, a user or role with or without a path, a
    /// session, a federated user, of any account, named in the policy or not; with
    /// --principal: those, and whom they give grants to), by any sequence of calls
    /// (grants and grants of grants, a new key policy, a replica, imported material,
    /// moved aliases; with --iam also changes of their own IAM policies), from outside
    /// of an enclave of the expected images reach the plaintext of what was encrypted
    /// before, the plaintext of what will be, control of what the enclave decrypts, or
    /// what the key vouches for? What only ends the key is a note.
    ///
    /// Answers: `open`, with calls that a KMS in this process has answered; `closed`,
    /// with what that stands on; `undecided`, with what could not be decided. IAM is
    /// taken to allow everything, unless --iam says what it allows.
    ///
    /// Exits with 0 when closed, 1 when open, 3 when undecided, 4 when closed and an
    /// enclave of --pcr0 or --eif cannot do what it is meant to, 2 when something could
    /// not be read.
    #[command(verbatim_doc_comment)]
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
    /// The PCR0 of the image that is wanted; may be repeated, as while an old image and
    /// a new one both run. Without it: every PCR0 that the policy names.
    #[arg(long, value_name = "HEX")]
    pcr0: Vec<String>,
    /// An enclave image that is wanted, by its file; may be repeated.
    #[arg(long, value_name = "FILE")]
    eif: Vec<PathBuf>,
    /// An IAM policy of the principals; may be repeated. Without it, IAM is
    /// assumed to allow them everything.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "principal")]
    iam: Vec<PathBuf>,
    /// The permissions boundary of the principals.
    #[arg(long, value_name = "FILE", requires = "principal")]
    boundary: Option<PathBuf>,
    /// The account that owns the key. Without it: every account that the policy can
    /// tell apart, one after the other.
    #[arg(long, value_name = "12 DIGITS")]
    account: Option<String>,
    /// The key's ARN, when the policies name keys.
    #[arg(long, value_name = "ARN")]
    key: Option<String>,
    /// The key's spec, such as SYMMETRIC_DEFAULT. Without it: any.
    #[arg(long, value_name = "SPEC")]
    key_spec: Option<String>,
    /// Print JSON. A finding's `witness` is a request for `policy explain`.
    #[arg(long, conflicts_with = "sarif")]
    json: bool,
    /// Print SARIF 2.1.0, with the line of each statement.
    #[arg(long)]
    sarif: bool,
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

/// Exit status when something could not be read.
pub(crate) const UNREADABLE: u8 = 2;
const OPEN: u8 = 1;
const UNDECIDED: u8 = 3;
const ENCLAVE_CANNOT: u8 = 4;

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
    parse_policy(&read(file)?, file, kind)
}

fn parse_policy(text: &str, file: &Path, kind: PolicyKind) -> anyhow::Result<Arc<Policy>> {
    let wrapped = serde_json::from_str::<Value>(text).ok().and_then(|json| {
        let inner = json.get("Policy").or_else(|| json.get("policy"))?;
        Some(match inner {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    });
    Policy::parse(wrapped.as_deref().unwrap_or(text), kind)
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
    let mut expected_pcr0 = args.pcr0.clone();
    for file in &args.eif {
        let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        let eif = Eif::read(&bytes).with_context(|| format!("{} is no image", file.display()))?;
        expected_pcr0.push(hex::encode(eif.measurements().pcr0));
    }
    let is_expected = !expected_pcr0.is_empty();
    let text = read(&args.file)?;
    let claim = Claim {
        principals: args.principal.clone(),
        identity_policies: (!iam.is_empty()).then_some(iam),
        boundary: boundary
            .map(|file| read_policy(file, PolicyKind::Identity))
            .transpose()?,
        expected_pcr0,
        account: args.account.clone(),
        key_arn: args.key.clone(),
        key_spec: args.key_spec.clone(),
        now: SystemClock.now(),
        ..Claim::about(parse_policy(&text, &args.file, PolicyKind::Key)?)
    };
    let checked = Checked::new(&claim)?;
    if args.json {
        println!("{:#}", to_json(&checked));
    } else if args.sarif {
        println!("{:#}", to_sarif(&checked, &args.file, &text));
    } else {
        print!("{}", in_words(&checked, &claim));
    }
    Ok(match checked.verdict() {
        Verdict::Closed if is_expected && !checked.proof.enclaves_work() => {
            ExitCode::from(ENCLAVE_CANNOT)
        }
        Verdict::Closed => ExitCode::SUCCESS,
        Verdict::Open => ExitCode::from(OPEN),
        Verdict::Undecided => ExitCode::from(UNDECIDED),
    })
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
