//! Hostile files against the decoder that ships, in a process of its own.
//!
//! The files are those of the corpus, those that once did harm, made anew, and
//! amplifiers of each format: few bytes that ask for much work. Each must be refused
//! within the memory and the processor time that the specification names, and by a
//! check, not by running into the process's bounds.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use enclave_app::{
    enclave::worker::{
        Decode as _, WorkerBounds, Workers,
        child::ARGUMENT,
        protocol::{header, read_reply},
    },
    image::Limits,
    job::refusal::ImageFault,
};

/// Memory and processor time in which a hostile file is refused.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
const CPU_MAX: Duration = Duration::from_millis(500);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_enclave-app"))
}

fn little(value: usize) -> [u8; 4] {
    (value as u32).to_le_bytes()
}

fn element(group: u16, number: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut bytes = [group.to_le_bytes(), number.to_le_bytes()].concat();
    bytes.extend_from_slice(vr);
    if [b"OB", b"OW", b"SQ"].contains(&vr) {
        bytes.extend([0, 0]);
        bytes.extend(little(value.len()));
    } else {
        bytes.extend((value.len() as u16).to_le_bytes());
    }
    bytes.extend_from_slice(value);
    bytes
}

fn dicom(syntax: &[u8], data_set: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    // How long the group is: a deflated data set may look like more of it.
    let syntax = element(2, 0x10, b"UI", syntax);
    file.extend(element(2, 0, b"UL", &little(syntax.len())));
    file.extend(syntax);
    file.extend_from_slice(data_set);
    file
}

fn explicit(data_set: &[u8]) -> Vec<u8> {
    dicom(b"1.2.840.10008.1.2.1\0", data_set)
}

fn deflated(data_set: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data_set).unwrap();
    dicom(b"1.2.840.10008.1.2.1.99", &encoder.finish().unwrap())
}

const ITEM: [u8; 4] = [0xfe, 0xff, 0x00, 0xe0];

fn item(content: &[u8]) -> Vec<u8> {
    [&ITEM, little(content.len()).as_slice(), content].concat()
}

/// A picture of 8 bits a pixel whose frame is `frame`.
fn compressed(syntax: &[u8], rows: u16, columns: u16, frame: &[u8]) -> Vec<u8> {
    let mut data_set = Vec::new();
    let fields = [
        (2, 1),
        (0x10, rows),
        (0x11, columns),
        (0x100, 8),
        (0x101, 8),
        (0x102, 7),
        (0x103, 0),
    ];
    for (number, value) in fields {
        data_set.extend(element(0x28, number, b"US", &value.to_le_bytes()));
        if number == 2 {
            data_set.extend(element(0x28, 4, b"CS", b"MONOCHROME2 "));
        }
    }
    data_set.extend(element(0x7fe0, 0x10, b"OB", b""));
    let length = data_set.len() - 4;
    data_set[length..].fill(0xff);
    data_set.extend(item(b""));
    data_set.extend_from_slice(frame);
    data_set.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    dicom(syntax, &data_set)
}

/// A JPEG 2000 header of so many tiles and layers, and nothing behind it.
fn jpeg2000(side: u16, tile: u32, layers: u16) -> Vec<u8> {
    let mut bytes = vec![0xff, 0x4f, 0xff, 0x51, 0, 41, 0, 0];
    for value in [side.into(), side.into(), 0, 0, tile, tile, 0, 0] {
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    bytes.extend([0, 1, 7, 1, 1, 0xff, 0x52, 0, 12, 0, 0]);
    bytes.extend(layers.to_be_bytes());
    bytes.extend([0, 5, 4, 4, 0, 1, 0xff, 0x90, 0, 10]);
    bytes.resize(bytes.len() + 4096, 0);
    compressed(b"1.2.840.10008.1.2.4.90", side, side, &item(&bytes))
}

fn png(middle: &[u8], width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], content: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(content);
        let length = (content.len() as u32).to_be_bytes();
        [&length, kind.as_slice(), content, &crc.sum().to_be_bytes()].concat()
    };
    let mut head = [width.to_be_bytes(), height.to_be_bytes()].concat();
    head.extend([16, 6, 0, 0, 0]);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&vec![0; 1 << 20]).unwrap();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &head),
        middle.to_vec(),
        chunk(b"IDAT", &zlib.finish().unwrap()),
        chunk(b"IEND", b""),
    ]
    .concat()
}

/// A progressive JPEG of the largest size and so many scans of nearly no bytes.
fn jpeg_scans(scans: usize) -> Vec<u8> {
    let mut file = vec![
        0xff, 0xd8, 0xff, 0xc2, 0, 11, 8, 0x16, 0x00, 0x16, 0x00, 1, 1, 0x11, 0,
    ];
    // One table of one code: AC symbol E0, an end-of-band run of 16,384 blocks and more.
    file.extend([0xff, 0xc4, 0, 20, 0x10, 1]);
    file.extend([0; 15]);
    file.push(0xe0);
    let mut scan = vec![0xff, 0xda, 0, 8, 1, 1, 0, 1, 63, 0];
    scan.extend([0x55; 96]);
    file.extend(scan.repeat(scans));
    // As many bytes as such an image must have.
    file.extend([0xff, 0xfe, 0xff, 0xff]);
    file.resize(file.len() + 65_533, 0);
    file.extend([0xff, 0xd9]);
    file
}

/// Files of up to 64 MB that ask for more than they are worth.
fn amplifiers() -> Vec<(&'static str, Vec<u8>)> {
    let empty = |count: usize| -> Vec<u8> {
        let tags = 0x0029_0000..0x0029_0000 + count as u32;
        tags.flat_map(|tag| {
            let [low, high, group, _] = tag.to_le_bytes();
            [group, 0, low, high, b'L', b'O', 0, 0]
        })
        .collect()
    };
    let table = |content: &[u8]| element(0x28, 0x3000, b"SQ", &item(content));
    let name = [element(0x10, 0x10, b"PN", b"QUIXOTE^ALONSO^Z"), vec![0; 9]].concat();
    let mut short_name = explicit(&name);
    let at = short_name
        .windows(2)
        .position(|pair| pair == b"PN")
        .unwrap();
    short_name[at + 2] = 8;
    vec![
        ("a patient's name 8 bytes short", short_name),
        (
            "8 million elements in a lookup table, deflated",
            deflated(&table(&empty(8_000_000))),
        ),
        (
            "8 million elements in a lookup table",
            explicit(&table(&empty(8_000_000))),
        ),
        ("8 million elements", explicit(&empty(8_000_000))),
        (
            "8 million items",
            explicit(&element(0x28, 0x3010, b"SQ", &item(b"").repeat(8_000_000))),
        ),
        (
            "8 million items, deflated",
            deflated(&element(0x28, 0x3010, b"SQ", &item(b"").repeat(8_000_000))),
        ),
        ("200 MB of nothing, deflated", deflated(&vec![0; 200 << 20])),
        (
            "200 MB of one element, deflated",
            deflated(&element(0x29, 1, b"OB", &vec![0; 200 << 20])),
        ),
        (
            "8 million fragments",
            compressed(
                b"1.2.840.10008.1.2.4.50",
                8,
                8,
                &item(b"").repeat(8_000_000),
            ),
        ),
        ("4 million tiles", jpeg2000(4096, 2, 1)),
        ("65,535 layers", jpeg2000(4096, 4096, 65_535)),
        (
            "5 million chunks",
            png(
                &[0, 0, 0, 0, b'a', b'b', b'c', b'd', 0, 0, 0, 0].repeat(5_000_000),
                64,
                64,
            ),
        ),
        (
            "a PNG of 8 bytes a pixel and 33 million pixels",
            png(b"", 5632, 5632),
        ),
        ("a PNG of 2^62 pixels", png(b"", 1 << 31, 1 << 31)),
        ("2,000 JPEG scans of 31 million pixels", jpeg_scans(2000)),
        ("64 JPEG scans of 31 million pixels", jpeg_scans(64)),
    ]
}

/// The corpus's bad files; none without the corpus.
fn bad_files() -> Vec<(String, Vec<u8>)> {
    let root = std::env::var_os("DRYDOCK_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    let Ok(files) = std::fs::read_dir(root.join("images/dicom_bad")) else {
        assert!(std::env::var_os("CI").is_none(), "no corpus");
        println!("without the corpus");
        return Vec::new();
    };
    files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

/// What a worker answers within [`MEMORY_BYTES_MAX`], and its processor time.
fn measured(folder: &Path, file: &[u8]) -> (Vec<u8>, Duration) {
    let input = folder.join("input");
    let request = [&header(&Limits::default(), file.len()), file].concat();
    std::fs::write(&input, request).unwrap();
    let answer = folder.join("answer");
    // No file is larger than nothing for a worker: it writes into a pipe.
    let script = "\"$1\" \"$2\" \"$3\" 10 100 < \"$4\" | cat > \"$5\"; times";
    let shell = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(program())
        .args([ARGUMENT, &MEMORY_BYTES_MAX.to_string()])
        .args([&input, &answer])
        .output()
        .unwrap();
    let times = String::from_utf8(shell.stdout).unwrap();
    let children = times.lines().last().unwrap();
    let seconds: f64 = children
        .split_whitespace()
        .map(|time| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
            minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
        })
        .sum();
    (
        std::fs::read(answer).unwrap(),
        Duration::from_secs_f64(seconds),
    )
}

#[test]
fn every_hostile_file_is_refused_by_a_check_in_little_time_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let made = amplifiers();
    let bad = bad_files();
    let files = made
        .iter()
        .map(|(name, file)| (*name, file))
        .chain(bad.iter().map(|(name, file)| (name.as_str(), file)));
    let mut report = String::new();
    let mut failed = false;
    for (name, file) in files {
        let (answer, cpu) = measured(folder.path(), file);
        let outcome = match read_reply(&answer) {
            None => "no answer".to_owned(),
            Some(Ok(_)) => "decoded".to_owned(),
            Some(Err(setback)) => format!("{:?}: {}", setback.fault, *setback.detail),
        };
        // Two of the corpus are odd but sound.
        let sound = ["bad_sequence.dcm", "explicit_VR-UN.dcm"].contains(&name);
        let as_meant = match read_reply(&answer) {
            Some(Ok(_)) => sound,
            Some(Err(setback)) => setback.fault != Some(ImageFault::TooCostly),
            None => false,
        };
        let wrong = !as_meant || cpu > CPU_MAX;
        failed |= wrong;
        writeln!(
            report,
            "{} {:>5} ms {:>9} bytes  {name}: {outcome}",
            if wrong { "WRONG" } else { "  ok " },
            cpu.as_millis(),
            file.len(),
        )
        .unwrap();
    }
    println!("{report}");
    assert!(!failed, "\n{report}");
}

#[tokio::test]
async fn what_runs_into_its_bounds_costs_its_own_process_and_the_next_works() {
    let bounds = WorkerBounds {
        memory_bytes_max: 128 << 20,
        cpu_s_max: 1,
        threads_max: 1000,
    };
    // Without limits but the process's own.
    let boundless = Limits {
        pixels_max: u64::MAX,
        inflated_bytes_max: usize::MAX >> 1,
        elements_max: u32::MAX,
        items_max: u32::MAX,
        fragments_max: u32::MAX,
        ..Limits::default()
    };
    let workers = Workers::start(program(), boundless, bounds).unwrap();
    let bomb = deflated(&element(0x29, 1, b"OB", &vec![0; 200 << 20]));
    for _ in 0..3 {
        let setback = workers.decode(&bomb).await.unwrap_err();
        assert_eq!(
            setback.fault,
            Some(ImageFault::TooCostly),
            "{}",
            *setback.detail
        );
        workers.check().await.unwrap();
    }
}

#[test]
fn a_worker_can_open_nothing_and_knows_nothing() {
    let mut child = Command::new(program())
        .args([ARGUMENT, &MEMORY_BYTES_MAX.to_string(), "7", "1234"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let limit = |name: &str| {
        let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let mut values = line[name.len()..].split_whitespace().map(str::to_owned);
        (values.next().unwrap(), values.next().unwrap())
    };
    // The last bound that it sets.
    let begun = Instant::now();
    while limit("Max open files").1 != "3" {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it bounds nothing"
        );
        std::thread::yield_now();
    }
    for (name, value) in [
        ("Max address space", MEMORY_BYTES_MAX.to_string()),
        ("Max cpu time", "7".into()),
        ("Max file size", "0".into()),
        ("Max core file size", "0".into()),
        ("Max processes", "1234".into()),
    ] {
        assert_eq!(limit(name), (value.clone(), value), "{name}");
    }
    // Whoever started the tests may have left them descriptors; the worker has none of
    // a device or a network.
    for entry in std::fs::read_dir(proc.join("fd")).unwrap() {
        let target = std::fs::read_link(entry.unwrap().path()).unwrap();
        let target = target.to_string_lossy().into_owned();
        assert!(
            !target.starts_with("socket:") && !target.contains("nsm") && !target.contains("vsock"),
            "{target}"
        );
    }
    assert_eq!(std::fs::read(proc.join("environ")).unwrap(), b"");
    let threads = std::fs::read_dir(proc.join("task")).unwrap().count();
    assert_eq!(threads, 1);
    // Its pipe ends: so does it, without an answer.
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}
