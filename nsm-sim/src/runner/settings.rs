//! A program and the conditions it runs in, and what those conditions are in
//! words.
//!
//! Models what a run can be told; [`super::run()`] does it. Source of truth for an
//! enclave's conditions: the runner's ground truth §2 and §5.

use std::{ffi::OsString, path::PathBuf};

use super::{
    bridge::{Forward, Publish},
    loopback::OwnLoopback,
    memory::{self, MemoryExceeded},
    nsmdev::NsmDevice,
    paths,
    root::ImageRoot,
    switchboard::{ENCLAVE_CID, PARENT_CID, World},
};

/// What network the program has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// An enclave has [`Self::Own`] where that takes nothing away from its
    /// programs and [`Self::Loopback`], said aloud, elsewhere; a parent instance
    /// has [`Self::Host`].
    #[default]
    Auto,
    /// None but a loopback of the run's own, as in an enclave.
    Own,
    /// None but loopback, and that the machine's.
    Loopback,
    /// The machine's.
    Host,
}

/// A program and the conditions it runs in.
pub struct Settings {
    /// Which world its sockets live in.
    pub world: World,
    /// Its CID. CIDs up to 3 are parent instances: no NSM, and the machine's
    /// network unless told otherwise.
    pub cid: u32,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// The whole environment; `None` passes ours on.
    pub environment: Option<Vec<(OsString, OsString)>>,
    /// The root file system it sees; `None` for ours.
    pub root: Option<ImageRoot>,
    /// Working directory, in the root it sees; `None` stays in ours.
    pub directory: Option<PathBuf>,
    /// The NSM behind `/dev/nsm`; `None` for a machine without one.
    pub device: Option<Box<dyn NsmDevice>>,
    /// Whether AF_VSOCK is emulated.
    pub vsock: bool,
    /// Whether `stat`, `access` and kin see the device nodes (7 µs a call).
    pub trap_stat: bool,
    /// What network it has.
    pub network: Network,
    /// How many CPUs it may use; `None` for all.
    pub cpu_count: Option<u32>,
    /// Most memory its processes may hold together, in MiB; `None` for no limit.
    pub memory_mib: Option<u64>,
    /// Whether to report what works here and may fail on hardware.
    pub lint: bool,
    /// Whether signals wait while a call is being answered, where the kernel can
    /// do that (5.19). Off to rehearse an older kernel.
    pub wait_killable: bool,
    /// Servers of the machine that appear in the world.
    pub publish: Vec<Publish>,
    /// Sockets of the machine that lead into the world.
    pub forward: Vec<Forward>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("world", &self.world)
            .field("cid", &self.cid)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// `command` in the default world at CID 16, with no NSM yet.
    #[must_use]
    pub fn new(command: Vec<OsString>) -> Self {
        Self {
            world: World::default(),
            cid: ENCLAVE_CID,
            command,
            environment: None,
            root: None,
            directory: None,
            device: None,
            vsock: true,
            trap_stat: true,
            network: Network::Auto,
            cpu_count: None,
            memory_mib: None,
            lint: false,
            wait_killable: true,
            publish: Vec::new(),
            forward: Vec::new(),
        }
    }

    pub(super) fn is_enclave(&self) -> bool {
        self.cid > PARENT_CID
    }

    /// The loopback to try for, if any.
    pub(super) fn own_loopback(&self) -> Option<OwnLoopback> {
        match self.network {
            Network::Auto => self.is_enclave().then(OwnLoopback::free_of_charge),
            Network::Own => Some(OwnLoopback::demanded()),
            Network::Loopback | Network::Host => None,
        }
    }

    /// What the program's network is, found out by trying.
    fn network_condition(&self) -> String {
        let own = self.own_loopback();
        // An image's root may come with a user namespace, in which this is easy.
        let tried = own.map(|own| match &self.root {
            Some(root) => root.rehearse_with(&own),
            None => own.rehearse(),
        });
        match (tried, self.network) {
            (Some(Ok(())), _) => "network: a loopback of its own; elsewhere is ENETUNREACH and \
                                  the machine's 127.0.0.1 is not there"
                .to_owned(),
            (Some(Err(error)), Network::Auto) => format!(
                "network: loopback only, and that the machine's own ({error}); elsewhere is \
                 ENETUNREACH"
            ),
            (Some(Err(error)), _) => format!("network: none, the run will not start ({error})"),
            (None, Network::Loopback) => "network: loopback only, and that the machine's own, as \
                                          asked; elsewhere is ENETUNREACH"
                .to_owned(),
            (None, _) => "network: the machine's".to_owned(),
        }
    }

    /// The conditions of this run, one a line, as its program meets them. What
    /// only the kernel knows is tried in a process of its own.
    #[must_use]
    pub fn conditions(&self) -> Vec<String> {
        let mut lines = vec![format!("world {}, CID {}", self.world, self.cid)];
        lines.push(match &self.root {
            Some(_) => "root: the image's, with /tmp fresh and /proc, /sys and device nodes the \
                        machine's"
                .to_owned(),
            None => "root: the machine's".to_owned(),
        });
        lines.push(match (&self.device, paths::has_nsm_placeholder()) {
            (None, _) => "no /dev/nsm".to_owned(),
            (Some(_), true) => "/dev/nsm: the placeholder made of /dev/null".to_owned(),
            (Some(_), false) => "/dev/nsm: opens and stats are trapped".to_owned(),
        });
        lines.push(match self.vsock {
            true => format!(
                "AF_VSOCK: abstract sockets nsmsim/{}/<cid>/<port>, /dev/vsock answers the CID",
                self.world
            ),
            false => "AF_VSOCK: the machine's own, not emulated".to_owned(),
        });
        lines.push(self.network_condition());
        lines.push(
            match self.device.is_some() && !paths::has_nsm_placeholder() {
                true => "hardware random numbers: nsm-hwrng".to_owned(),
                false => "hardware random numbers: the machine's".to_owned(),
            },
        );
        lines.push(match self.cpu_count {
            Some(cpus) => format!("CPUs: {cpus}, by affinity and in /sys/devices/system/cpu"),
            None => "CPUs: the machine's".to_owned(),
        });
        lines.push(match self.memory_mib {
            Some(mib) => format!(
                "memory: {mib} MiB for all processes together, looked at every {} ms (past it, \
                 all end with code {}), shown by sysinfo and /proc/meminfo; no process gets more \
                 for its data (RLIMIT_DATA)",
                memory::LOOK_EVERY.as_millis(),
                MemoryExceeded::EXIT_CODE,
            ),
            None => "memory: the machine's".to_owned(),
        });
        for Publish { at, to } in &self.publish {
            lines.push(format!("bridge: {at} leads to {to}"));
        }
        for Forward { at, to } in &self.forward {
            lines.push(format!("bridge: {at} leads to {to}"));
        }
        if self.lint && self.vsock {
            lines.push(
                "lint: a shutdown both ways of an AF_VSOCK socket with unread bytes is reported"
                    .to_owned(),
            );
        }
        lines.push("io_uring: ENOSYS (it would bypass the emulation)".to_owned());
        lines
            .push("set-user-id programs gain nothing; 32-bit programs are not emulated".to_owned());
        lines.push("the main process's exit ends every process of the run".to_owned());
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conditions_name_what_an_enclave_lacks() {
        let mut settings = Settings::new(vec!["true".into()]);
        let text = settings.conditions().join("\n");
        assert!(text.contains("ENETUNREACH"), "{text}");
        settings.cid = PARENT_CID;
        let text = settings.conditions().join("\n");
        assert!(text.contains("network: the machine's"), "{text}");
    }
}
