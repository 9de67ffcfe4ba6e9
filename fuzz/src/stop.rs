//! Ending early and cleanly: at Ctrl-C, or when whoever started this process ends.

use std::{
    io::{Read as _, stdin},
    process::exit,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// How a shell tells a process that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;

static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether to end after the input in progress.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Lets the first Ctrl-C ask for the end and the second one be it.
pub(crate) fn at_interrupt() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("waiting for Ctrl-C")?;
    // From here on, not from when the thread gets to run.
    let mut interrupts = {
        let _within = runtime.enter();
        signal(SignalKind::interrupt()).context("waiting for Ctrl-C")?
    };
    thread::spawn(move || {
        runtime.block_on(async {
            if interrupts.recv().await.is_some() {
                ASKED.store(true, Ordering::Relaxed);
            }
            if interrupts.recv().await.is_some() {
                exit(INTERRUPTED.into());
            }
        });
    });
    Ok(())
}

/// Lets the end of standard input ask for the end: a pipe from a process that
/// wants this one to go, or that is gone itself.
pub(crate) fn with_standard_input() {
    thread::spawn(|| {
        let mut byte = [0];
        while matches!(stdin().read(&mut byte), Ok(1)) {}
        ASKED.store(true, Ordering::Relaxed);
    });
}
