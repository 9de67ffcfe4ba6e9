//! A run as its parent sees it: exit codes, signals, what is left behind, how
//! it fails to start.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::support::{Stage, assert_refused, said, succeeds, users};

const PATIENCE: Duration = Duration::from_secs(30);

/// How a script of bash waits for signals alone; each runs its trap at once.
const WAITS: &str = "while :; do sleep 300 >/dev/null & wait $!; done";

/// Waits for a program that must end by itself.
#[track_caller]
fn ends(mut child: Child) -> std::process::ExitStatus {
    let (done, wait) = mpsc::channel();
    let pid = child.id();
    thread::spawn(move || done.send(child.wait().unwrap()));
    wait.recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("process {pid} does not end"))
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap()
            .success()
    );
}

/// The first line of a program's output.
fn first_line(child: &mut Child) -> (String, BufReader<std::process::ChildStdout>) {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    (line.trim_end().to_owned(), lines)
}

#[test]
fn the_exit_code_is_the_programs_or_128_plus_its_signal() {
    let stage = Stage::new("codes");
    for user in users() {
        for (script, code) in [
            ("exit 0", 0),
            ("exit 7", 7),
            ("exit 255", 255),
            ("kill -SEGV $$", 139),
            ("kill -9 $$", 137),
        ] {
            let output = stage
                .run(user, &[])
                .args(["sh", "-c", script])
                .output()
                .unwrap();
            assert_eq!(
                output.status.code(),
                Some(code),
                "{user:?} {script}: {}",
                said(&output)
            );
        }
    }
}

#[test]
fn a_program_needs_no_dashes_before_it_and_keeps_the_flags_after_it() {
    let stage = Stage::new("dashes");
    for user in users() {
        let run = |words: &[&str]| {
            let mut command = stage.command(user, &stage.path("nsm-sim"));
            command.args(["run", "--no-nsm", "--world", &stage.world()]);
            command.args(words).output().unwrap()
        };
        assert!(run(&["true"]).status.success(), "{user:?}");
        for words in [
            &["echo", "--cid", "3", "--", "-x"][..],
            &["--", "echo", "--cid", "3", "--", "-x"],
        ] {
            let output = run(words);
            assert_eq!(output.stdout, b"--cid 3 -- -x\n", "{}", said(&output));
        }
        for words in [&["--cidd", "3", "true"][..], &["-x", "true"], &[]] {
            let output = run(words);
            assert_eq!(
                output.status.code(),
                Some(2),
                "{words:?}: {}",
                said(&output)
            );
        }
    }
}

#[test]
fn a_program_that_cannot_run_gives_the_codes_of_a_shell_and_says_why() {
    let stage = Stage::new("missing");
    fs::write(stage.path("elf32"), b"\x7fELF\x01\x01\x01\0and so on").unwrap();
    fs::write(stage.path("text"), b"hello").unwrap();
    let text = stage.path("text").display().to_string();
    let elf32 = stage.path("elf32").display().to_string();
    let script32 = stage.path("script32").display().to_string();
    fs::write(&script32, format!("#!{elf32} -x\n")).unwrap();
    for user in users() {
        for (program, code, word) in [
            ("/nowhere/to/be/found", 127, "No such file"),
            ("no-such-program-on-the-path", 127, "No such file"),
            (text.as_str(), 126, "Permission denied"),
            (elf32.as_str(), 126, "32-bit"),
            (script32.as_str(), 126, "32-bit"),
        ] {
            let output = stage.run(user, &[]).arg(program).output().unwrap();
            assert_eq!(
                output.status.code(),
                Some(code),
                "{user:?} {program}: {}",
                said(&output)
            );
            assert!(
                said(&output).contains(word),
                "{user:?} {program}: {}",
                said(&output)
            );
        }
    }
}

#[test]
fn arguments_environment_and_streams_pass_through() {
    let stage = Stage::new("pass");
    for user in users() {
        let mut command = stage.run(user, &[]);
        command.args([
            "sh",
            "-c",
            "echo \"$1:$WORD\"; pwd; cat; echo oops >&2",
            "sh",
            "a b",
        ]);
        let mut child = command
            .env("WORD", "ü")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"in\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "a b:ü\n/\nin\n",
            "{user:?}"
        );
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "oops\n",
            "{user:?}"
        );
    }
}

#[test]
fn a_program_starts_with_the_descriptors_and_signals_it_would_have_without_us() {
    let stage = Stage::new("descriptors");
    for user in users() {
        // Compared with a start without us: what the tests' own parent left open
        // or ignored is not a fault of ours.
        for script in [
            "ls /proc/$$/fd",
            "grep -E '^Sig(Blk|Ign)' /proc/self/status",
        ] {
            let plain = succeeds(
                stage
                    .command(user, Path::new("/bin/sh"))
                    .args(["-c", script]),
            );
            let ours = succeeds(stage.run(user, &[]).args(["/bin/sh", "-c", script]));
            assert_eq!(ours, plain, "{user:?} {script}");
        }
    }
}

#[test]
fn signals_are_passed_on() {
    let stage = Stage::new("signals");
    let script = format!("trap 'echo got it; exit 42' $1; echo ready; {WAITS}");
    for user in users() {
        for name in ["TERM", "INT", "HUP", "USR1", "QUIT", "WINCH"] {
            let mut command = stage.run(user, &[]);
            command
                .args(["bash", "-c", &script, "bash", name])
                .stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let (ready, mut rest) = first_line(&mut child);
            assert_eq!(ready, "ready", "{user:?} {name}");
            signal(&child, name);
            let mut said = String::new();
            rest.read_to_string(&mut said).unwrap();
            assert_eq!(said, "got it\n", "{user:?} {name}");
            assert_eq!(ends(child).code(), Some(42), "{user:?} {name}");
        }
    }
}

#[test]
fn a_signal_without_handler_ends_the_program_as_it_would_without_us() {
    let stage = Stage::new("terminated");
    for user in users() {
        let mut command = stage.run(user, &[]);
        command
            .args(["sh", "-c", "echo ready; exec sleep 60"])
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _rest = first_line(&mut child);
        signal(&child, "TERM");
        assert_eq!(ends(child).code(), Some(143), "{user:?}");
    }
}

#[test]
fn ctrl_c_reaches_the_program_once() {
    let stage = Stage::new("ctrlc");
    let Some(python) = crate::support::python() else {
        return;
    };
    // A terminal of its own, as a shell gives to a foreground job.
    let script = r#"
import os, pty, signal, sys, time
pid, master = pty.fork()
if pid == 0:
    # Whoever runs the tests in the background has it ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
out = b""
while b"ready" not in out:
    out += os.read(master, 1000)
os.write(master, b"\x03")
while b"interrupted" not in out:
    out += os.read(master, 1000)
# The run passes this on after whatever it made of the other.
os.kill(pid, signal.SIGTERM)
try:
    while True:
        more = os.read(master, 1000)
        if not more: break
        out += more
except OSError:
    pass
_, status = os.waitpid(pid, 0)
print(out.count(b"interrupted"), os.waitstatus_to_exitcode(status))
"#;
    let program = format!(
        "trap 'n=$((n+1)); echo interrupted' INT; trap 'exit $((40+n))' TERM; \
         echo ready; {WAITS}"
    );
    for user in users() {
        let mut command = stage.command(user, &python);
        command.args(["-c", script]).arg(stage.path("nsm-sim"));
        command.args(["run", "--no-nsm", "--", "bash", "-c", &program]);
        assert_eq!(succeeds(&mut command).trim_end(), "1 41", "{user:?}");
    }
}

#[test]
fn a_stopped_program_stops_the_run_and_both_continue() {
    let stage = Stage::new("stop");
    for user in users() {
        let mut command = stage.run(user, &[]);
        let script = format!("trap 'exit 5' TERM; echo $$; {WAITS}");
        command.args(["bash", "-c", &script]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (_pid, _rest) = first_line(&mut child);
        signal(&child, "TSTP");
        let state = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ")
                .map_or(' ', |(_, after)| after.chars().next().unwrap_or(' '))
        };
        let deadline = std::time::Instant::now() + PATIENCE;
        while state(child.id()) != 'T' {
            assert!(
                std::time::Instant::now() < deadline,
                "{user:?}: the run does not stop"
            );
            thread::yield_now();
        }
        signal(&child, "CONT");
        signal(&child, "TERM");
        assert_eq!(ends(child).code(), Some(5), "{user:?}");
    }
}

#[test]
fn the_main_processs_exit_ends_every_process_of_the_run() {
    let stage = Stage::new("tree");
    for user in users() {
        // One in our session, one that made itself a daemon and says so.
        let script = "sleep 300 & echo $!; mkfifo \"$1\"; \
                      (setsid sh -c 'echo $$ >\"$1\"; exec sleep 300' sh \"$1\" &); \
                      read -r daemon <\"$1\"; echo \"$daemon\"; exit 3";
        let said_by_daemon = stage.path(&format!("daemon-{user:?}"));
        let mut command = stage.run(user, &[]);
        command.args(["sh", "-c", script, "sh"]).arg(said_by_daemon);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{user:?}: {}", said(&output));
        let pids = String::from_utf8(output.stdout).unwrap();
        assert_eq!(pids.lines().count(), 2, "{user:?}: {pids}");
        for pid in pids.lines() {
            assert!(
                !Path::new(&format!("/proc/{pid}")).exists(),
                "{user:?}: {pid} lives on"
            );
        }
    }
}

#[test]
fn the_program_dies_with_its_supervisor() {
    let stage = Stage::new("orphan");
    for user in users() {
        let mut command = stage.run(user, &[]);
        command
            .args(["sh", "-c", "echo $$; exec sleep 300"])
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (pid, mut rest) = first_line(&mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        let mut nothing = String::new();
        rest.read_to_string(&mut nothing).unwrap(); // ends when the program's output closes
        // Its files are closed a moment before it is gone.
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z") {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{user:?}: {stat}");
            thread::yield_now();
        }
    }
}

#[test]
fn a_nested_run_is_refused_with_its_cause() {
    let stage = Stage::new("nested");
    for user in users() {
        let mut command = stage.run(user, &[]);
        command
            .arg(stage.path("nsm-sim"))
            .args(["run", "--no-nsm", "--", "true"]);
        let output = command.output().unwrap();
        assert_refused(&output, "another seccomp supervisor", &format!("{user:?}"));
    }
}

#[test]
fn a_program_that_makes_itself_undumpable_can_still_be_served() {
    let stage = Stage::new("undumpable");
    let Some(python) = crate::support::python() else {
        return;
    };
    let script = "import ctypes, socket\n\
                  assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0\n\
                  s = socket.socket(socket.AF_VSOCK)\n\
                  s.bind((socket.VMADDR_CID_ANY, 5000)); print(s.getsockname())";
    for user in users() {
        let mut command = stage.run(user, &[]);
        let said = succeeds(command.arg(&python).args(["-c", script]));
        assert_eq!(said.trim_end(), "(4294967295, 5000)", "{user:?}");
    }
}

#[test]
fn an_enclave_has_no_network_beyond_loopback_and_a_parent_has() {
    let stage = Stage::new("network");
    let Some(python) = crate::support::python() else {
        return;
    };
    let script = r#"
import errno, socket
def name(f):
    try: f()
    except OSError as e: return errno.errorcode[e.errno]
    return "ok"
tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
print(name(lambda: socket.create_connection(s.getsockname(), 5)),
      name(lambda: socket.socket(type=tcp).connect(("192.0.2.1", 9))),
      name(lambda: socket.socket(type=udp).connect(("192.0.2.1", 9))),
      name(lambda: socket.socket(type=udp).sendto(b"x", ("192.0.2.1", 9))),
      name(lambda: socket.socket(type=udp).sendmsg([b"x"], [], 0, ("192.0.2.1", 9))),
      name(lambda: socket.socket(type=udp).sendto(b"x", ("127.0.0.1", 9))),
      name(lambda: socket.socket().bind(("192.0.2.1", 0))),
      name(lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 9))))
"#;
    let unreachable = "ENETUNREACH";
    let expected = format!(
        "ok {unreachable} {unreachable} {unreachable} {unreachable} ok EADDRNOTAVAIL {unreachable}"
    );
    for user in users() {
        let mut command = stage.run(user, &[]);
        let said = succeeds(command.arg(&python).args(["-c", script]));
        assert_eq!(said.trim_end(), expected, "{user:?}");
        let bind = "import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\n\
                    try: s.connect(('192.0.2.1', 9)); print('routed')\n\
                    except OSError as e: print(e.errno)";
        let plain = succeeds(stage.command(user, &python).args(["-c", bind]));
        for flags in [&["--cid", "3"][..], &["--network", "host"][..]] {
            let mut command = stage.run(user, flags);
            let said = succeeds(command.arg(&python).args(["-c", bind]));
            assert_eq!(said, plain, "{user:?} {flags:?}: as without us");
        }
    }
}

#[test]
fn cpus_and_memory_can_be_an_enclaves() {
    let stage = Stage::new("limits");
    let Some(python) = crate::support::python() else {
        return;
    };
    for user in users() {
        let mut command = stage.run(user, &["--cpu-count", "1"]);
        // Both ways of counting: affinity, and what a C library reads in /sys.
        let script = "import os; print(len(os.sched_getaffinity(0)), os.cpu_count())";
        let said = succeeds(command.arg(&python).args(["-c", script]));
        assert_eq!(said, "1 1\n", "{user:?}");
        let script = "try: bytearray(256 << 20); print('fits')\nexcept MemoryError: print('full')";
        for (mib, expected) in [("64", "full"), ("1024", "fits")] {
            let mut command = stage.run(user, &["--memory-mib", mib]);
            let said = succeeds(command.arg(&python).args(["-c", script]));
            assert_eq!(said.trim_end(), expected, "{user:?} {mib} MiB");
        }
    }
}

#[test]
fn a_program_sees_the_memory_it_may_use() {
    let stage = Stage::new("seen");
    let Some(python) = crate::support::python() else {
        return;
    };
    let script = r#"
import os
def line(name): return next(l for l in open("/proc/meminfo") if l.startswith(name + ":"))
print(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") >> 20,
      os.sysconf("SC_AVPHYS_PAGES") <= os.sysconf("SC_PHYS_PAGES"),
      *line("MemTotal").split()[1:], *line("SwapTotal").split()[1:])
"#;
    for user in users() {
        let mut command = stage.run(user, &["--memory-mib", "320"]);
        let said = succeeds(command.arg(&python).args(["-c", script]));
        assert_eq!(said, "320 True 327680 kB 0 kB\n", "{user:?}");
        let plain = succeeds(stage.command(user, &python).args(["-c", script]));
        let unlimited = succeeds(stage.run(user, &[]).arg(&python).args(["-c", script]));
        assert_eq!(unlimited, plain, "{user:?}");
    }
}

#[test]
fn memory_is_one_pool_and_who_drains_it_ends_the_enclave() {
    let stage = Stage::new("pool");
    let Some(python) = crate::support::python() else {
        return;
    };
    // None of them alone is past 96 MiB; they end when they are killed, or told to.
    let script = r#"
import os, sys
ready, tells = os.pipe()
for child in range(int(sys.argv[1])):
    if os.fork() == 0:
        held = b"x" * (48 << 20)
        os.write(tells, b"r")
        sys.stdin.read()
        os._exit(0)
for child in range(int(sys.argv[1])):
    os.read(ready, 1)
print("all hold", flush=True)
sys.stdin.read()
"#;
    for user in users() {
        let holders = |count: &str| {
            let mut command = stage.run(user, &["--memory-mib", "96"]);
            command.arg(&python).args(["-c", script, count]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command.stderr(Stdio::piped()).spawn().unwrap()
        };
        let mut fits = holders("1");
        let (line, _rest) = first_line(&mut fits);
        assert_eq!(line, "all hold", "{user:?}");
        drop(fits.stdin.take());
        assert_eq!(ends(fits).code(), Some(0), "{user:?}");

        let mut drained = holders("4");
        let input = drained.stdin.take(); // open: nobody ends by himself
        let mut said = String::new();
        let mut errors = drained.stderr.take().unwrap();
        errors.read_to_string(&mut said).unwrap();
        assert_eq!(ends(drained).code(), Some(123), "{user:?}: {said}");
        drop(input);
        let line = "nsm-sim: the enclave ran out of memory: its processes held ";
        assert!(said.starts_with(line), "{user:?}: {said}");
        assert!(
            said.contains("of 96 MiB") && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[test]
fn the_doctor_finds_this_machine_healthy() {
    let stage = Stage::new("doctor");
    for user in users() {
        let mut command = stage.command(user, &stage.path("nsm-sim"));
        let report = succeeds(command.args(["doctor", "--json"]));
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let findings = report["findings"].as_array().unwrap();
        assert!(findings.len() >= 5, "{report}");
        assert!(
            findings.iter().all(|finding| finding["outcome"] != "fails"),
            "{report}"
        );
    }
}

#[test]
fn the_doctor_names_the_other_supervisor() {
    let stage = Stage::new("patient");
    for user in users() {
        let mut command = stage.run(user, &[]);
        let output = command
            .arg(stage.path("nsm-sim"))
            .arg("doctor")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{user:?}: {}", said(&output));
        assert!(
            said(&output).contains("another seccomp supervisor"),
            "{}",
            said(&output)
        );
        assert!(
            said(&output).contains("fix: run outside"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn explain_lists_the_conditions_and_runs_nothing() {
    let stage = Stage::new("explain");
    let mut command = stage.command(crate::support::User::Own, &stage.path("nsm-sim"));
    let said = succeeds(command.args([
        "run",
        "--no-nsm",
        "--explain",
        "--cpu-count",
        "2",
        "--memory-mib",
        "64",
    ]));
    for word in [
        "CID 16", "loopback", "CPUs: 2", "64 MiB", "code 123", "io_uring",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}
