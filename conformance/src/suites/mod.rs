//! The suites: which there are, what each fits, and how one is run.

mod attestation;
mod flow;
mod hostile;
mod nsm;
mod recipient;

use std::path::PathBuf;

use anyhow::bail;

use crate::{
    case::{Judge, Judged, OnCase},
    cli::conformance::Target,
    target::{Device, InProcess, NsmTarget, Runner},
};

/// A suite of cases.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// How it is called.
    pub name: &'static str,
    /// What it judges.
    pub about: &'static str,
    /// Whether it can be judged on a real device too.
    pub on_device: bool,
}

/// All suites, in the order they run.
pub const ALL: &[Suite] = &[
    Suite {
        name: "nsm",
        about: "requests, registers, locks and errors of the NSM",
        on_device: true,
    },
    Suite {
        name: "attestation",
        about: "attestation documents and their chain",
        on_device: true,
    },
    Suite {
        name: "recipient",
        about: "KMS calls with a Recipient: checks, answers, refusals",
        on_device: false,
    },
    Suite {
        name: "flow",
        about: "the main job and everything it must refuse",
        on_device: false,
    },
    Suite {
        name: "hostile",
        about: "a KMS that answers wrongly and a parent that helps it",
        on_device: false,
    },
];

/// How suites are run.
#[allow(missing_debug_implementations)] // holds a callback
pub struct Plan<'a> {
    /// What is judged.
    pub target: Target,
    /// The program that plays the client inside an enclave.
    pub drydock: PathBuf,
    /// Only cases whose name holds this.
    pub filter: Option<&'a str>,
    /// Sees every case as it ends.
    pub on_case: OnCase<'a>,
}

/// The suites called `names`, or all that fit `target` if none is named.
///
/// # Errors
/// If a name is unknown or a named suite does not fit.
pub fn choose(names: &[String], target: Target) -> anyhow::Result<Vec<&'static Suite>> {
    let fits = |suite: &Suite| target == Target::Sim || suite.on_device;
    if names.is_empty() {
        return Ok(ALL.iter().filter(|suite| fits(suite)).collect());
    }
    names
        .iter()
        .map(|name| match ALL.iter().find(|suite| suite.name == name) {
            Some(suite) if fits(suite) => Ok(suite),
            Some(_) => bail!("the suite {name} cannot be judged on a device"),
            None => bail!("there is no suite {name}; `drydock conformance --list` names them"),
        })
        .collect()
}

/// Runs the suite `name`.
pub async fn run(name: &str, plan: &Plan<'_>) -> Vec<Judged> {
    match name {
        "nsm" => on_nsm_targets("nsm", plan, nsm::judge).await,
        "attestation" => on_nsm_targets("attestation", plan, attestation::judge).await,
        "recipient" => recipient::run(plan).await,
        "flow" => flow::run(plan).await,
        "hostile" => hostile::run(plan).await,
        _ => Vec::new(),
    }
}

async fn on_nsm_targets(
    suite: &'static str,
    plan: &Plan<'_>,
    judge: impl AsyncFn(&mut Judge<'_>, &dyn NsmTarget),
) -> Vec<Judged> {
    let targets: anyhow::Result<Vec<Box<dyn NsmTarget>>> = match plan.target {
        Target::Sim => Runner::new(plan.drydock.clone()).map(|runner| {
            let targets: Vec<Box<dyn NsmTarget>> =
                vec![Box::new(InProcess::new()), Box::new(runner)];
            targets
        }),
        Target::Device => Ok(vec![Box::new(Device::new(plan.drydock.clone()))]),
    };
    let targets = match targets {
        Ok(targets) => targets,
        Err(error) => {
            let mut judge = Judge::new(suite, "none", plan.filter, plan.on_case);
            judge.fail_all(&error);
            return judge.finish();
        }
    };
    let mut judged = Vec::new();
    for target in targets {
        let mut judging = Judge::new(suite, target.name(), plan.filter, plan.on_case);
        judge(&mut judging, target.as_ref()).await;
        judged.extend(judging.finish());
    }
    judged
}
