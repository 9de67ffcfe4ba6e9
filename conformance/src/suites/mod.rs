//! The suites: which there are, what each fits, and how one is run.

mod attestation;
mod flow;
mod hostile;
mod nsm;
mod plan;
mod recipient;

use std::pin::Pin;

use anyhow::{anyhow, bail};
pub use plan::Plan;

use crate::{
    case::{Judge, Judged},
    target::{Device, InProcess, NsmTarget, Runner, Target},
};

/// A suite of cases: what it is about, and the function that judges it.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// How it is called.
    pub name: &'static str,
    /// What it judges.
    pub about: &'static str,
    cases: Cases,
}

/// The function of a suite, by what it judges.
#[derive(Clone, Copy, Debug)]
enum Cases {
    /// The NSM of one target: judged on each target that has one.
    Nsm(for<'a> fn(&'a mut Judge<'_>, &'a dyn NsmTarget) -> Work<'a, ()>),
    /// A world that the suite sets up by itself, of simulators only.
    World(for<'a> fn(&'a Plan<'a>) -> Work<'a, Vec<Judged>>),
}

type Work<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Requests and answers of the NSM.
pub const NSM: Suite = Suite {
    name: "nsm",
    about: "requests, registers, locks and errors of the NSM",
    cases: Cases::Nsm(|judge, target| Box::pin(nsm::judge(judge, target))),
};

/// What the NSM signs.
pub const ATTESTATION: Suite = Suite {
    name: "attestation",
    about: "attestation documents and their chain",
    cases: Cases::Nsm(|judge, target| Box::pin(attestation::judge(judge, target))),
};

/// KMS calls of an enclave.
pub const RECIPIENT: Suite = Suite {
    name: "recipient",
    about: "KMS calls with a Recipient: checks, answers, refusals",
    cases: Cases::World(|plan| Box::pin(recipient::run(plan))),
};

/// The main job.
pub const FLOW: Suite = Suite {
    name: "flow",
    about: "the main job and everything it must refuse",
    cases: Cases::World(|plan| Box::pin(flow::run(plan))),
};

/// The main job among enemies.
pub const HOSTILE: Suite = Suite {
    name: "hostile",
    about: "a KMS that answers wrongly and a parent that helps it",
    cases: Cases::World(|plan| Box::pin(hostile::run(plan))),
};

/// All suites, in the order they run.
pub const ALL: [Suite; 5] = [NSM, ATTESTATION, RECIPIENT, FLOW, HOSTILE];

impl Suite {
    /// Whether `target` can be judged by it.
    #[must_use]
    pub fn fits(&self, target: Target) -> bool {
        match (self.cases, target) {
            (Cases::Nsm(_), _) | (Cases::World(_), Target::Sim) => true,
            (Cases::World(_), Target::Device) => false,
        }
    }

    /// Judges the cases of `plan`. A suite of which no case ran has failed, unless
    /// the plan's filter left them all out.
    pub async fn run(&self, plan: &Plan<'_>) -> Vec<Judged> {
        let judged = match self.cases {
            Cases::Nsm(judge) => on_nsm_targets(self.name, plan, judge).await,
            Cases::World(run) => run(plan).await,
        };
        if judged.is_empty() && plan.filter.is_none() {
            let mut judge = Judge::new(self.name, "none", None, plan.on_case);
            judge.fail_all(&anyhow!("no case ran"));
            return judge.finish();
        }
        judged
    }
}

/// The suites called `names`, or all that fit `target` if none is named.
///
/// # Errors
/// If a name is unknown or a named suite does not fit.
pub fn choose(names: &[String], target: Target) -> anyhow::Result<Vec<Suite>> {
    if names.is_empty() {
        let fitting = ALL.into_iter().filter(|suite| suite.fits(target));
        return Ok(fitting.collect());
    }
    names
        .iter()
        .map(|name| match ALL.iter().find(|suite| suite.name == name) {
            Some(suite) if suite.fits(target) => Ok(*suite),
            Some(_) => bail!("the suite {name} cannot be judged on a device"),
            None => bail!("`{name}` is not a suite; `drydock conformance --list` names them"),
        })
        .collect()
}

async fn on_nsm_targets(
    suite: &'static str,
    plan: &Plan<'_>,
    judge: for<'a> fn(&'a mut Judge<'_>, &'a dyn NsmTarget) -> Work<'a, ()>,
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::case::Outcome;

    #[tokio::test]
    async fn a_suite_of_which_no_case_ran_has_failed_unless_a_filter_left_them_out() {
        let empty = Suite {
            name: "empty",
            about: "nothing",
            cases: Cases::World(|_| Box::pin(async { Vec::new() })),
        };
        let plan = |filter| Plan {
            target: Target::Sim,
            drydock: PathBuf::new(),
            filter,
            on_case: &|_| {},
        };
        let judged = empty.run(&plan(None)).await;
        assert_eq!(judged.len(), 1);
        assert_eq!(judged[0].outcome, Outcome::Failed("no case ran".into()));
        assert!(empty.run(&plan(Some("a word"))).await.is_empty());
    }

    #[test]
    fn suites_are_chosen_by_name_and_by_what_fits() {
        let names = |chosen: Vec<Suite>| chosen.iter().map(|suite| suite.name).collect::<Vec<_>>();
        let all = names(choose(&[], Target::Sim).unwrap());
        assert_eq!(all, ["nsm", "attestation", "recipient", "flow", "hostile"]);
        let on_device = names(choose(&[], Target::Device).unwrap());
        assert_eq!(on_device, ["nsm", "attestation"]);
        let said = |name: &str, target| choose(&[name.into()], target).unwrap_err().to_string();
        assert!(said("flow", Target::Device).contains("cannot be judged on a device"));
        assert!(said("flaw", Target::Sim).contains("`flaw` is not a suite"));
    }
}
