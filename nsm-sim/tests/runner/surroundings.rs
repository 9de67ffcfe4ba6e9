//! The machines a run meets: container profiles, old kernels, programs that
//! cannot be looked into, placeholders. Each is rehearsed here, and named.

use std::path::Path;

use crate::support::{Stage, User, assert_refused, python, said, succeeds, users};

/// A command under a filter like a container runtime's.
fn under(stage: &Stage, user: User, denials: &[&str], command: &[&str]) -> std::process::Output {
    let mut outer = stage.command(user, &stage.path("outer_profile"));
    outer
        .args(denials)
        .arg("--")
        .arg(stage.path("nsm-sim"))
        .args(command);
    outer.output().unwrap()
}

#[test]
fn a_profile_without_af_vsock_is_named_and_no_vsock_lifts_it() {
    let stage = Stage::new("docker");
    stage.compile("outer_profile");
    let run = ["run", "--no-nsm", "--", "true"];
    let run_without = ["run", "--no-nsm", "--no-vsock", "--", "true"];
    for user in users() {
        for (denial, word) in [
            ("vsock", "forbids AF_VSOCK"),
            ("pidfd_getfd", "pidfd_getfd"),
        ] {
            let output = under(&stage, user, &[denial], &run);
            assert_refused(&output, word, &format!("{user:?} {denial}"));
            let output = under(&stage, user, &[denial], &run_without);
            assert!(
                output.status.success(),
                "{user:?} {denial}: {}",
                said(&output)
            );
            let output = under(&stage, user, &[denial], &["doctor"]);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{user:?} {denial}: {}",
                said(&output)
            );
            let report = said(&output);
            assert!(
                report.contains("FAILS  AF_VSOCK"),
                "{user:?} {denial}: {report}"
            );
            assert!(
                report.contains("ok     /dev/nsm"),
                "{user:?} {denial}: {report}"
            );
            assert!(
                report.contains("--seccomp-profile"),
                "{user:?} {denial}: {report}"
            );
        }
    }
}

#[test]
fn a_profile_without_process_vm_readv_is_not_an_obstacle() {
    let stage = Stage::new("memory");
    stage.compile("outer_profile");
    for user in users() {
        let output = under(&stage, user, &["process_vm"], &["doctor"]);
        assert!(output.status.success(), "{user:?}: {}", said(&output));
    }
}

#[test]
fn a_profile_without_seccomp_is_named() {
    let stage = Stage::new("noseccomp");
    stage.compile("outer_profile");
    for user in users() {
        let output = under(
            &stage,
            user,
            &["seccomp"],
            &["run", "--no-nsm", "--", "true"],
        );
        assert_refused(&output, "an outer profile forbids", &format!("{user:?}"));
    }
}

#[test]
fn a_kernel_without_user_notification_is_named() {
    let stage = Stage::new("oldkernel");
    stage.compile("outer_profile");
    for user in users() {
        for command in [&["run", "--no-nsm", "--", "true"][..], &["doctor"]] {
            let output = under(&stage, user, &["old_kernel"], command);
            let code = if command.len() > 1 { 125 } else { 1 };
            assert_eq!(
                output.status.code(),
                Some(code),
                "{user:?}: {}",
                said(&output)
            );
            let cause = "the kernel lacks seccomp user notification: 5.9 or newer";
            assert!(said(&output).contains(cause), "{user:?}: {}", said(&output));
        }
        let output = under(&stage, user, &["old_kernel"], &["doctor"]);
        assert!(
            said(&output).contains("fix: use Linux 5.9"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn where_memory_cannot_be_read_the_run_does_not_start_and_says_why() {
    let stage = Stage::new("unreadable");
    // Nobody who cannot read our own file can trace what is started from it.
    let nsm_sim = stage.bring_to_execute_only(&stage.path("nsm-sim"), "nsm-sim-x");
    if !users().contains(&User::Nobody) {
        return;
    }
    for command in [&["run", "--no-nsm", "--", "true"][..], &["doctor"]] {
        // By way of `env`: setpriv itself may still read every file.
        let output = stage
            .command(User::Nobody, Path::new("env"))
            .arg(&nsm_sim)
            .args(command)
            .output()
            .unwrap();
        let code = if command.len() > 1 { 125 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        let cause = "the program's memory cannot be read: nsm-sim's own file";
        assert!(said(&output).contains(cause), "{}", said(&output));
    }
}

#[test]
fn a_program_that_cannot_be_read_is_named_by_its_thread() {
    let stage = Stage::new("undumpable-x");
    stage.compile("vsock_talk");
    let talk = stage.bring_to_execute_only(&stage.path("vsock_talk"), "vsock_talk_x");
    if !users().contains(&User::Nobody) {
        return;
    }
    let mut command = stage.run(User::Nobody, &[]);
    let output = command
        .arg(&talk)
        .args(["serve", "5000", "1"])
        .output()
        .unwrap();
    assert!(!output.status.success(), "{}", said(&output));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let named = errors
        .lines()
        .find(|line| line.starts_with("nsm-sim: thread "))
        .unwrap_or_default();
    assert!(
        named.contains("(vsock_talk_x) cannot be read") && named.contains("doctor"),
        "{errors}"
    );
}

#[test]
fn a_placeholder_made_of_dev_null_is_used_and_only_its_ioctl_is_trapped() {
    let stage = Stage::new("placeholder");
    let Some(python) = python() else { return };
    // As `docker run --device /dev/null:/dev/nsm`, in a /dev of the test's own.
    let script = r#"
set -e
mkdir "$1/dev"; mount -n -t tmpfs none "$1/dev"
for node in null zero full random urandom tty; do
    touch "$1/dev/$node"; mount -n --bind "/dev/$node" "$1/dev/$node"
done
if [ "$2" = link ]; then ln -s null "$1/dev/nsm"
else touch "$1/dev/nsm"; mount -n --bind /dev/null "$1/dev/nsm"; fi
mount -n --move "$1/dev" /dev
exec "$3" run --no-vsock --stats --seed 1 -- "$4" -c "$5"
"#;
    const NAMESPACES: &[&str] = &["--user", "--map-root-user", "--mount"];
    let ask = r#"
import ctypes, fcntl, os, struct
request, reply = ctypes.create_string_buffer(b"\x69GetRandom", 10), ctypes.create_string_buffer(400)
raw = bytearray(struct.pack("=QQQQ", ctypes.addressof(request), 10, ctypes.addressof(reply), 400))
with open("/dev/nsm", "r+b", buffering=0) as nsm:
    fcntl.ioctl(nsm, 0xC0200A00, raw)
print(struct.unpack("=QQQQ", raw)[3], os.path.exists("/dev/nsm"))
"#;
    for user in users() {
        if !stage.may_make_namespaces(user, NAMESPACES) {
            continue;
        }
        for kind in ["device", "link"] {
            let folder = stage.path(&format!("{user:?}-{kind}"));
            std::fs::create_dir(&folder).unwrap();
            let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(&folder, everybody).unwrap();
            let mut command = stage.command(user, Path::new("unshare"));
            command.args(NAMESPACES).args(["sh", "-c", script, "sh"]);
            command.arg(&folder).arg(kind).arg(stage.path("nsm-sim"));
            let output = command.arg(&python).arg(ask).output().unwrap();
            let told = said(&output);
            assert!(output.status.success(), "{user:?} {kind}: {told}");
            assert_eq!(output.stdout, b"278 True\n", "{user:?} {kind}: {told}");
            let trapped: Vec<&str> = told
                .lines()
                .filter_map(|line| line.strip_prefix("nsm-sim: ")?.split_whitespace().nth(1))
                .collect();
            assert_eq!(trapped, ["ioctl"], "{user:?} {kind}: {told}");
        }
    }
}

#[test]
fn io_uring_is_not_there_to_bypass_the_emulation() {
    let stage = Stage::new("uring");
    let Some(python) = python() else { return };
    let script = "import ctypes, errno\n\
                  libc = ctypes.CDLL(None, use_errno=True)\n\
                  print(libc.syscall(425, 8, ctypes.create_string_buffer(120)), \
                  errno.errorcode[ctypes.get_errno()])";
    for user in users() {
        let said = succeeds(stage.run(user, &[]).arg(&python).args(["-c", script]));
        assert_eq!(said, "-1 ENOSYS\n", "{user:?}");
    }
}

#[test]
fn the_profile_for_containers_is_json_and_forbids_nothing_we_need() {
    let stage = Stage::new("profile");
    let mut doctor = stage.command(User::Own, &stage.path("nsm-sim"));
    let profile = succeeds(doctor.args(["doctor", "--seccomp-profile"]));
    let profile: serde_json::Value = serde_json::from_str(&profile).unwrap();
    let forbidden: Vec<&str> = profile["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule.get("args").is_none())
        .flat_map(|rule| rule["names"].as_array().unwrap())
        .map(|name| name.as_str().unwrap())
        .collect();
    for needed in [
        "socket",
        "seccomp",
        "pidfd_getfd",
        "pidfd_open",
        "process_vm_readv",
        "process_vm_writev",
    ] {
        assert!(!forbidden.contains(&needed), "{needed}");
    }
    assert!(forbidden.contains(&"mount"));
}
