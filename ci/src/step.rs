//! Steps: run one after the other, timed, logged, summed up in a table.
//!
//! A step's programs write to its log, not to the terminal; the first failure's
//! log is shown. Later steps still run, so that one run tells everything.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
    process::{Command, ExitCode, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::workspace::Workspace;

/// A step that takes longer hangs: a cold build of everything is below half of it.
const STEP_TIME_MAX: Duration = Duration::from_secs(45 * 60);

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Bytes of a failed step's log that are shown, from its end.
const SHOWN_BYTES_MAX: u64 = 64 << 10;

/// One thing that has to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// How it is called on the command line.
    pub(crate) name: &'static str,
    /// What it does, in a line.
    pub(crate) about: &'static str,
    /// Does it.
    pub(crate) run: fn(&mut Run<'_>) -> anyhow::Result<Passed>,
}

/// How a step passed.
#[derive(Debug)]
pub(crate) enum Passed {
    /// Everything it is for was checked.
    Fully,
    /// With a sentence that the summary has to tell.
    But(String),
}

/// Which steps to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    /// Print the steps and do nothing.
    #[arg(long)]
    list: bool,
    /// Run only this step; may be repeated.
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Do not run this step; may be repeated.
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
}

impl Selection {
    /// Runs the selected ones of `steps`.
    pub(crate) fn run(&self, steps: &[Step], workspace: &Workspace) -> anyhow::Result<ExitCode> {
        let known = |name: &&String| steps.iter().any(|step| step.name == name.as_str());
        if let Some(unknown) = self.only.iter().chain(&self.skip).find(|name| !known(name)) {
            let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
            bail!(
                "`{unknown}` is not a step; the steps are {}",
                names.join(", ")
            );
        }
        if self.list {
            for step in steps {
                println!("{:<14} {}", step.name, step.about);
            }
            return Ok(ExitCode::SUCCESS);
        }
        let named = |list: &[String], step: &Step| list.iter().any(|name| name == step.name);
        let selected: Vec<Step> = steps
            .iter()
            .filter(|step| self.only.is_empty() || named(&self.only, step))
            .filter(|step| !named(&self.skip, step))
            .copied()
            .collect();
        ensure!(!selected.is_empty(), "no step is left to run");
        run_all(&selected, workspace)
    }
}

/// Runs steps in order and prints their table; fails if one failed.
pub(crate) fn run_all(steps: &[Step], workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let mut rows = Vec::new();
    let mut shown = false;
    let start = Instant::now();
    for step in steps {
        println!("{:<14} {} …", step.name, step.about);
        let begin = Instant::now();
        let mut run = Run::new(step, workspace)?;
        let result = (step.run)(&mut run);
        let time = begin.elapsed();
        let outcome = match result {
            Ok(Passed::Fully) => "passed".to_owned(),
            Ok(Passed::But(what)) => format!("passed, but {what}"),
            Err(error) => {
                if !shown {
                    shown = true;
                    println!("{}", run.tail()?);
                }
                println!("{:<14} failed: {error:#}", step.name);
                println!("{:<14} its whole output: {}", "", run.log_path.display());
                "FAILED".to_owned()
            }
        };
        println!("{:<14} {outcome} after {}", step.name, seconds(time));
        rows.push((step.name, time, outcome));
    }

    println!("\n{:<14} {:>9}  outcome", "step", "time");
    for (name, time, outcome) in &rows {
        println!("{name:<14} {:>9}  {outcome}", seconds(*time));
    }
    let failed: Vec<&str> = rows
        .iter()
        .filter(|row| row.2 == "FAILED")
        .map(|row| row.0)
        .collect();
    println!("{:<14} {:>9}", "all", seconds(start.elapsed()));
    if failed.is_empty() {
        println!("all {} steps passed", rows.len());
        Ok(ExitCode::SUCCESS)
    } else {
        println!(
            "{} of {} steps failed: {}",
            failed.len(),
            rows.len(),
            failed.join(", ")
        );
        Ok(ExitCode::FAILURE)
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A step that is running.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// Where it runs.
    pub(crate) workspace: &'a Workspace,
    log: File,
    log_path: PathBuf,
    deadline: Instant,
}

impl<'a> Run<'a> {
    fn new(step: &Step, workspace: &'a Workspace) -> anyhow::Result<Self> {
        let folder = workspace.reports().join("logs");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let log_path = folder.join(format!("{}.log", step.name));
        let log = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&log_path)
            .with_context(|| format!("cannot write {}", log_path.display()))?;
        Ok(Self {
            workspace,
            log,
            log_path,
            deadline: Instant::now() + STEP_TIME_MAX,
        })
    }

    /// Writes a sentence to the log.
    pub(crate) fn note(&mut self, sentence: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.log, "{sentence}")?)
    }

    /// Runs a program that has to succeed.
    pub(crate) fn check(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let output = Stdio::from(self.log.try_clone()?);
        let status = self.wait(command.stdout(output))?;
        ensure!(status.success(), "`{}` ended with {status}", words(command));
        Ok(())
    }

    /// Whether a program succeeds.
    pub(crate) fn succeeds(&mut self, command: &mut Command) -> anyhow::Result<bool> {
        let output = Stdio::from(self.log.try_clone()?);
        Ok(self.wait(command.stdout(output))?.success())
    }

    /// What a program that has to succeed writes to its standard output.
    pub(crate) fn stdout(&mut self, command: &mut Command) -> anyhow::Result<String> {
        let path = self.log_path.with_extension("stdout");
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let status = self.wait(command.stdout(Stdio::from(file.try_clone()?)))?;
        file.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.log.write_all(&bytes)?;
        ensure!(status.success(), "`{}` ended with {status}", words(command));
        String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8 text", path.display()))
    }

    /// Runs a program to its end or to the step's, with its errors in the log.
    fn wait(&mut self, command: &mut Command) -> anyhow::Result<ExitStatus> {
        self.note(&format!("$ {}", words(command)))?;
        let errors = Stdio::from(self.log.try_clone()?);
        let mut child = command
            .stdin(Stdio::null())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start `{}`", words(command)))?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > self.deadline {
                child.kill()?;
                child.wait()?;
                bail!(
                    "`{}` was ended: the step took longer than {}",
                    words(command),
                    seconds(STEP_TIME_MAX)
                );
            }
            thread::sleep(POLL);
        }
    }

    /// The end of the log.
    fn tail(&mut self) -> anyhow::Result<String> {
        let length = self.log.seek(SeekFrom::End(0))?;
        self.log
            .seek(SeekFrom::Start(length.saturating_sub(SHOWN_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        self.log.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The command as a person would type it.
fn words(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program
        .file_name()
        .unwrap_or(command.get_program())
        .to_string_lossy();
    command.get_args().fold(name.into_owned(), |line, word| {
        line + " " + &word.to_string_lossy()
    })
}
