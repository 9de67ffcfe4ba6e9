//! Faults: what a cloud does on a bad day, and what a hostile one would answer.
//!
//! Source of truth: ground truth KMS §4 (AWS's texts and statuses of throttling
//! and of 5xx), §6 (the attacks); AWS KMS developer guide, "Eventual
//! consistency" of grants. A fault meets calls of some operations and principals,
//! always, for the next few, or with a probability that a seed makes repeat.
//! Whatever it does stands in the call's audit record and in the mock-only
//! header, so that nobody looks for a bug that was injected.
//!
//! Does not model faults of S3, STS and IAM, nor packet loss below TCP.

mod der;
mod fault;
mod hostile;
mod spec;

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nsm_sim::seed::WorldSeed;
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use self::fault::Trigger;
pub use self::{
    fault::{Fault, Kind, Latency},
    hostile::{ATTACKERS_KEY, Hostile},
    spec::SpecError,
};
pub(crate) use self::{
    fault::{Injected, Occasion},
    hostile::AnswerForger,
    spec::parse_time,
};

/// Faults at once: more are a mistake of a script.
pub const FAULTS_MAX: usize = 256;

/// What an armed fault is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(pub u64);

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fault in the list of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Armed {
    /// For [`Faults::remove`].
    pub id: FaultId,
    /// The fault, its remaining count included.
    pub fault: Fault,
    /// Calls it has met so far.
    pub hits: u64,
}

impl Armed {
    /// As the management port shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "id": self.id.0, "spec": self.fault.to_string(), "hits": self.hits })
    }
}

/// The faults of one server.
#[derive(Debug)]
pub struct Faults {
    /// So that a server without faults asks for no lock.
    armed: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_id: u64,
    list: Vec<Armed>,
    dice: ChaCha20Rng,
    /// The first attested answer of each operation that a replay fault met.
    remembered: Vec<(String, String)>,
}

impl Faults {
    /// None yet; chance by `seed`.
    #[must_use]
    pub fn new(seed: &WorldSeed) -> Self {
        Self {
            armed: AtomicUsize::new(0),
            state: Mutex::new(State {
                last_id: 0,
                list: Vec::new(),
                dice: seed.stream("kms-mock faults"),
                remembered: Vec::new(),
            }),
        }
    }

    /// Arms a fault. The oldest goes when there are [`FAULTS_MAX`] already.
    pub fn add(&self, fault: Fault) -> FaultId {
        let mut state = self.lock();
        state.last_id += 1;
        let id = FaultId(state.last_id);
        if state.list.len() >= FAULTS_MAX {
            state.list.remove(0);
        }
        state.list.push(Armed { id, fault, hits: 0 });
        self.armed.store(state.list.len(), Ordering::SeqCst);
        id
    }

    /// All faults, spent ones included, in the order they were armed.
    #[must_use]
    pub fn list(&self) -> Vec<Armed> {
        self.lock().list.clone()
    }

    /// Whether there was such a fault.
    pub fn remove(&self, id: FaultId) -> bool {
        let mut state = self.lock();
        let before = state.list.len();
        state.list.retain(|armed| armed.id != id);
        self.armed.store(state.list.len(), Ordering::SeqCst);
        before != state.list.len()
    }

    /// Removes all of them and forgets what they have seen.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.list.clear();
        state.remembered.clear();
        self.armed.store(0, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call has to be looked at at all.
    pub(crate) fn any(&self) -> bool {
        self.armed.load(Ordering::Relaxed) > 0
    }

    /// The faults that meet a call; counts are used up here.
    pub(crate) fn plan(&self, occasion: &Occasion<'_>) -> Planned {
        let mut guard = self.lock();
        let State {
            list,
            dice,
            remembered,
            ..
        } = &mut *guard;
        let mut planned = Planned::default();
        for armed in list {
            if !armed.fault.fits(occasion) {
                continue;
            }
            let replay = armed.fault.kind == Kind::Answer(Hostile::ReplayedCms);
            if replay {
                match remembered.iter().find(|(op, _)| op == occasion.operation) {
                    Some((_, answer)) => planned.earlier = Some(answer.clone()),
                    None => {
                        // Honest, so that there is something to replay.
                        planned.to_remember = true;
                        continue;
                    }
                }
            }
            let met = match &mut armed.fault.trigger {
                Trigger::Always => true,
                Trigger::Next(0) => false,
                Trigger::Next(left) => {
                    *left -= 1;
                    true
                }
                Trigger::Probability(p) => dice.random::<f64>() < *p,
            };
            if met {
                armed.hits += 1;
                let kind = armed.fault.kind.clone();
                if let Kind::Latency(latency) = kind {
                    planned.latency += latency.draw(dice);
                }
                planned.met.push((armed.id, kind));
            }
        }
        planned
    }

    /// Takes back a hostile answer to a call that KMS refused anyway.
    pub(crate) fn give_back(&self, id: FaultId) {
        let mut state = self.lock();
        if let Some(armed) = state.list.iter_mut().find(|armed| armed.id == id) {
            armed.hits = armed.hits.saturating_sub(1);
            if let Trigger::Next(left) = &mut armed.fault.trigger {
                *left += 1;
            }
        }
    }

    /// Keeps an honest answer for a replay.
    pub(crate) fn remember(&self, operation: &str, answer: String) {
        let mut state = self.lock();
        let known = state.remembered.iter().any(|(op, _)| op == operation);
        if !known && state.remembered.len() < FAULTS_MAX {
            state.remembered.push((operation.to_owned(), answer));
        }
    }
}

/// The faults of one call.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    met: Vec<(FaultId, Kind)>,
    /// How long the call waits in all.
    pub(crate) latency: Duration,
    /// The answer to replay.
    earlier: Option<String>,
    to_remember: bool,
}

/// How an answer goes onto the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Not at all.
    Dropped,
    /// So many bytes of its body.
    CutAfter(usize),
}

/// The conditions under which KMS works on a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) clock_ahead_ms: i64,
    pub(crate) grants_hidden: Option<Duration>,
}

impl Planned {
    pub(crate) fn is_empty(&self) -> bool {
        self.met.is_empty() && !self.to_remember
    }

    fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.met.iter().map(|(_, kind)| kind)
    }

    /// The first refusal.
    pub(crate) fn refusal(&self) -> Option<Injected> {
        self.kinds().find_map(Kind::refusal)
    }

    pub(crate) fn wire(&self) -> Option<Wire> {
        self.kinds().find_map(|kind| match kind {
            Kind::Drop => Some(Wire::Dropped),
            Kind::Cut { after_bytes } => Some(Wire::CutAfter(*after_bytes)),
            _ => None,
        })
    }

    pub(crate) fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        for kind in self.kinds() {
            match kind {
                Kind::StaleGrants { younger_than } => {
                    conditions.grants_hidden = Some(*younger_than);
                }
                Kind::ClockSkew { ahead_ms } => {
                    conditions.clock_ahead_ms = conditions.clock_ahead_ms.saturating_add(*ahead_ms);
                }
                _ => {}
            }
        }
        conditions
    }

    /// The first hostile answer, with the answer it replays.
    pub(crate) fn hostile(&self) -> Option<(FaultId, &Hostile, Option<&str>)> {
        self.met.iter().find_map(|(id, kind)| match kind {
            Kind::Answer(hostile) => Some((*id, hostile, self.earlier.as_deref())),
            _ => None,
        })
    }

    pub(crate) fn to_remember(&self) -> bool {
        self.to_remember
    }

    /// A hostile answer did not come to pass.
    pub(crate) fn strike(&mut self, id: FaultId) {
        self.met.retain(|(met, _)| *met != id);
    }

    /// For the audit record.
    pub(crate) fn names(&self) -> Vec<String> {
        self.kinds().map(Kind::to_string).collect()
    }

    /// For the mock-only header.
    pub(crate) fn reason(&self) -> Option<String> {
        let names = self.names();
        (!names.is_empty()).then(|| format!("injected fault: {}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::{fault::LATENCY_MAX, *};

    fn occasion(operation: &'static str, attested: bool) -> Occasion<'static> {
        Occasion {
            operation,
            principal_arn: "arn:aws:sts::123456789012:assumed-role/R/S",
            role_arn: "arn:aws:iam::123456789012:role/R",
            attested,
        }
    }

    fn faults(list: impl IntoIterator<Item = Fault>) -> Faults {
        let faults = Faults::new(&WorldSeed::from_u64(1));
        for fault in list {
            faults.add(fault);
        }
        faults
    }

    fn met(faults: &Faults, operation: &'static str) -> usize {
        faults.plan(&occasion(operation, true)).met.len()
    }

    #[test]
    fn a_fault_meets_its_operation_and_principal_and_its_count_is_used_up() {
        let faults = faults([Fault::new(Kind::Throttle)
            .on("Decrypt")
            .by("arn:aws:iam::123456789012:role/R")
            .next(2)]);
        assert_eq!(met(&faults, "Encrypt"), 0);
        assert_eq!(met(&faults, "Decrypt"), 1);
        assert_eq!(met(&faults, "Decrypt"), 1);
        assert_eq!(met(&faults, "Decrypt"), 0);
        assert_eq!(faults.list()[0].hits, 2);
        assert_eq!(
            faults.list()[0].fault.to_string(),
            "throttle,operation=Decrypt,principal=arn:aws:iam::123456789012:role/R,next=0"
        );
        let other =
            Fault::new(Kind::Throttle).by("arn:aws:sts::123456789012:assumed-role/R/another");
        assert!(!other.fits(&occasion("Decrypt", true)));
    }

    #[test]
    fn chance_repeats_with_the_seed_and_has_the_asked_share() {
        let draw = || {
            let faults = faults([Fault::new(Kind::Internal).with_probability(0.3)]);
            (0..1000)
                .map(|_| met(&faults, "Encrypt"))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
        let hits: usize = draw().iter().sum();
        assert!((250..350).contains(&hits), "{hits} of 1000");
    }

    #[test]
    fn hostile_answers_wait_for_attested_calls_and_replays_for_something_to_replay() {
        let forged = faults([Fault::new(Kind::Answer(Hostile::ForgedCms)).next(1)]);
        assert!(forged.plan(&occasion("Decrypt", false)).is_empty());
        assert!(forged.plan(&occasion("Decrypt", true)).hostile().is_some());

        let replay = faults([Fault::new(Kind::Answer(Hostile::ReplayedCms)).next(1)]);
        let first = replay.plan(&occasion("Decrypt", true));
        assert!(first.to_remember() && first.hostile().is_none());
        replay.remember("Decrypt", "AAAA".to_owned());
        let second = replay.plan(&occasion("Decrypt", true));
        assert_eq!(second.hostile().unwrap().2, Some("AAAA"));
    }

    #[test]
    fn removed_faults_are_gone_and_ids_do_not_come_again() {
        let faults = faults([Fault::new(Kind::Drop), Fault::new(Kind::Throttle)]);
        assert!(faults.remove(FaultId(1)));
        assert!(!faults.remove(FaultId(1)));
        assert_eq!(faults.add(Fault::new(Kind::Internal)), FaultId(3));
        faults.clear();
        assert!(!faults.any());
    }

    #[test]
    fn latencies_stay_within_their_bounds() {
        let mut dice = WorldSeed::from_u64(2).stream("test");
        let ms = Duration::from_millis;
        for _ in 0..1000 {
            let uniform = Latency::Uniform {
                min: ms(20),
                max: ms(30),
            };
            assert!((ms(20)..=ms(30)).contains(&uniform.draw(&mut dice)));
            let tail = Latency::Exponential { mean: ms(10) };
            assert!(tail.draw(&mut dice) <= ms(100));
        }
        assert_eq!(Latency::Fixed(Duration::MAX).draw(&mut dice), LATENCY_MAX);
    }
}
