//! `nsm-sim eif`: build, describe and compare enclave images.
//!
//! Models what `nitro-cli build-enclave` and `describe-eif` do with kernel,
//! command line and ramdisks. Does not model turning a container image into
//! ramdisks; `build --rootfs` makes one from a folder.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail, ensure};
use nsm_sim::eif::{
    Architecture, EIF_BYTES_MAX, Eif, EifBuilder, diff,
    ramdisk::{Entry, EntryKind, write_cpio, write_cpio_gz},
    reproducible_metadata,
};
use p384::pkcs8::DecodePrivateKey as _;
use zeroize::Zeroizing;

/// Build, describe and compare enclave image files.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Put an image together; the same inputs give the same bytes.
    Build(Box<Build>),
    /// Print registers, sections, metadata and signature of an image.
    Describe(Describe),
    /// Name the section, the file and the bytes that make two images measure
    /// differently. Exits with 1 if a register differs.
    Diff(Diff),
}

#[derive(Debug, clap::Args)]
struct Build {
    /// Kernel image.
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// The kernel's command line, as text.
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "cmdline_file",
        required_unless_present = "cmdline_file"
    )]
    cmdline: Option<String>,
    /// The kernel's command line, from a file; one final newline is dropped.
    #[arg(long, value_name = "FILE")]
    cmdline_file: Option<PathBuf>,
    /// Ramdisk, as it is; the first boots, the others are the application.
    #[arg(long = "ramdisk", value_name = "FILE", required = true)]
    ramdisks: Vec<PathBuf>,
    /// Add an application ramdisk with this folder as its root file system.
    /// Owners and times are dropped, so that a copy gives the same bytes.
    #[arg(long, value_name = "FOLDER", requires = "program")]
    rootfs: Option<PathBuf>,
    /// With --rootfs: environment of the program.
    #[arg(long, value_name = "KEY=VALUE", requires = "rootfs")]
    env: Vec<String>,
    /// With --rootfs: compress the ramdisk.
    #[arg(long, requires = "rootfs")]
    gzip: bool,
    /// Metadata section from a JSON file, as it is. Not measured.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "image_version"])]
    metadata: Option<PathBuf>,
    /// Write a metadata section with this image name.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Image version in the metadata section.
    #[arg(long, value_name = "TEXT", requires = "name", default_value = "0")]
    image_version: String,
    /// What the kernel runs on.
    #[arg(long, value_parser = ["x86_64", "aarch64"], default_value = "x86_64")]
    arch: String,
    /// Sign PCR0: the PEM certificate of a P-384 key.
    #[arg(long, value_name = "FILE", requires = "private_key")]
    signing_certificate: Option<PathBuf>,
    /// Sign PCR0: the certificate's private key, PEM (PKCS #8 or SEC 1).
    #[arg(long, value_name = "FILE", requires = "signing_certificate")]
    private_key: Option<PathBuf>,
    /// Where to write the image.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Print the registers as JSON.
    #[arg(long)]
    json: bool,
    /// With --rootfs: program and arguments that the image starts.
    #[arg(last = true, value_name = "PROGRAM", requires = "rootfs")]
    program: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Describe {
    /// The image.
    image: PathBuf,
    /// Print JSON, with the official tool's field names where it has them.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Diff {
    /// One image.
    a: PathBuf,
    /// The other.
    b: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Build(args) => build(&args),
        Verb::Describe(args) => describe(&args),
        Verb::Diff(args) => compare(&args),
    }
}

fn build(args: &Build) -> anyhow::Result<ExitCode> {
    let kernel = read(&args.kernel)?;
    let cmdline = match (&args.cmdline, &args.cmdline_file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => {
            let text = String::from_utf8(read(file)?)
                .with_context(|| format!("{} is not UTF-8 text", file.display()))?;
            text.strip_suffix('\n').unwrap_or(&text).to_owned()
        }
        (None, None) => String::new(),
    };
    let mut ramdisks = args
        .ramdisks
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(folder) = &args.rootfs {
        ramdisks.push(application_ramdisk(
            folder,
            &args.program,
            &args.env,
            args.gzip,
        )?);
    }

    let mut builder = EifBuilder::new(&kernel, &cmdline).architecture(match args.arch.as_str() {
        "aarch64" => Architecture::Aarch64,
        _ => Architecture::X86_64,
    });
    for ramdisk in &ramdisks {
        builder = builder.ramdisk(ramdisk);
    }
    if let Some(file) = &args.metadata {
        builder = builder.metadata(read(file)?);
    } else if let Some(name) = &args.name {
        builder = builder.metadata(reproducible_metadata(name, &args.image_version));
    }
    let signer = match (&args.signing_certificate, &args.private_key) {
        (Some(certificate), Some(key)) => Some((text(certificate)?, private_key(key)?)),
        _ => None,
    };
    if let Some((certificate, key)) = &signer {
        builder = builder.sign(certificate, key);
    }

    let file = builder.build()?;
    fs::write(&args.output, &file)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    // Of what was written, read again: a builder that errs says so here.
    print(&Eif::read(&file)?.describe(), args.json)?;
    Ok(ExitCode::SUCCESS)
}

fn describe(args: &Describe) -> anyhow::Result<ExitCode> {
    let file = read(&args.image)?;
    let image = open(&args.image, &file)?;
    print(&image.describe(), args.json)?;
    Ok(ExitCode::SUCCESS)
}

fn compare(args: &Diff) -> anyhow::Result<ExitCode> {
    let (a, b) = (read(&args.a)?, read(&args.b)?);
    let difference = diff::diff(&open(&args.a, &a)?, &open(&args.b, &b)?);
    print(&difference, args.json)?;
    Ok(if difference.measures_the_same() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn open<'a>(path: &Path, file: &'a [u8]) -> anyhow::Result<Eif<'a>> {
    Eif::read(file).with_context(|| path.display().to_string())
}

fn print(value: &(impl serde::Serialize + std::fmt::Display), json: bool) -> anyhow::Result<()> {
    let mut text = if json {
        serde_json::to_string_pretty(value)?
    } else {
        value.to_string()
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // `nsm-sim eif describe … | head` is not a failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Reads a file of at most the size an image may have.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let expected = file
        .metadata()
        .map_or(0, |metadata| metadata.len())
        .min(EIF_BYTES_MAX);
    let mut bytes = Vec::with_capacity(usize::try_from(expected)?.saturating_add(1));
    file.take(EIF_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        u64::try_from(bytes.len()).is_ok_and(|length| length <= EIF_BYTES_MAX),
        "{} has more than {EIF_BYTES_MAX} bytes, the most an image may have",
        path.display()
    );
    Ok(bytes)
}

fn text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read(path)?).with_context(|| format!("{} is not UTF-8 text", path.display()))
}

fn private_key(path: &Path) -> anyhow::Result<p384::ecdsa::SigningKey> {
    let pem = Zeroizing::new(read(path)?);
    let pem = std::str::from_utf8(&pem).ok();
    pem.and_then(|pem| {
        p384::SecretKey::from_pkcs8_pem(pem)
            .ok()
            .or_else(|| p384::SecretKey::from_sec1_pem(pem).ok())
    })
    .map(p384::ecdsa::SigningKey::from)
    .with_context(|| format!("{} holds no P-384 private key in PEM", path.display()))
}

/// An application ramdisk in the layout that the image's init starts from.
fn application_ramdisk(
    folder: &Path,
    program: &[String],
    env: &[String],
    gzip: bool,
) -> anyhow::Result<Vec<u8>> {
    if let Some(bad) = program
        .iter()
        .chain(env)
        .find(|text| text.contains(['\n', '\0']))
    {
        bail!("{bad:?}: a line break or NUL cannot be written to the image's /cmd and /env");
    }
    if let Some(bad) = env
        .iter()
        .find(|text| text.find('=').is_none_or(|at| at == 0))
    {
        bail!("--env {bad:?} is not of the form KEY=VALUE");
    }
    let lines = |lines: &[String]| {
        lines
            .iter()
            .fold(String::new(), |text, line| text + line + "\n")
    };
    let mut entries = vec![
        Entry::file("cmd", lines(program)),
        Entry::file("env", lines(env)),
        Entry::directory("rootfs"),
    ];
    add_folder(folder, "rootfs", &mut entries)?;
    Ok(if gzip {
        write_cpio_gz(&entries)?
    } else {
        write_cpio(&entries)?
    })
}

/// Adds a folder's contents, sorted by name, without following links.
fn add_folder(folder: &Path, inside: &str, entries: &mut Vec<Entry>) -> anyhow::Result<()> {
    let cannot_read = || format!("cannot read {}", folder.display());
    let mut names = BTreeMap::new();
    for found in fs::read_dir(folder).with_context(cannot_read)? {
        let found = found.with_context(cannot_read)?;
        let name =
            found.file_name().into_string().ok().with_context(|| {
                format!("the name of {} is not UTF-8 text", found.path().display())
            })?;
        names.insert(name, found.path());
    }
    for (name, path) in names {
        let cannot_read = || format!("cannot read {}", path.display());
        let metadata = fs::symlink_metadata(&path).with_context(cannot_read)?;
        let inside = format!("{inside}/{name}");
        let kind =
            if metadata.is_dir() {
                EntryKind::Directory
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).with_context(cannot_read)?;
                EntryKind::Symlink(target.into_os_string().into_string().ok().with_context(
                    || format!("the target of {} is not UTF-8 text", path.display()),
                )?)
            } else if metadata.is_file() {
                EntryKind::File(read(&path)?)
            } else {
                bail!("{} is a device node, pipe or socket", path.display());
            };
        entries.push(Entry::new(inside.clone(), mode(&metadata), kind));
        if metadata.is_dir() {
            add_folder(&path, &inside, entries)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn mode(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777
}

#[cfg(not(unix))]
fn mode(metadata: &fs::Metadata) -> u32 {
    if metadata.is_dir() { 0o755 } else { 0o644 }
}
