//! Which jobs were run: a signed order is run once in its lifetime.
//!
//! A parent that lost an answer sends its job again and gets the very same sealed bytes,
//! as long as they are kept (the last [`ANSWERS_KEPT`]); what is older is refused as
//! ended. A job of the same name with another manifest or another wrapped key is
//! refused. What ended for reasons that may pass (KMS out of reach, a deadline, a parent
//! that hung up) was not run. The memory is bounded and lasts as long as the enclave:
//! where there is no room for one more unexpired job, none is begun.
//!
//! Source of truth: ours; ground truth KMS §6 for replays. Does not model a memory that
//! outlives the enclave: it has no storage of its own that its parent could not reset.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    enclave::answer::Answer,
    job::{
        Manifest, Refusal,
        refusal::{RepeatFault, RetryAfter},
    },
};

/// Answers that are kept whole; each has some ten thousand bytes.
pub const ANSWERS_KEPT: usize = 1024;

/// The memory of one enclave.
#[derive(Debug)]
pub struct Memory {
    jobs_max: usize,
    jobs: Mutex<Jobs>,
}

#[derive(Debug, Default)]
struct Jobs {
    known: BTreeMap<String, Known>,
    /// Those with an answer, the oldest first.
    answered: VecDeque<String>,
}

#[derive(Debug)]
struct Known {
    order_sha256: [u8; 32],
    expires_at_ms: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Running,
    Answered(Box<Answer>),
    Ended,
}

/// What to do with an order.
#[allow(missing_debug_implementations)] // holds the memory
pub enum Begun {
    /// Run it.
    New(Ticket),
    /// It was run, and this came of it.
    Again(Box<Answer>),
}

/// A job that is being run; forgotten if it is dropped without an answer.
#[allow(missing_debug_implementations)] // holds the memory
pub struct Ticket {
    memory: Arc<Memory>,
    job: String,
}

impl Memory {
    /// A memory for so many jobs.
    #[must_use]
    pub fn new(jobs_max: usize) -> Arc<Self> {
        Arc::new(Self {
            jobs_max,
            jobs: Mutex::default(),
        })
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the job of a verified manifest, or says what came of it.
    ///
    /// # Errors
    /// [`Refusal::Repeated`], and [`Refusal::Busy`] where there is no room.
    pub fn begin(
        self: &Arc<Self>,
        manifest: &Manifest,
        order_sha256: [u8; 32],
        now_ms: u64,
    ) -> Result<Begun, Refusal> {
        let mut jobs = self.jobs();
        if let Some(known) = jobs.known.get(&manifest.job) {
            if known.order_sha256 != order_sha256 {
                return Err(Refusal::Repeated(RepeatFault::OtherOrder));
            }
            return match &known.state {
                State::Running => Err(Refusal::Repeated(RepeatFault::Running)),
                State::Answered(answer) => Ok(Begun::Again(answer.clone())),
                State::Ended => Err(Refusal::Repeated(RepeatFault::Ended)),
            };
        }
        if jobs.known.len() >= self.jobs_max {
            // Expired orders are refused before they come here.
            jobs.known.retain(|_, known| {
                known.expires_at_ms > now_ms || matches!(known.state, State::Running)
            });
            if jobs.known.len() >= self.jobs_max {
                return Err(Refusal::Busy(RetryAfter::ThirtySeconds));
            }
        }
        let known = Known {
            order_sha256,
            expires_at_ms: manifest.expires_at_ms,
            state: State::Running,
        };
        jobs.known.insert(manifest.job.clone(), known);
        Ok(Begun::New(Ticket {
            memory: Arc::clone(self),
            job: manifest.job.clone(),
        }))
    }
}

impl Ticket {
    /// The job was run, and this came of it.
    pub fn answered(self, answer: Answer) {
        let mut jobs = self.memory.jobs();
        if let Some(known) = jobs.known.get_mut(&self.job) {
            known.state = State::Answered(Box::new(answer));
        }
        jobs.answered.push_back(self.job.clone());
        if jobs.answered.len() > ANSWERS_KEPT
            && let Some(oldest) = jobs.answered.pop_front()
            && let Some(known) = jobs.known.get_mut(&oldest)
        {
            known.state = State::Ended;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut jobs = self.memory.jobs();
        let running = |known: &Known| matches!(known.state, State::Running);
        if jobs.known.get(&self.job).is_some_and(running) {
            jobs.known.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(job: &str) -> Manifest {
        Manifest {
            job: job.into(),
            bucket: "b".into(),
            key: "k".into(),
            ciphertext_sha256: [0; 32],
            study: "1".into(),
            issued_at_ms: 0,
            expires_at_ms: 100,
        }
    }

    fn ticket(begun: Result<Begun, Refusal>) -> Ticket {
        match begun {
            Ok(Begun::New(ticket)) => ticket,
            Ok(Begun::Again(_)) => panic!("it was run before"),
            Err(refusal) => panic!("{refusal}"),
        }
    }

    /// An answer that is told from others by its word.
    fn answer(after: RetryAfter) -> Answer {
        Answer::Refused(Refusal::Busy(after), None)
    }

    #[test]
    fn an_order_is_run_once_and_answered_again() {
        let memory = Memory::new(10);
        let begin = |order| memory.begin(&manifest("j"), [order; 32], 0);
        let running = ticket(begin(1));
        assert!(matches!(
            begin(1),
            Err(Refusal::Repeated(RepeatFault::Running))
        ));
        running.answered(answer(RetryAfter::FiveSeconds));
        for _ in 0..2 {
            let Ok(Begun::Again(again)) = begin(1) else {
                panic!("not answered again");
            };
            let five = Refusal::Busy(RetryAfter::FiveSeconds);
            assert!(matches!(*again, Answer::Refused(said, None) if said == five));
        }
        assert!(matches!(
            begin(2),
            Err(Refusal::Repeated(RepeatFault::OtherOrder))
        ));
    }

    #[test]
    fn what_was_not_run_to_its_end_may_be_run_again() {
        let memory = Memory::new(10);
        drop(ticket(memory.begin(&manifest("j"), [1; 32], 0)));
        drop(ticket(memory.begin(&manifest("j"), [2; 32], 0)));
    }

    #[test]
    fn where_no_room_is_left_none_is_begun_until_others_expire() {
        let memory = Memory::new(2);
        let one = ticket(memory.begin(&manifest("1"), [1; 32], 0));
        ticket(memory.begin(&manifest("2"), [1; 32], 0)).answered(answer(RetryAfter::OneSecond));
        let third = |now_ms| memory.begin(&manifest("3"), [1; 32], now_ms);
        assert!(matches!(third(99), Err(Refusal::Busy(_))));
        drop(ticket(third(100)));
        drop(one);
    }

    #[test]
    fn old_answers_go_and_their_jobs_stay_known() {
        let memory = Memory::new(ANSWERS_KEPT + 1);
        for number in 0..=ANSWERS_KEPT {
            ticket(memory.begin(&manifest(&number.to_string()), [1; 32], 0))
                .answered(answer(RetryAfter::OneSecond));
        }
        let begin = |job: usize| memory.begin(&manifest(&job.to_string()), [1; 32], 0);
        assert!(matches!(
            begin(0),
            Err(Refusal::Repeated(RepeatFault::Ended))
        ));
        assert!(matches!(begin(1), Ok(Begun::Again(_))));
    }
}
