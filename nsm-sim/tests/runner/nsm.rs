//! `/dev/nsm` for unmodified programs: the driver's rules, asked by C, Rust,
//! Go and Python programs of a device that answers each request with "re:" and the
//! request itself.
//!
//! The device lives in this test program only: a test starts the program again
//! as a supervisor (the `supervises_what_its_environment_says` test, told by the environment).

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Read as _,
    os::unix::ffi::OsStringExt as _,
    process::Command,
};

use crate::support::{Stage, User, succeeds, users};
use aws_nitro_enclaves_nsm_api::{
    api::{Digest, ErrorCode, Request, Response},
    driver::{nsm_exit, nsm_init, nsm_process_request},
};
use nsm_sim::runner::{self, Delivery, NsmDevice, Settings};

const TOLD: &str = "NSM_SIM_TEST_SUPERVISE";
const OLD_KERNEL: &str = "NSM_SIM_TEST_OLD_KERNEL";
const ALL_SLOW: &str = "NSM_SIM_TEST_ALL_SLOW";
const ASKED: &str = "NSM_SIM_TEST_ASK";

/// Answers "re:" and the request; a few requests are special.
#[derive(Default)]
struct Echo {
    counted: u64,
    prepared: u64,
}

impl NsmDevice for Echo {
    fn prepare(&mut self, request: &[u8]) -> Vec<u8> {
        self.prepared = self.counted + u64::from(request == b"count");
        match request {
            b"largest" => vec![b'L'; 12288],
            b"count" | b"counted" => self.prepared.to_string().into_bytes(),
            _ if request == cbor(&Request::DescribeNSM) => cbor(&description()),
            _ if request == cbor(&Request::GetRandom) => cbor(&random()),
            // Busy until somebody opens the pipe for writing.
            _ if request.starts_with(b"wait ") => {
                let pipe = OsString::from_vec(request[5..].to_vec());
                let mut word = String::new();
                File::open(pipe).unwrap().read_to_string(&mut word).unwrap();
                word.into_bytes()
            }
            _ => [b"re:", request].concat(),
        }
    }

    fn settle(&mut self, delivery: Delivery) {
        if delivery == Delivery::Delivered {
            self.counted = self.prepared;
        }
    }

    fn is_quick(&self, request: &[u8]) -> bool {
        !request.starts_with(b"wait ") && std::env::var_os(ALL_SLOW).is_none()
    }
}

/// As the crate encodes it: struct order, definite lengths.
fn cbor<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn random() -> Response {
    Response::GetRandom {
        random: vec![4; 256],
    }
}

fn description() -> Response {
    Response::DescribeNSM {
        version_major: 1,
        version_minor: 0,
        version_patch: 0,
        module_id: "i-0-test".to_owned(),
        max_pcrs: 32,
        locked_pcrs: (0..16).collect(),
        digest: Digest::SHA384,
    }
}

/// Not a test of its own: when told so, this process is a client built on AWS's
/// own crate, a dynamic Rust program.
#[test]
fn asks_what_its_environment_says() {
    if std::env::var_os(ASKED).is_none() {
        return;
    }
    let nsm = nsm_init();
    assert!(nsm >= 0, "nsm_init");
    let ask = move |request| format!("{:?}", nsm_process_request(nsm, request));
    assert_eq!(ask(Request::DescribeNSM), format!("{:?}", description()));
    // A request too long for the crate, and a reply it cannot decode.
    let long = Request::ExtendPCR {
        index: 16,
        data: vec![0; 4096],
    };
    assert_eq!(
        ask(long),
        format!("{:?}", Response::Error(ErrorCode::InputTooLarge))
    );
    let odd = Request::DescribePCR { index: 0 };
    assert_eq!(
        ask(odd),
        format!("{:?}", Response::Error(ErrorCode::InternalError))
    );
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..100 {
                    assert_eq!(ask(Request::GetRandom), format!("{:?}", random()));
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    nsm_exit(nsm);
    println!("asked and answered");
}

#[test]
fn awss_own_crate_is_served() {
    let stage = Stage::new("nsm-crate");
    let client = stage
        .bring(&std::env::current_exe().unwrap(), "client")
        .display()
        .to_string();
    for user in users() {
        let command = [
            client.as_str(),
            "--exact",
            "nsm::asks_what_its_environment_says",
            "--nocapture",
        ];
        let said = succeeds(supervised(&stage, user, &command).env(ASKED, "yes"));
        assert!(said.contains("asked and answered"), "{user:?}: {said}");
    }
}

/// Not a test of its own: when told so, this process is the supervisor.
#[test]
fn supervises_what_its_environment_says() {
    let Some(command) = std::env::var_os(TOLD) else {
        return;
    };
    let command = command.into_vec();
    let words = command
        .split(|byte| *byte == b'\n')
        .map(|word| OsString::from_vec(word.to_vec()));
    let mut settings = Settings::new(words.collect());
    settings.world = format!("nsm-{}", std::process::id()).parse().unwrap();
    settings.device = Some(Box::new(Echo::default()));
    settings.wait_killable = std::env::var_os(OLD_KERNEL).is_none();
    let finished = runner::run(settings).unwrap();
    std::process::exit(i32::from(finished.code));
}

/// `command` under a supervisor with the echoing device.
fn supervised(stage: &Stage, user: User, command: &[&str]) -> Command {
    let program = stage.path("supervisor");
    if !program.exists() {
        stage.bring(&std::env::current_exe().unwrap(), "supervisor");
    }
    let mut supervisor = stage.command(user, &program);
    supervisor.args([
        "--exact",
        "nsm::supervises_what_its_environment_says",
        "--nocapture",
        "--test-threads=1",
    ]);
    supervisor.env(TOLD, command.join("\n"));
    supervisor
}

#[test]
fn a_static_program_finds_the_drivers_rules() {
    let stage = Stage::new("nsm-rules");
    let program = stage.compile("nsm_rules").display().to_string();
    for user in users() {
        let said = succeeds(&mut supervised(&stage, user, &[&program]));
        assert!(said.contains("0 rules broken"), "{user:?}: {said}");
    }
}

#[test]
fn a_static_rust_program_is_served() {
    let stage = Stage::new("nsm-static");
    let program = stage.compile_rust("nsm_static").display().to_string();
    for user in users() {
        let said = succeeds(&mut supervised(&stage, user, &[&program]));
        assert!(said.contains("asked and answered"), "{user:?}: {said}");
    }
}

#[test]
fn a_go_program_is_served_while_its_garbage_is_collected() {
    let stage = Stage::new("nsm-go");
    let Some(program) = stage.compile_go("nsm_go") else {
        return;
    };
    let program = program.display().to_string();
    for user in users() {
        let said = succeeds(&mut supervised(&stage, user, &[&program]));
        assert!(said.contains("asked and answered"), "{user:?}: {said}");
    }
}

#[test]
fn python_finds_the_device_by_fcntl() {
    let stage = Stage::new("nsm-python");
    let Some(python) = crate::support::python() else {
        return;
    };
    let script = r#"
import ctypes, errno, fcntl, os, struct
assert os.path.exists("/dev/nsm") and os.access("/dev/nsm", os.R_OK | os.W_OK)
assert not os.path.isfile("/dev/nsm") and not os.path.islink("/dev/nsm")
with open("/dev/nsm", "r+b", buffering=0) as nsm:
    request, reply = ctypes.create_string_buffer(b"hello", 5), ctypes.create_string_buffer(64)
    raw = bytearray(struct.pack("=QQQQ", ctypes.addressof(request), 5, ctypes.addressof(reply), 64))
    fcntl.ioctl(nsm, 0xC0200A00, raw)
    assert struct.unpack("=QQQQ", raw)[3] == 8 and reply.raw[:8] == b"re:hello"
    try: fcntl.ioctl(nsm, 0xC0200A00, struct.pack("=QQQQ", 8, 4097, 8, 8))
    except OSError as e: assert e.errno == errno.EMSGSIZE
    else: raise SystemExit("too long")
open("/dev/nsm", "r+").close()
print("found")
"#;
    fs::write(stage.path("client.py"), script).unwrap();
    for user in users() {
        let script = stage.path("client.py").display().to_string();
        let command = [python.to_str().unwrap(), &script];
        let said = succeeds(&mut supervised(&stage, user, &command));
        assert!(said.contains("found"), "{user:?}: {said}");
    }
}

#[test]
fn a_busy_device_holds_up_nothing_else() {
    let stage = Stage::new("nsm-busy");
    let program = stage.compile("nsm_busy").display().to_string();
    for user in users() {
        let pipe = stage.path(&format!("pipe-{user:?}")).display().to_string();
        let said = succeeds(&mut supervised(&stage, user, &[&program, &pipe]));
        assert!(said.contains("went on"), "{user:?}: {said}");
    }
}

#[test]
fn a_storm_of_signals_neither_loses_nor_repeats_a_request_even_on_an_older_kernel() {
    let stage = Stage::new("nsm-storm");
    let program = stage.compile("nsm_storm").display().to_string();
    for user in users() {
        // Where signals do not wait, too many of them let nothing finish.
        // Both on the spot and by the device's own thread.
        for (old_kernel, all_slow, every_us) in [
            (false, false, "50"),
            (false, true, "50"),
            (true, false, "300"),
            (true, true, "300"),
        ] {
            let mut command = supervised(&stage, user, &[&program, "2000", every_us]);
            if old_kernel {
                command.env(OLD_KERNEL, "yes");
            }
            if all_slow {
                command.env(ALL_SLOW, "yes");
            }
            let said = succeeds(&mut command);
            assert!(said.contains("2000 counted"), "{user:?}: {said}");
        }
    }
}
