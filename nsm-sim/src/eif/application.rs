//! The application inside an image's ramdisks.
//!
//! Models the layout that AWS's enclave builder makes and its init starts from:
//! `/cmd` with one argument a line, `/env` with one KEY=VALUE a line, and the
//! root file system under `/rootfs`. The ramdisks after the first are laid over
//! each other in order, as the kernel unpacks them. Does not model: a hard link
//! whose file a later ramdisk replaces (it then names the new file), and images whose
//! application is inside the first ramdisk's own init.

use std::collections::BTreeMap;

use super::{
    EifError,
    ramdisk::{Entry, EntryKind, RamdiskError, read_cpio},
};

/// `/cmd` and `/env` are short texts; anything larger is not them.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// What an image's init would start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The program (a path inside the root file system, or a name to be found in
    /// its `PATH`) and its arguments; at least the program.
    pub cmd: Vec<String>,
    /// The whole environment, in the image's order.
    pub env: Vec<(String, String)>,
    /// The root file system, with paths relative to it. A path occurs once.
    pub rootfs: Vec<Entry>,
}

/// Why an image's ramdisks hold nothing that could be started.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplicationError {
    /// No ramdisk after the first.
    #[error("the image has no application ramdisk: its only ramdisk is the boot ramdisk")]
    NoRamdisk,
    /// No file of that name.
    #[error("the application ramdisk has no file /{name}")]
    NoFile {
        /// `cmd` or `env`.
        name: &'static str,
    },
    /// A text file that is none.
    #[error("/{name} is not UTF-8 text of at most 1 MiB without NUL")]
    NotText {
        /// `cmd` or `env`.
        name: &'static str,
    },
    /// `/cmd` has no first line.
    #[error("/cmd names no program")]
    NoProgram,
    /// A line of `/env` is not an assignment.
    #[error("line {line} of /env is not of the form KEY=VALUE")]
    NoAssignment {
        /// Counted from 1.
        line: usize,
    },
    /// A hard link in the root file system to a file outside of it.
    #[error("/{path} is a hard link to a file outside /rootfs")]
    HardLinkOutside {
        /// The link.
        path: String,
    },
}

pub(crate) fn application<'a>(
    ramdisks: impl Iterator<Item = &'a [u8]>,
) -> Result<Application, EifError> {
    // By cleaned path; what comes later replaces what came before.
    let mut tree: BTreeMap<String, Entry> = BTreeMap::new();
    let mut any = false;
    for (index, ramdisk) in ramdisks.enumerate().skip(1) {
        any = true;
        let in_ramdisk = |source| EifError::Ramdisk { index, source };
        // An empty section is an empty disk, not a broken archive.
        let entries = if ramdisk.is_empty() {
            Vec::new()
        } else {
            read_cpio(ramdisk).map_err(in_ramdisk)?
        };
        for entry in entries {
            tree.insert(clean(&entry.path), entry);
        }
        if tree.len() > super::ramdisk::ENTRIES_MAX {
            return Err(in_ramdisk(RamdiskError::TooManyEntries));
        }
    }
    if !any {
        return Err(ApplicationError::NoRamdisk.into());
    }
    let cmd = arguments(text(&tree, "cmd")?)?;
    // An image without an environment is one with an empty environment.
    let env = match text(&tree, "env") {
        Ok(text) => assignments(text)?,
        Err(ApplicationError::NoFile { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut rootfs = Vec::new();
    for (path, mut entry) in tree {
        let Some(inside) = path.strip_prefix("rootfs/") else {
            continue;
        };
        if let EntryKind::HardLink(to) = &mut entry.kind {
            match clean(to).strip_prefix("rootfs/") {
                Some(inside) => *to = inside.to_owned(),
                None => return Err(ApplicationError::HardLinkOutside { path }.into()),
            }
        }
        entry.path = inside.to_owned();
        rootfs.push(entry);
    }
    Ok(Application { cmd, env, rootfs })
}

/// A path without `.` components and superfluous slashes. `..` stays: refusing
/// it is the unpacker's business.
fn clean(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    parts.join("/")
}

fn text<'a>(
    tree: &'a BTreeMap<String, Entry>,
    name: &'static str,
) -> Result<&'a str, ApplicationError> {
    let mut entry = tree.get(name);
    if let Some(Entry {
        kind: EntryKind::HardLink(to),
        ..
    }) = entry
    {
        entry = tree.get(&clean(to));
    }
    let Some(Entry {
        kind: EntryKind::File(content),
        ..
    }) = entry
    else {
        return Err(ApplicationError::NoFile { name });
    };
    std::str::from_utf8(content)
        .ok()
        .filter(|text| text.len() <= TEXT_BYTES_MAX && !text.contains('\0'))
        .ok_or(ApplicationError::NotText { name })
}

/// Lines as `getline` gives them: only the final newline ends no further line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.split('\n')
        .take(if text.is_empty() { 0 } else { usize::MAX })
}

fn arguments(text: &str) -> Result<Vec<String>, ApplicationError> {
    let arguments: Vec<String> = lines(text).map(str::to_owned).collect();
    match arguments.first() {
        Some(program) if !program.is_empty() => Ok(arguments),
        _ => Err(ApplicationError::NoProgram),
    }
}

fn assignments(text: &str) -> Result<Vec<(String, String)>, ApplicationError> {
    lines(text)
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| match line.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(ApplicationError::NoAssignment { line: index + 1 }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eif::ramdisk::write_cpio;

    fn of(layers: &[&[Entry]]) -> Result<Application, EifError> {
        let mut disks = vec![write_cpio(&[Entry::file("init", "")]).unwrap()];
        disks.extend(layers.iter().map(|layer| write_cpio(layer).unwrap()));
        application(disks.iter().map(Vec::as_slice))
    }

    #[test]
    fn later_ramdisks_replace_files_of_earlier_ones() {
        let application = of(&[
            &[
                Entry::file("./cmd", "/bin/app\n\nlast"),
                Entry::file("/env", "A=1\n\nB=x=y\nC=\n"),
                Entry::directory("rootfs"),
                Entry::file("rootfs/motd", "old"),
                Entry::new(
                    "rootfs/copy",
                    0o644,
                    EntryKind::HardLink("rootfs/motd".into()),
                ),
                Entry::file("beside", ""),
            ],
            &[Entry::file("rootfs/./motd", "new")],
        ])
        .unwrap();
        assert_eq!(application.cmd, ["/bin/app", "", "last"]);
        let env: Vec<String> = application
            .env
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(env, ["A=1", "B=x=y", "C="]);
        assert_eq!(
            application.rootfs,
            [
                Entry::new("copy", 0o644, EntryKind::HardLink("motd".into())),
                Entry::file("motd", "new")
            ]
        );
    }

    #[test]
    fn refuses_ramdisks_without_an_application_and_says_what_is_missing() {
        use ApplicationError as Missing;
        let file = |name: &str, text: &str| Entry::file(name, text);
        for (layers, expected) in [
            (vec![], Missing::NoRamdisk),
            (vec![vec![file("env", "")]], Missing::NoFile { name: "cmd" }),
            (vec![vec![file("cmd", "")]], Missing::NoProgram),
            (vec![vec![file("cmd", "\n/bin/app\n")]], Missing::NoProgram),
            (
                vec![vec![file("cmd", "a\0b")]],
                Missing::NotText { name: "cmd" },
            ),
            (
                vec![vec![file("cmd", "a"), file("env", "A=1\nB\n")]],
                Missing::NoAssignment { line: 2 },
            ),
            (
                vec![vec![
                    file("cmd", "a"),
                    Entry::new("rootfs/x", 0o644, EntryKind::HardLink("cmd".into())),
                ]],
                Missing::HardLinkOutside {
                    path: "rootfs/x".into(),
                },
            ),
        ] {
            let layers: Vec<&[Entry]> = layers.iter().map(Vec::as_slice).collect();
            assert_eq!(of(&layers), Err(expected.into()));
        }
    }
}
