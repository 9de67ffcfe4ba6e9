//! Instructions of every operation beside those of the baseline.
//!
//! Counts move with the compiler and with the instructions that the machine offers
//! to libraries that choose among them, so a baseline says both, and only what was
//! counted alike is judged. Not in the gate: it builds a profile that nothing else
//! there needs.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    step::{self, Passed, Run, Step},
    workspace::Workspace,
};

const BASELINE: &str = "benches/baseline/instructions.txt";

/// The profile that is counted: that of releases.
const PROFILE: &str = "dist";

/// How many more instructions than the baseline's an operation may take.
const PERCENT_MAX: f64 = 3.0;

const INTRODUCTION: &str = "\
# What one run of each operation takes, as `operations instructions` prints it.
# Written by `cargo ci bench-gate --write`. `cargo ci bench-gate` fails when an
# operation takes 3 % more instructions; cache misses are shown and not judged.
";

const STEP: Step = Step {
    name: "bench-gate",
    about: "instructions of every operation beside the baseline's, by valgrind",
    run: judge,
};

const WRITE: Step = Step {
    name: "bench-gate",
    about: "instructions of every operation, to be the baseline",
    run: |run| {
        ensure!(
            has_valgrind(),
            "there is no valgrind (Debian has it in the package valgrind)"
        );
        let counted = Counts::count(run)?;
        let path = run.workspace.root().join(BASELINE);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        fs::write(&path, counted.to_text()).with_context(|| path.display().to_string())?;
        println!("wrote {BASELINE}");
        Ok(Passed::Fully)
    },
};

/// Judges, or writes a new baseline.
pub(crate) fn run(writes: bool, workspace: &Workspace) -> anyhow::Result<ExitCode> {
    step::run_all(&[if writes { WRITE } else { STEP }], workspace)
}

fn judge(run: &mut Run<'_>) -> anyhow::Result<Passed> {
    if !has_valgrind() {
        let missing = "there is no valgrind (Debian has it in the package valgrind)";
        ensure!(env::var_os("CI").is_none(), "{missing}");
        return Ok(Passed::But(format!("NOTHING was counted: {missing}")));
    }
    let path: PathBuf = run.workspace.root().join(BASELINE);
    let text = fs::read_to_string(&path).with_context(|| {
        format!("{BASELINE} cannot be read; `cargo ci bench-gate --write` makes what is counted now the baseline")
    })?;
    let baseline = Counts::parse(&text).context(BASELINE)?;
    let counted = Counts::count(run)?;
    let comparison = Comparison::of(&baseline, &counted);
    println!("{comparison}");
    run.note(&comparison.to_string())?;
    if counted.origin != baseline.origin {
        return Ok(Passed::But(format!(
            "the counts were NOT judged: the baseline is of {}, these are of {}",
            baseline.origin, counted.origin
        )));
    }
    if let Some(problem) = comparison.problem() {
        bail!("{problem}; if it has to be so, `cargo ci bench-gate --write` and say why");
    }
    Ok(Passed::Fully)
}

fn has_valgrind() -> bool {
    let started = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    started.is_ok_and(|status| status.success())
}

/// The rows of a table, and what they were counted with.
struct Counts {
    /// Compiler, profile and machine.
    origin: String,
    table: String,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    instructions: u64,
}

impl Counts {
    fn count(run: &mut Run<'_>) -> anyhow::Result<Self> {
        let mut build = run.workspace.cargo(&["build", "--quiet", "--workspace"]);
        build.args([
            "--profile",
            PROFILE,
            "--bin",
            "operations",
            "--bin",
            "calls",
        ]);
        run.check(&mut build)?;
        let program = run.workspace.target().join(PROFILE).join("operations");
        let mut count = run.workspace.at_home(Command::new(program));
        count.arg("instructions").env_remove("CARGO"); // they are built
        let table = run.stdout(&mut count)?;
        let text = format!("# counted with: {}\n{table}", origin(run)?);
        Self::parse(&text).context("the table of `operations instructions`")
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let (remarks, lines): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with('#'));
        let origin = remarks
            .iter()
            .find_map(|line| line.strip_prefix("# counted with: "));
        let (_head, lines) = lines.split_first().context("the table is empty")?;
        let rows: Vec<Row> = lines
            .iter()
            .map(|line| Row::parse(line).with_context(|| format!("`{line}` is not a row")))
            .collect::<anyhow::Result<_>>()?;
        ensure!(!rows.is_empty(), "there is no row");
        Ok(Self {
            origin: origin
                .context("it does not say what it was counted with")?
                .to_owned(),
            table: text
                .lines()
                .filter(|line| !line.starts_with('#'))
                .map(|line| format!("{line}\n"))
                .collect(),
            rows,
        })
    }

    fn to_text(&self) -> String {
        let Self { origin, table, .. } = self;
        format!("{INTRODUCTION}# counted with: {origin}\n{table}")
    }
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self {
            name: words.next()?.to_owned(),
            instructions: words.next()?.parse().ok().filter(|count| *count > 0)?,
        })
    }
}

/// What counts depend on beside the sources.
fn origin(run: &mut Run<'_>) -> anyhow::Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut version = run.workspace.at_home(Command::new(rustc));
    let version = run.stdout(version.arg("--version"))?;
    // Valgrind passes on what the machine has, up to AVX2.
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let vectors = if cpu.split_whitespace().any(|flag| flag == "avx2") {
        " with AVX2"
    } else {
        ""
    };
    let machine = env::consts::ARCH;
    Ok(format!(
        "{}, profile {PROFILE}, {machine}{vectors}",
        version.trim()
    ))
}

/// Old and new rows beside each other.
struct Comparison<'a>(Vec<Line<'a>>);

struct Line<'a> {
    name: &'a str,
    old: Option<u64>,
    new: Option<u64>,
}

impl<'a> Comparison<'a> {
    fn of(baseline: &'a Counts, counted: &'a Counts) -> Self {
        let find = |counts: &Counts, name: &str| {
            let row = counts.rows.iter().find(|row| row.name == name);
            row.map(|row| row.instructions)
        };
        let gone = baseline
            .rows
            .iter()
            .filter(|row| find(counted, &row.name).is_none());
        let lines = counted.rows.iter().chain(gone).map(|row| Line {
            name: &row.name,
            old: find(baseline, &row.name),
            new: find(counted, &row.name),
        });
        Self(lines.collect())
    }

    /// What the gate cannot pass over.
    fn problem(&self) -> Option<String> {
        let named = |is_it: fn(&Line<'_>) -> bool| -> Vec<&str> {
            let found = self.0.iter().filter(|line| is_it(line));
            found.map(|line| line.name).collect()
        };
        let slower = named(|line| line.percent().is_some_and(|it| it >= PERCENT_MAX));
        let unmatched = named(|line| line.percent().is_none());
        match (slower.is_empty(), unmatched.is_empty()) {
            (true, true) => None,
            (false, _) => Some(format!(
                "{PERCENT_MAX} % more instructions or worse: {}",
                slower.join(", ")
            )),
            (true, false) => Some(format!(
                "the baseline has other operations: {}",
                unmatched.join(", ")
            )),
        }
    }
}

impl Line<'_> {
    #[allow(clippy::cast_precision_loss)] // counts far below 2^53
    fn percent(&self) -> Option<f64> {
        let (old, new) = (self.old? as f64, self.new? as f64);
        Some((new / old - 1.0) * 100.0)
    }
}

impl std::fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:<24} {:>14} {:>14} {:>9}",
            "operation", "baseline", "now", "change"
        )?;
        let shown = |count: Option<u64>| count.map_or("-".to_owned(), |it| it.to_string());
        for line in &self.0 {
            let (old, new) = (shown(line.old), shown(line.new));
            let percent = line.percent();
            let change = percent.map_or(String::new(), |percent| format!("{percent:+.1} %"));
            write!(f, "\n{:<24} {old:>14} {new:>14} {change:>9}", line.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn counts(rows: &str) -> Counts {
        Counts::parse(&format!(
            "# counted with: x\noperation  instructions\n{rows}"
        ))
        .unwrap()
    }

    #[test]
    fn three_percent_more_is_too_much_and_less_is_not() {
        let baseline = counts("a 1000 1.0 0.0 something\nb 2000 2.0 0.0 else");
        for (rows, problem) in [
            ("a 1029 9.0 0.0 x\nb 1000 0.0 0.0 x", None),
            ("a 1030 1.0 0.0 x\nb 2000 0.0 0.0 x", Some("worse: a")),
            ("a 1000 1.0 0.0 x", Some("other operations: b")),
            (
                "a 1 1.0 0.0 x\nb 1 1.0 0.0 x\nc 1 1.0 0.0 x",
                Some("other operations: c"),
            ),
        ] {
            let counted = counts(rows);
            let found = Comparison::of(&baseline, &counted).problem();
            match problem {
                None => assert_eq!(found, None, "{rows}"),
                Some(end) => assert!(found.is_some_and(|it| it.ends_with(end)), "{rows}"),
            }
        }
    }

    #[test]
    fn a_baseline_reads_back_and_a_table_without_counts_is_none() {
        let baseline = counts("a 1000 1.0 0.0 something");
        let again = Counts::parse(&baseline.to_text()).unwrap();
        assert_eq!(again.to_text(), baseline.to_text());
        for bad in [
            "",
            "operation\na 1\n",
            "# counted with: x\noperation\n",
            "# counted with: x\noperation\na many\n",
            "# counted with: x\noperation\na 0\n",
        ] {
            assert!(Counts::parse(bad).is_err(), "{bad}");
        }
    }
}
