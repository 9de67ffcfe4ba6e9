//! Why two images measure differently: the section, the file inside the ramdisk,
//! and the bytes that moved a register.
//!
//! Models no AWS tool. Sections are paired by kind and, for ramdisks, by number;
//! files inside ramdisks by name.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{
    Eif,
    describe::{names, printable},
    ramdisk::{self, Entry, EntryKind},
};

/// Runs of differing bytes that are listed in full; the rest is counted.
const RUNS_MAX: usize = 8;
/// Bytes of a run that are shown.
const SHOWN_BYTES: usize = 16;
/// Equal bytes that end a run: shorter stretches are shown as part of it.
const GAP_BYTES: usize = 8;
/// Files that the text lists for one ramdisk; JSON has all of them.
const FILES_SHOWN: usize = 40;

/// How image B differs from image A.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The registers that differ.
    pub registers: Vec<RegisterChange>,
    /// Facts of the header that differ, one sentence each. Not measured.
    pub header: Vec<String>,
    /// The sections that differ, measured or not.
    pub sections: Vec<SectionChange>,
}

/// A register with two values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RegisterChange {
    /// Its number.
    pub pcr: u8,
    /// Its value in A, in hex; absent if A has none (PCR8 of an unsigned image).
    pub a: Option<String>,
    /// Its value in B.
    pub b: Option<String>,
    /// The sections that moved it.
    pub because_of: Vec<String>,
}

/// A section that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SectionChange {
    /// `kernel`, `cmdline`, `metadata`, `ramdisk 0`, … or `signature`.
    pub section: String,
    /// The registers it goes into; none for metadata.
    pub pcrs: Vec<u8>,
    /// What changed.
    pub change: Change<SectionDetail>,
}

/// Something present in one or both images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change<T> {
    /// Only in B.
    Added,
    /// Only in A.
    Removed,
    /// In both, not the same.
    Changed(T),
}

/// How a section changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SectionDetail {
    /// The section's own bytes, as measured.
    pub bytes: BytesChange,
    /// For a ramdisk: the entries that differ.
    pub files: Vec<FileChange>,
    /// What the bytes alone do not say, such as equal files in another order.
    pub note: Option<String>,
}

/// An entry of a ramdisk that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileChange {
    /// Its name.
    pub path: String,
    /// What changed.
    pub change: Change<FileDetail>,
}

/// How an entry changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileDetail {
    /// Changes of mode, owner, time, type or target, one sentence each.
    pub attributes: Vec<String>,
    /// The content of a regular file, if it changed.
    pub content: Option<BytesChange>,
}

/// Two byte strings that are not equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BytesChange {
    /// Length in A.
    pub size_a: usize,
    /// Length in B.
    pub size_b: usize,
    /// The first runs of differing bytes. For strings of different lengths there
    /// is one, between their common beginning and their common end.
    pub runs: Vec<Run>,
    /// Runs that are not listed.
    pub more_runs: usize,
}

/// Bytes that differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Run {
    /// Where they start, in both.
    pub offset: usize,
    /// How many there are in A.
    pub length_a: usize,
    /// How many there are in B.
    pub length_b: usize,
    /// The first of them in A, in hex.
    pub a: String,
    /// The first of them in B, in hex.
    pub b: String,
}

impl Difference {
    /// Whether every register is the same: the images are one to any verifier.
    #[must_use]
    pub fn measures_the_same(&self) -> bool {
        self.registers.is_empty()
    }
}

/// Compares two images.
#[must_use]
pub fn diff(a: &Eif<'_>, b: &Eif<'_>) -> Difference {
    let sections = sections(a, b);
    let (measured_a, measured_b) = (a.measurements(), b.measurements());
    let register = |pcr: u8, a: Option<&[u8; 48]>, b: Option<&[u8; 48]>| {
        (a != b).then(|| RegisterChange {
            pcr,
            a: a.map(hex::encode),
            b: b.map(hex::encode),
            because_of: sections
                .iter()
                .filter(|section| section.pcrs.contains(&pcr))
                .map(|section| section.section.clone())
                .collect(),
        })
    };
    let registers = [
        register(0, Some(&measured_a.pcr0), Some(&measured_b.pcr0)),
        register(1, Some(&measured_a.pcr1), Some(&measured_b.pcr1)),
        register(2, Some(&measured_a.pcr2), Some(&measured_b.pcr2)),
        register(8, measured_a.pcr8.as_ref(), measured_b.pcr8.as_ref()),
    ];
    let (header_a, header_b) = (a.header(), b.header());
    let fact =
        |name: &str, a: String, b: String| (a != b).then(|| format!("{name} {a} became {b}"));
    let header = [
        fact(
            "version",
            header_a.version.to_string(),
            header_b.version.to_string(),
        ),
        fact(
            "architecture",
            header_a.architecture.to_string(),
            header_b.architecture.to_string(),
        ),
        fact(
            "default memory",
            header_a.default_memory_bytes.to_string(),
            header_b.default_memory_bytes.to_string(),
        ),
        fact(
            "default CPUs",
            header_a.default_cpus.to_string(),
            header_b.default_cpus.to_string(),
        ),
    ];
    Difference {
        registers: registers.into_iter().flatten().collect(),
        header: header.into_iter().flatten().collect(),
        sections,
    }
}

type Named<'a> = BTreeMap<String, (usize, Vec<u8>, &'a [u8])>;

fn named<'a>(image: &Eif<'a>) -> Named<'a> {
    names(image)
        .into_iter()
        .zip(image.sections())
        .enumerate()
        .map(|(index, ((name, pcrs), section))| (name, (index, pcrs, section.data)))
        .collect()
}

fn sections(a: &Eif<'_>, b: &Eif<'_>) -> Vec<SectionChange> {
    let (a, b) = (named(a), named(b));
    let mut changes: Vec<(usize, SectionChange)> = Vec::new();
    for (name, (index, pcrs, data_a)) in &a {
        let change = match b.get(name) {
            None => Change::Removed,
            Some((_, _, data_b)) if data_a == data_b => continue,
            Some((_, _, data_b)) => Change::Changed(section(name, data_a, data_b)),
        };
        changes.push((
            *index,
            SectionChange {
                section: name.clone(),
                pcrs: pcrs.clone(),
                change,
            },
        ));
    }
    for (name, (index, pcrs, _)) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
        let change = Change::Added;
        changes.push((
            *index,
            SectionChange {
                section: name.clone(),
                pcrs: pcrs.clone(),
                change,
            },
        ));
    }
    changes.sort_by_key(|(index, _)| *index);
    changes.into_iter().map(|(_, change)| change).collect()
}

fn section(name: &str, a: &[u8], b: &[u8]) -> SectionDetail {
    let bytes = bytes(a, b);
    if !name.starts_with("ramdisk") {
        return SectionDetail {
            bytes,
            files: Vec::new(),
            note: None,
        };
    }
    let (entries_a, entries_b) = match (ramdisk::read_cpio(a), ramdisk::read_cpio(b)) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(error), _) => return opaque(bytes, "A", &error),
        (_, Err(error)) => return opaque(bytes, "B", &error),
    };
    let files = files(&entries_a, &entries_b);
    let note = (files.is_empty()).then(|| {
        if entries_a != entries_b {
            "the same entries in another order".to_owned()
        } else if ramdisk::inflate(a).ok() == ramdisk::inflate(b).ok() {
            "the same archive, compressed differently".to_owned()
        } else {
            "the same entries; inode numbers, link counts or padding differ".to_owned()
        }
    });
    SectionDetail { bytes, files, note }
}

fn opaque(bytes: BytesChange, image: &str, error: &ramdisk::RamdiskError) -> SectionDetail {
    let note = Some(format!(
        "the files of {image}'s ramdisk cannot be listed: {error}"
    ));
    SectionDetail {
        bytes,
        files: Vec::new(),
        note,
    }
}

fn files(a: &[Entry], b: &[Entry]) -> Vec<FileChange> {
    let by_path = |entries: &'_ [Entry]| -> BTreeMap<String, usize> {
        entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (entry.path.clone(), index))
            .collect()
    };
    let (in_a, in_b) = (by_path(a), by_path(b));
    let mut changes = Vec::new();
    for (path, index) in &in_a {
        let change = match (
            a.get(*index),
            in_b.get(path).and_then(|index| b.get(*index)),
        ) {
            (Some(a), Some(b)) if a == b => continue,
            (Some(a), Some(b)) => Change::Changed(file(a, b)),
            _ => Change::Removed,
        };
        changes.push(FileChange {
            path: path.clone(),
            change,
        });
    }
    for path in in_b.keys().filter(|path| !in_a.contains_key(*path)) {
        changes.push(FileChange {
            path: path.clone(),
            change: Change::Added,
        });
    }
    changes.sort_by(|left, right| left.path.cmp(&right.path));
    changes
}

fn file(a: &Entry, b: &Entry) -> FileDetail {
    let mut attributes = Vec::new();
    let mut attribute = |name: &str, a: String, b: String| {
        if a != b {
            attributes.push(format!("{name} {a} became {b}"));
        }
    };
    attribute("mode", format!("{:04o}", a.mode), format!("{:04o}", b.mode));
    attribute(
        "owner",
        format!("{}:{}", a.uid, a.gid),
        format!("{}:{}", b.uid, b.gid),
    );
    attribute(
        "modification time",
        a.mtime_secs.to_string(),
        b.mtime_secs.to_string(),
    );
    let content = match (&a.kind, &b.kind) {
        (EntryKind::File(a), EntryKind::File(b)) => (a != b).then(|| bytes(a, b)),
        (a, b) => {
            attribute("type", format!("{a:?}"), format!("{b:?}"));
            None
        }
    };
    FileDetail {
        attributes,
        content,
    }
}

fn bytes(a: &[u8], b: &[u8]) -> BytesChange {
    let run = |offset: usize, a: &[u8], b: &[u8]| Run {
        offset,
        length_a: a.len(),
        length_b: b.len(),
        a: hex::encode(a.get(..SHOWN_BYTES).unwrap_or(a)),
        b: hex::encode(b.get(..SHOWN_BYTES).unwrap_or(b)),
    };
    let mut change = BytesChange {
        size_a: a.len(),
        size_b: b.len(),
        runs: Vec::new(),
        more_runs: 0,
    };
    if a.len() != b.len() {
        let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let rest = |bytes: &'_ [u8]| bytes.len() - start; // `start` is at most both lengths
        let end = a
            .iter()
            .rev()
            .zip(b.iter().rev())
            .take(rest(a).min(rest(b)))
            .take_while(|(a, b)| a == b)
            .count();
        let middle_a = a.get(start..a.len() - end).unwrap_or_default();
        let middle_b = b.get(start..b.len() - end).unwrap_or_default();
        change.runs.push(run(start, middle_a, middle_b));
        return change;
    }
    let mut push = |start: usize, end: usize| {
        if change.runs.len() < RUNS_MAX {
            let part_a = a.get(start..end).unwrap_or_default();
            change
                .runs
                .push(run(start, part_a, b.get(start..end).unwrap_or_default()));
        } else {
            change.more_runs += 1;
        }
    };
    let mut open: Option<(usize, usize)> = None;
    for (at, _) in a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b) {
        open = match open {
            Some((start, end)) if at - end <= GAP_BYTES => Some((start, at + 1)),
            Some((start, end)) => {
                push(start, end);
                Some((at, at + 1))
            }
            None => Some((at, at + 1)),
        };
    }
    if let Some((start, end)) = open {
        push(start, end);
    }
    change
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.registers.is_empty() {
            writeln!(f, "the images measure the same")?;
        }
        for register in &self.registers {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            writeln!(
                f,
                "PCR{} moved by: {}",
                register.pcr,
                register.because_of.join(", ")
            )?;
            writeln!(f, "  A {}\n  B {}", value(&register.a), value(&register.b))?;
        }
        if !self.header.is_empty() {
            writeln!(
                f,
                "\nheader (not measured) differs: {}",
                self.header.join("; ")
            )?;
        }
        for section in &self.sections {
            let registers = match section.pcrs.as_slice() {
                [] => "not measured".to_owned(),
                pcrs => pcrs
                    .iter()
                    .map(|pcr| format!("PCR{pcr}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            write!(f, "\n{} ({registers}) ", section.section)?;
            match &section.change {
                Change::Added => writeln!(f, "is only in B")?,
                Change::Removed => writeln!(f, "is only in A")?,
                Change::Changed(detail) => {
                    writeln!(f, "differs: {}", Sizes(&detail.bytes))?;
                    if let Some(note) = &detail.note {
                        writeln!(f, "  {}", printable(note))?;
                    }
                    // The bytes of a compressed archive tell nobody anything
                    // once the files are known.
                    if detail.files.is_empty() {
                        write_runs(f, "  ", &detail.bytes)?;
                    }
                    write_files(f, &detail.files)?;
                }
            }
        }
        Ok(())
    }
}

fn write_files(f: &mut fmt::Formatter<'_>, files: &[FileChange]) -> fmt::Result {
    for file in files.iter().take(FILES_SHOWN) {
        write!(f, "  {} ", printable(&file.path))?;
        match &file.change {
            Change::Added => writeln!(f, "is only in B")?,
            Change::Removed => writeln!(f, "is only in A")?,
            Change::Changed(detail) => {
                let mut what: Vec<String> = detail
                    .attributes
                    .iter()
                    .map(|text| printable(text))
                    .collect();
                what.extend(
                    detail
                        .content
                        .as_ref()
                        .map(|bytes| Sizes(bytes).to_string()),
                );
                writeln!(f, "differs: {}", what.join("; "))?;
                if let Some(bytes) = &detail.content {
                    write_runs(f, "    ", bytes)?;
                }
            }
        }
    }
    match files.len().saturating_sub(FILES_SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "  … and {more} more entries"),
    }
}

struct Sizes<'a>(&'a BytesChange);

impl fmt::Display for Sizes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BytesChange { size_a, size_b, .. } = self.0;
        if size_a == size_b {
            write!(f, "{size_a} bytes in both")
        } else {
            write!(f, "{size_a} bytes in A, {size_b} in B")
        }
    }
}

fn write_runs(f: &mut fmt::Formatter<'_>, indent: &str, change: &BytesChange) -> fmt::Result {
    for run in &change.runs {
        let bytes = |hex: &str, length: usize| match (length, length > SHOWN_BYTES) {
            (0, _) => "nothing".to_owned(),
            (_, true) => format!("{hex}… ({length} bytes)"),
            (_, false) => hex.to_owned(),
        };
        writeln!(
            f,
            "{indent}at byte {}: A {}, B {}",
            run.offset,
            bytes(&run.a, run.length_a),
            bytes(&run.b, run.length_b)
        )?;
    }
    match change.more_runs {
        0 => Ok(()),
        more => writeln!(f, "{indent}and {more} more places"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eif::{
        EifBuilder,
        ramdisk::{write_cpio, write_cpio_gz},
    };

    fn image(cmdline: &str, ramdisks: &[Vec<u8>]) -> Vec<u8> {
        let builder = EifBuilder::new(b"kernel", cmdline).ramdisk(b"");
        ramdisks
            .iter()
            .fold(builder, |builder, disk| builder.ramdisk(disk))
            .build()
            .unwrap()
    }

    fn of(a: &[u8], b: &[u8]) -> Difference {
        diff(&Eif::read(a).unwrap(), &Eif::read(b).unwrap())
    }

    #[test]
    fn names_the_file_and_the_bytes_that_moved_a_register() {
        let disk = |app: &str| {
            write_cpio_gz(&[
                Entry::file("cmd", "/app"),
                Entry::executable("rootfs/app", app),
                Entry::file("rootfs/same", "same"),
            ])
            .unwrap()
        };
        let difference = of(
            &image("quiet", &[disk("version 1")]),
            &image("quiet", &[disk("version 2")]),
        );
        let moved: Vec<u8> = difference
            .registers
            .iter()
            .map(|change| change.pcr)
            .collect();
        assert_eq!(moved, [0, 2]);
        assert_eq!(difference.registers[0].because_of, ["ramdisk 1"]);
        let text = difference.to_string();
        assert!(text.contains("PCR2 moved by: ramdisk 1"), "{text}");
        assert!(
            text.contains("rootfs/app differs: 9 bytes in both"),
            "{text}"
        );
        assert!(text.contains("at byte 8: A 31, B 32"), "{text}");
        assert!(!text.contains("same differs"), "{text}");
    }

    #[test]
    fn lists_attributes_additions_and_removals() {
        let a = write_cpio(&[
            Entry::file("mode", "x"),
            Entry::file("gone", ""),
            Entry::symlink("l", "a"),
        ]);
        let b = write_cpio(&[
            Entry::executable("mode", "x"),
            Entry::file("new", ""),
            Entry::symlink("l", "b"),
        ]);
        let text = of(&image("", &[a.unwrap()]), &image("", &[b.unwrap()])).to_string();
        assert!(
            text.contains("mode differs: mode 0644 became 0755"),
            "{text}"
        );
        assert!(text.contains("gone is only in A"), "{text}");
        assert!(text.contains("new is only in B"), "{text}");
        assert!(
            text.contains("symlink to \"a\" became symlink to \"b\""),
            "{text}"
        );
    }

    #[test]
    fn distinguishes_the_same_files_from_the_same_bytes() {
        let entries = [Entry::file("a", "1"), Entry::file("b", "2")];
        let note = |a: &[Entry], b: Vec<u8>| {
            let a = image("", &[write_cpio(a).unwrap()]);
            of(&a, &image("", &[b])).to_string()
        };
        let text = note(&entries, write_cpio_gz(&entries).unwrap());
        assert!(text.contains("compressed differently"), "{text}");
        let mut swapped = entries.clone();
        swapped.reverse();
        let text = note(&entries, write_cpio(&swapped).unwrap());
        assert!(text.contains("another order"), "{text}");
        let mut padded = write_cpio(&entries).unwrap();
        padded.resize(padded.len() + 512, 0);
        let text = note(&entries, padded);
        assert!(text.contains("padding differ"), "{text}");
    }

    #[test]
    fn a_longer_command_line_moves_pcr0_and_pcr1_and_shows_the_insertion() {
        let difference = of(&image("a=1 c=3", &[]), &image("a=1 b=2 c=3", &[]));
        assert_eq!(difference.registers.len(), 2);
        let Change::Changed(detail) = &difference.sections[0].change else {
            panic!("{difference:?}");
        };
        assert_eq!(detail.bytes.runs[0].length_a, 0);
        assert_eq!(detail.bytes.runs[0].length_b, 4);
    }

    #[test]
    fn metadata_and_header_are_differences_that_move_no_register() {
        let with = |json: &str| {
            EifBuilder::new(b"k", "")
                .ramdisk(b"")
                .metadata(json)
                .build()
                .unwrap()
        };
        let difference = of(&with("1"), &with("2"));
        assert!(difference.measures_the_same());
        assert!(
            difference
                .to_string()
                .contains("metadata (not measured) differs")
        );
        assert!(of(&with("1"), &with("1")).sections.is_empty());
        let arm = EifBuilder::new(b"k", "").ramdisk(b"").metadata("1");
        let arm = arm
            .architecture(crate::eif::Architecture::Aarch64)
            .build()
            .unwrap();
        let difference = of(&with("1"), &arm);
        assert!(difference.measures_the_same());
        assert_eq!(difference.header, ["architecture x86_64 became aarch64"]);
    }

    #[test]
    fn runs_of_bytes_are_joined_over_short_gaps_and_counted_beyond_a_limit() {
        let a = vec![0; 1000];
        let mut b = a.clone();
        for at in [3, 5, 100] {
            b[at] = 1;
        }
        let change = bytes(&a, &b);
        let runs: Vec<(usize, usize)> = change
            .runs
            .iter()
            .map(|run| (run.offset, run.length_a))
            .collect();
        assert_eq!(runs, [(3, 3), (100, 1)]);
        b.iter_mut().step_by(50).for_each(|byte| *byte = 2);
        let change = bytes(&a, &b);
        assert_eq!(change.runs.len(), RUNS_MAX);
        assert!(change.more_runs > 0);
    }
}
