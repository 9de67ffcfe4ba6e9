//! Runs a target, watches time and memory, keeps what fails.
//!
//! The input in progress is always in a file, so that not even a crash of the
//! process loses it. A second thread ends a run that takes too long and a process
//! that grows too large. A panic counts in whichever thread it happens: a server's
//! own threads catch theirs.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::FileExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    random::Random,
    stop,
    targets::{Target, Verdict},
};

/// How often the watch looks.
const WATCH: Duration = Duration::from_millis(100);

/// What is shown of a panic, which may print whole inputs.
const CAUSE_CHARS_MAX: usize = 2000;

/// What a run may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) input_time: Duration,
    pub(crate) memory_bytes: u64,
}

/// A target's folder and bounds.
#[derive(Debug)]
pub(crate) struct Driver {
    name: &'static str,
    folder: PathBuf,
    bounds: Bounds,
}

impl Driver {
    pub(crate) fn new(name: &'static str, folder: PathBuf, bounds: Bounds) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = fs::canonicalize(folder)?;
        Ok(Self {
            name,
            folder,
            bounds,
        })
    }

    /// Runs until `runs` are done, or `time` is over if no number is given, or the
    /// end is asked for.
    pub(crate) fn fuzz(
        &self,
        target: &mut dyn Target,
        seed: u64,
        from: u64,
        runs: Option<u64>,
        time: Duration,
    ) -> ExitCode {
        let current = self.folder.join(format!("{}.current", self.name));
        let mut scratch = match Scratch::new(&current) {
            Ok(scratch) => scratch,
            Err(error) => {
                eprintln!(
                    "{:<16} cannot write {}: {error}",
                    self.name,
                    current.display()
                );
                return ExitCode::from(2);
            }
        };
        let begin = Instant::now();
        let watch = Watch::start(self, begin, current.clone());
        let elsewhere = Elsewhere::watch(thread::current().id());
        let mut tally = Tally::default();
        let last = runs.map_or(u64::MAX, |runs| from.saturating_add(runs));
        for run in from..last {
            if stop::asked() {
                break;
            }
            let input = target.generate(&mut Random::of_run(seed, run));
            if let Err(error) = scratch.hold(&input) {
                eprintln!(
                    "{:<16} cannot write {}: {error}",
                    self.name,
                    current.display()
                );
                return ExitCode::from(2);
            }
            let at = begin.elapsed();
            if runs.is_none() && at >= time {
                break;
            }
            watch.begins(at);
            let verdict = catch_unwind(AssertUnwindSafe(|| target.run(&input)));
            let took = begin.elapsed().saturating_sub(at);
            watch.rests();
            let verdict = verdict
                .map_err(|cause| message(cause.as_ref()))
                .and_then(|verdict| elsewhere.take().map_or(Ok(verdict), Err));
            match verdict {
                Ok(verdict) => tally.add(verdict, input.len(), took, run),
                Err(cause) => {
                    let shown: String = cause.chars().take(CAUSE_CHARS_MAX).collect();
                    println!("{:<16} run {run} of seed {seed}: {shown}", self.name);
                    self.keep(&input);
                    return ExitCode::FAILURE;
                }
            }
        }
        let _ = fs::remove_file(current);
        let remark = target
            .remark()
            .map_or_else(String::new, |it| format!(", {it}"));
        println!("{}{remark}", tally.line(self.name, begin.elapsed()));
        if stop::asked() {
            return ExitCode::from(stop::INTERRUPTED);
        }
        ExitCode::SUCCESS
    }

    /// Runs one input and lets it fail where it fails.
    pub(crate) fn replay(&self, target: &mut dyn Target, input: &[u8]) -> ExitCode {
        let begin = Instant::now();
        let verdict = target.run(input);
        println!(
            "{:<16} {verdict:?} after {:.3} s, peak memory {} MiB",
            self.name,
            begin.elapsed().as_secs_f64(),
            memory("VmHWM:") >> 20
        );
        ExitCode::SUCCESS
    }

    fn keep(&self, input: &[u8]) {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64; // FNV-1a: a name, no more
        for byte in input {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        let file = self.folder.join(format!("{}-{hash:016x}.input", self.name));
        match File::create(&file).and_then(|mut file| file.write_all(input)) {
            Ok(()) => println!(
                "again: cargo run --target-dir target --manifest-path fuzz/Cargo.toml -- {} --replay {}",
                self.name,
                file.display()
            ),
            Err(error) => eprintln!("cannot write {}: {error}", file.display()),
        }
    }
}

/// The file of the input in progress.
struct Scratch {
    file: File,
    len: usize,
}

impl Scratch {
    fn new(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            file: File::create(path)?,
            len: 0,
        })
    }

    fn hold(&mut self, input: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(input, 0)?;
        if input.len() != self.len {
            self.file.set_len(input.len() as u64)?;
            self.len = input.len();
        }
        Ok(())
    }
}

/// What the thread that watches shares with the one that runs: when the run
/// began, in milliseconds and one more, or 0 between runs.
#[derive(Clone)]
struct Watch(Arc<AtomicU64>);

impl Watch {
    fn start(driver: &Driver, begin: Instant, current: PathBuf) -> Self {
        let shared = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&shared);
        let (name, bounds, folder) = (driver.name, driver.bounds, driver.folder.clone());
        thread::spawn(move || {
            loop {
                thread::sleep(WATCH);
                let began = seen.load(Ordering::Relaxed);
                let took = u64::try_from(begin.elapsed().as_millis())
                    .unwrap_or(u64::MAX)
                    .saturating_sub(began.saturating_sub(1));
                let memory = memory("VmRSS:");
                let cause = if began != 0 && u128::from(took) > bounds.input_time.as_millis() {
                    format!(
                        "an input takes longer than {} ms",
                        bounds.input_time.as_millis()
                    )
                } else if memory > bounds.memory_bytes {
                    format!("the process has {} MiB", memory >> 20)
                } else {
                    continue;
                };
                println!("{name:<16} {cause}");
                let driver = Driver {
                    name,
                    folder,
                    bounds,
                };
                if let Ok(input) = fs::read(&current) {
                    driver.keep(&input);
                }
                std::process::exit(1);
            }
        });
        Self(shared)
    }

    fn begins(&self, at: Duration) {
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX - 1);
        self.0.store(at + 1, Ordering::Relaxed);
    }

    fn rests(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A line of /proc/self/status, in bytes; 0 where there is none.
fn memory(line: &str) -> u64 {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let rest = status.lines().find_map(|text| text.strip_prefix(line))?;
            rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
        .map_or(0, |kib| kib << 10)
}

fn message(cause: &(dyn std::any::Any + Send)) -> String {
    cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("it panics")
        .to_owned()
}

/// The first panic of a thread that is not the target's own.
#[derive(Clone, Default)]
struct Elsewhere(Arc<Mutex<Option<String>>>);

impl Elsewhere {
    /// Silences the panics of this process and notes those of threads other than
    /// `own`, whose panics are caught and told anyway.
    fn watch(own: ThreadId) -> Self {
        let noted = Self::default();
        let hook = noted.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = thread::current();
            if thread.id() != own {
                let name = thread.name().unwrap_or("without a name");
                let mut first = hook.0.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| format!("a thread {name}: {panic}"));
            }
        }));
        noted
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The figures of a target.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    accepted: u64,
    bytes: u64,
    slowest: Duration,
    slowest_run: u64,
}

impl Tally {
    fn add(&mut self, verdict: Verdict, bytes: usize, took: Duration, run: u64) {
        self.runs += 1;
        self.accepted += u64::from(verdict == Verdict::Accepted);
        self.bytes += bytes as u64;
        if took > self.slowest {
            (self.slowest, self.slowest_run) = (took, run);
        }
    }

    fn line(&self, name: &str, time: Duration) -> String {
        format!(
            "{name:<16} {:>10} runs in {:>7.1} s, {:>9.0} a second, {:>6} MiB of input, {:>9} accepted, slowest {:>8.1} ms (run {}), peak memory {} MiB",
            self.runs,
            time.as_secs_f64(),
            self.runs as f64 / time.as_secs_f64().max(1e-9),
            self.bytes >> 20,
            self.accepted,
            self.slowest.as_secs_f64() * 1000.0,
            self.slowest_run,
            memory("VmHWM:") >> 20,
        )
    }
}
