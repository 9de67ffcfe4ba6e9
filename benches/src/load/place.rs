//! Which processor works for whom while latency is measured.
//!
//! With one request on its way at a time, what is measured is mostly how one
//! process wakes the other; and that takes half as long again when the scheduler
//! has put both on one processor, where it leaves them for as long as it likes.
//! So generator and server get a processor each, the same ones for every server.
//!
//! Source of truth: sched_setaffinity(2), which binds threads, not processes.

use std::{fs, io};

use rustix::{
    io::Errno,
    thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity},
};

/// The processors that this process may use.
#[derive(Debug)]
pub(super) struct Places {
    all: CpuSet,
    generator: CpuSet,
    server: CpuSet,
}

impl Places {
    /// `None` if there are fewer than two.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn find() -> io::Result<Option<Self>> {
        let all = sched_getaffinity(None)?;
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
        let (Some(first), Some(second)) = (cpus.next(), cpus.next()) else {
            return Ok(None);
        };
        Ok(Some(Self {
            all,
            generator: only(first),
            server: only(second),
        }))
    }

    /// Binds the generator, which is the calling thread, and the process `servers`.
    ///
    /// # Errors
    /// What the system says, but for a thread that has ended.
    pub(super) fn take(&self, servers: &[u32]) -> io::Result<()> {
        sched_setaffinity(None, &self.generator)?;
        servers.iter().try_for_each(|id| bind(*id, &self.server))
    }

    /// Lets all of them run where the scheduler likes.
    ///
    /// # Errors
    /// As [`Places::take`].
    pub(super) fn leave(&self, servers: &[u32]) -> io::Result<()> {
        sched_setaffinity(None, &self.all)?;
        servers.iter().try_for_each(|id| bind(*id, &self.all))
    }
}

fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu);
    set
}

fn bind(process: u32, to: &CpuSet) -> io::Result<()> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let name = thread?.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        let Some(id) = id.and_then(Pid::from_raw) else {
            continue;
        };
        match sched_setaffinity(Some(id), to) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_and_server_are_put_on_processors_of_their_own_and_let_go_again() {
        // A thread of its own, since it is this thread that is bound.
        let bound = std::thread::spawn(|| {
            let Some(places) = Places::find().unwrap() else {
                println!("skipped: there is one processor only");
                return;
            };
            places.take(&[]).unwrap();
            let taken = sched_getaffinity(None).unwrap();
            assert_eq!(taken.count(), 1);
            assert_ne!(taken, places.server);
            places.leave(&[]).unwrap();
            assert_eq!(sched_getaffinity(None).unwrap(), places.all);
        });
        bound.join().unwrap();
    }
}
