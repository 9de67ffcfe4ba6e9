//! Several targets at a time, from outside: what is printed, and how it ends.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const START_TIME_MAX: Duration = Duration::from_secs(120);

fn fuzz(out: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drydock-fuzz"));
    command.arg("--out").arg(out).args(["sigv4", "cms"]);
    command
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn lines_about(text: &str, target: &str) -> usize {
    let about = |line: &&str| line.starts_with(target) && line.contains(" runs in ");
    text.lines().filter(about).count()
}

#[test]
fn each_target_has_one_line_and_as_many_runs_as_asked_for() {
    let output = fuzz(&folder("runs"))
        .args(["--runs", "321", "--jobs", "2"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for target in ["sigv4", "cms"] {
        assert_eq!(lines_about(&text, target), 1, "{text}");
    }
    assert_eq!(text.matches(" 321 runs in ").count(), 2, "{text}");
    assert!(text.contains("2 of 2 targets"), "{text}");
}

#[test]
fn an_interrupt_ends_every_target_with_its_line() {
    let out = folder("interrupt");
    let child = fuzz(&out)
        .args(["--seconds-each", "3600", "--jobs", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    // The input in progress is in a file: then a target is at work.
    while ["sigv4", "cms"]
        .iter()
        .any(|target| !out.join(format!("{target}.current")).exists())
    {
        assert!(begin.elapsed() < START_TIME_MAX, "no target starts");
        thread::yield_now();
    }
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(130), "{text}");
    for target in ["sigv4", "cms"] {
        assert_eq!(lines_about(&text, target), 1, "{text}");
    }
    assert!(text.contains("interrupted"), "{text}");
    let left = fs::read_dir(&out).unwrap().count();
    assert_eq!(left, 0, "files of inputs in progress are left");
}
