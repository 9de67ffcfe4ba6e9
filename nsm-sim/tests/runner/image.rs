//! `nsm-sim run --eif`: an enclave image's application in its own root file
//! system, without a virtual machine.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::{Stage, User, said, users};
use nsm_sim::eif::{
    EifBuilder,
    ramdisk::{Entry, write_cpio},
    reproducible_metadata,
};
use p384::ecdsa::SigningKey;

/// `nsm-sim run --eif FILE` with `flags`.
fn run(stage: &Stage, user: User, file: &Path, flags: &[&str]) -> Command {
    let mut command = stage.command(user, &stage.path("nsm-sim"));
    command
        .args(["run", "--world", &stage.world(), "--eif"])
        .arg(file)
        .args(flags);
    command
}

/// An image with `clients/image_app.c`, and a motd of its own.
fn image(stage: &Stage) -> PathBuf {
    let program = fs::read(stage.compile("image_app")).unwrap();
    let application = write_cpio(&[
        Entry::file("cmd", "/bin/app\n--flag\ntwo words\n"),
        Entry::file("env", "GREETING=hello\n"),
        Entry::directory("rootfs"),
        Entry::directory("rootfs/bin"),
        Entry::executable("rootfs/bin/app", program),
        Entry::directory("rootfs/etc"),
        Entry::file("rootfs/etc/motd", "of the image\n"),
    ])
    .unwrap();
    eif(stage, &application)
}

/// An image with this application ramdisk.
fn eif(stage: &Stage, application: &[u8]) -> PathBuf {
    let init = write_cpio(&[Entry::executable("init", "")]).unwrap();
    let eif = EifBuilder::new(b"no kernel", "quiet")
        .metadata(reproducible_metadata("app", "1"))
        .ramdisk(&init)
        .ramdisk(application)
        .build()
        .unwrap();
    let file = stage.path("app.eif");
    fs::write(&file, eif).unwrap();
    file
}

/// Whether this user may enter an image's root.
fn may_change_root(stage: &Stage, user: User) -> bool {
    stage.may_make_namespaces(user, &["--user", "--map-root-user", "--mount"])
}

#[test]
fn an_image_runs_in_its_own_root_with_the_devices_of_an_enclave() {
    let stage = Stage::new("image");
    let file = image(&stage);
    for user in users() {
        for flags in [&["--root", "image"][..], &[]] {
            if !may_change_root(&stage, user) {
                continue;
            }
            let output = run(&stage, user, &file, flags).output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "argument --flag\nargument two words\nGREETING=hello\nmotd of the image\n\
                 /dev/nsm: open\n/dev/null: open\n/dev/urandom: open\n/dev/vsock: open\n\
                 /proc/self/status: open\n/tmp/mine: open\nstat /dev/nsm: 0\nnsm: open\n\
                 AF_VSOCK: open\n127.0.0.1:1: bound\n192.0.2.1: Network is unreachable\nuid 0\n",
                "{user:?} {flags:?}: {}",
                said(&output)
            );
            assert_eq!(output.status.code(), Some(7), "{user:?}: {}", said(&output));
            assert!(output.stderr.is_empty(), "{user:?}: {}", said(&output));
        }
    }
}

#[test]
fn an_image_in_its_own_root_calls_its_parent() {
    let stage = Stage::new("image-calls");
    let talk = fs::read(stage.compile("vsock_talk")).unwrap();
    let application = write_cpio(&[
        Entry::file("cmd", "/talk\ntalk\n3\n8000\n20\n20000\n"),
        Entry::file("env", ""),
        Entry::directory("rootfs"),
        Entry::executable("rootfs/talk", talk),
    ])
    .unwrap();
    let file = eif(&stage, &application);
    for user in users() {
        if !may_change_root(&stage, user) {
            continue;
        }
        let mut parent = stage.run(user, &["--cid", "3"]);
        parent
            .arg(stage.path("vsock_talk"))
            .args(["serve", "8000", "20"])
            .stdout(Stdio::piped());
        let mut parent = parent.spawn().unwrap();
        let mut lines = BufReader::new(parent.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let output = run(&stage, user, &file, &["--root", "image"])
            .output()
            .unwrap();
        if !output.status.success() {
            parent.kill().unwrap();
        }
        let mut served = String::new();
        lines.read_to_string(&mut served).unwrap();
        parent.wait().unwrap();
        assert!(output.status.success(), "{user:?}: {}", said(&output));
        assert_eq!(served, "first caller has cid 16\nserved\n", "{user:?}");
    }
}

#[test]
fn nothing_of_the_unpacked_image_is_left_behind() {
    let stage = Stage::new("image-gone");
    let file = image(&stage);
    for user in users() {
        for root in ["auto", "host"] {
            let folder = stage.path(&format!("tmp-{user:?}-{root}"));
            fs::create_dir(&folder).unwrap();
            let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            fs::set_permissions(&folder, everybody).unwrap();
            let output = run(&stage, user, &file, &["--root", root])
                .env("TMPDIR", &folder)
                .output()
                .unwrap();
            let left: Vec<_> = fs::read_dir(&folder).unwrap().collect();
            assert!(
                left.is_empty(),
                "{user:?} {root}: {left:?} {}",
                said(&output)
            );
        }
    }
}

#[test]
fn where_namespaces_are_forbidden_the_image_runs_beside_its_root_or_not_at_all() {
    let stage = Stage::new("image-forbidden");
    let file = image(&stage);
    let profile = stage.compile("outer_profile");
    for user in users() {
        let denied = |flags: &[&str]| {
            let mut command = stage.command(user, &profile);
            command
                .args(["unshare", "--"])
                .arg(stage.path("nsm-sim"))
                .args(["run", "--world", &stage.world(), "--eif"])
                .arg(&file)
                .args(flags);
            command.output().unwrap()
        };
        let output = denied(&["--root", "image"]);
        assert_eq!(output.status.code(), Some(125), "{}", said(&output));
        assert!(output.stdout.is_empty(), "{}", said(&output));
        for word in ["making namespaces", "max_user_namespaces", "--root host"] {
            assert!(said(&output).contains(word), "{word}: {}", said(&output));
        }
        // The command is /bin/app, which this machine does not have.
        let output = denied(&[]);
        assert_eq!(output.status.code(), Some(127), "{}", said(&output));
        assert!(
            said(&output).contains("with this machine's root file system"),
            "{}",
            said(&output)
        );
        let output = denied(&["--explain"]);
        assert!(
            said(&output).contains("root: the machine's"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn the_conditions_say_which_root_it_is() {
    let stage = Stage::new("image-explain");
    let file = image(&stage);
    if !may_change_root(&stage, User::Own) {
        return;
    }
    for (root, line) in [
        ("image", "root: the image's"),
        ("host", "root: the machine's"),
    ] {
        let output = run(&stage, User::Own, &file, &["--root", root, "--explain"])
            .output()
            .unwrap();
        assert!(said(&output).contains(line), "{root}: {}", said(&output));
    }
}

#[test]
fn the_image_of_the_official_crate_runs_as_its_author_meant() {
    let corpus = std::env::var_os("DRYDOCK_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    let stage = Stage::new("image-plain");
    let Ok(plain) = fs::read(corpus.join("eif/plain.eif")) else {
        assert!(std::env::var_os("CI").is_none(), "CI must have the corpus");
        println!("skipped: no eif/plain.eif in the corpus");
        return;
    };
    let file = stage.path("plain.eif");
    fs::write(&file, plain).unwrap();
    for user in users() {
        if !may_change_root(&stage, user) {
            continue;
        }
        let output = run(&stage, user, &file, &["--root", "image"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(7), "{user:?}: {}", said(&output));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "args one two words\nGREETING=hola\nnsm open\nmotd from the image\n",
            "{user:?}: {}",
            said(&output)
        );
    }
}

/// Of the key whose scalar is 48 times the byte 7; valid from 2026-11-23 to 2126-10-30.
const SIGNING_CERTIFICATE: &str = include_str!("signing-certificate.pem");

/// The image with its last byte, one of the signature, changed.
fn with_spoiled_signature(mut eif: Vec<u8>) -> Vec<u8> {
    const CRC: std::ops::Range<usize> = 544..548;
    *eif.last_mut().unwrap() ^= 1;
    let mut crc = flate2::Crc::new();
    crc.update(&eif[..CRC.start]);
    crc.update(&eif[CRC.end..]);
    eif[CRC].copy_from_slice(&crc.sum().to_be_bytes());
    eif
}

#[test]
fn an_image_whose_signature_an_instance_refuses_is_not_started_unless_told() {
    let stage = Stage::new("image-signed");
    let program = fs::read(stage.compile("image_app")).unwrap();
    let application = write_cpio(&[
        Entry::file("cmd", "./bin/app\n"),
        Entry::file("env", ""),
        Entry::directory("rootfs"),
        Entry::directory("rootfs/bin"),
        Entry::executable("rootfs/bin/app", program),
    ])
    .unwrap();
    let init = write_cpio(&[Entry::executable("init", "")]).unwrap();
    let key = SigningKey::from_slice(&[7; 48]).unwrap();
    let eif = EifBuilder::new(b"no kernel", "quiet")
        .ramdisk(&init)
        .ramdisk(&application)
        .sign(SIGNING_CERTIFICATE, &key)
        .build()
        .unwrap();
    let file = stage.path("signed.eif");
    fs::write(&file, &eif).unwrap();
    let started = |file: &Path, flags: &[&str]| {
        let mut command = run(&stage, User::Own, file, flags);
        let output = command.args(["--root", "host"]).output().unwrap();
        let ran = String::from_utf8_lossy(&output.stdout).contains("uid");
        (ran, said(&output))
    };
    for flags in [
        &["--clock", "2030-01-01T00:00:00Z"][..],
        &[
            "--clock",
            "2126-12-01T00:00:00Z",
            "--allow-expired-signature",
        ],
    ] {
        let (ran, said) = started(&file, flags);
        assert!(ran, "{flags:?}: {said}");
    }
    for (clock, why) in [
        ("2126-12-01T00:00:00Z", "valid until 2126-10-30"),
        ("2020-01-01T00:00:00Z", "valid from 2026-11-23"),
    ] {
        let (ran, said) = started(&file, &["--clock", clock]);
        assert!(!ran, "{said}");
        for part in [why, "E59", "--allow-expired-signature"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    // A signature that does not hold: no flag starts it.
    fs::write(&file, with_spoiled_signature(eif)).unwrap();
    let (ran, said) = started(&file, &["--allow-expired-signature"]);
    assert!(!ran, "{said}");
    for part in ["not by the key", "E59"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
