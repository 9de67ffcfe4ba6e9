//! Finding the program of a run, and seeing that it is for this machine.
//!
//! Models `execvp(3)`'s search, and the kernel's way from a script to its
//! interpreter. Source of truth: `execve(2)`, `elf(5)`. Does not model binfmt_misc.

use std::{
    env,
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use super::{
    bpf::Arch, root::ImageRoot, settings::Settings, spawn::Become, start_error::StartError,
};

/// The program of a run, and every path where it may be.
///
/// # Errors
/// If there is none, or it is for another machine.
pub(crate) fn program(settings: &Settings, arch: &Arch) -> Result<Become, StartError> {
    let program = settings.command.first().ok_or(StartError::NoCommand)?;
    let env = settings
        .environment
        .clone()
        .unwrap_or_else(|| env::vars_os().collect());
    let path = env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, path)| path.as_os_str());
    let candidates = candidates(program, path);
    let outside: Vec<_> = match &settings.root {
        Some(root) => candidates.iter().map(|path| root.outside(path)).collect(),
        None => candidates.clone(),
    };
    refuse_foreign(&outside, settings.root.as_ref(), arch)?;
    let variable = |(name, value): &(OsString, OsString)| {
        c_string([name.as_bytes(), b"=", value.as_bytes()].concat())
    };
    let paths = candidates
        .into_iter()
        .map(|path| c_string(path.into_os_string().into_vec()));
    let args = settings
        .command
        .iter()
        .map(|arg| c_string(arg.as_bytes().to_vec()));
    Ok(Become::Program {
        paths: paths.collect::<io::Result<_>>()?,
        args: args.collect::<io::Result<_>>()?,
        env: env.iter().map(variable).collect::<io::Result<_>>()?,
    })
}

/// Text for the kernel; a NUL has no place in it.
pub(crate) fn c_string(text: Vec<u8>) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Where `execvp` would look.
fn candidates(program: &OsStr, path: Option<&OsStr>) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.into()];
    }
    let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    env::split_paths(path)
        .map(|folder| folder.join(program))
        .collect()
}

/// A program for another machine would run, and silently see nothing of ours: a
/// 32-bit one by another system call table, any other inside an emulator that
/// does not know our devices. A script is what its interpreter is.
fn refuse_foreign(
    candidates: &[PathBuf],
    root: Option<&ImageRoot>,
    arch: &Arch,
) -> Result<(), StartError> {
    const INTERPRETERS_MAX: usize = 4; // the kernel follows no more (BINPRM_MAX_RECURSION)
    let Some(named) = candidates.iter().find(|path| path.is_file()) else {
        return Ok(());
    };
    let mut program = named.clone();
    for _ in 0..=INTERPRETERS_MAX {
        let mut head = Vec::new();
        let Ok(file) = File::open(&program) else {
            return Ok(()); // may be executed without being read
        };
        if file.take(256).read_to_end(&mut head).is_err() {
            return Ok(());
        }
        if let Some(kind) = foreign_kind(&head, arch) {
            return Err(StartError::Foreign {
                program: program.display().to_string(),
                kind,
                expected: arch.name,
            });
        }
        match interpreter(&head) {
            Some(next) => program = root.map_or(next.clone(), |root| root.outside(&next)),
            None => return Ok(()),
        }
    }
    Ok(())
}

/// What the first bytes of an ELF program are, if not for `arch`.
fn foreign_kind(head: &[u8], arch: &Arch) -> Option<&'static str> {
    const ELF: &[u8] = b"\x7fELF";
    const ELFCLASS32: u8 = 1;
    const MACHINE_AT: usize = 18;
    if !head.starts_with(ELF) {
        return None;
    }
    if head.get(4) == Some(&ELFCLASS32) {
        return Some("32-bit");
    }
    let machine = head.get(MACHINE_AT..MACHINE_AT + 2)?.try_into().ok()?;
    (u16::from_le_bytes(machine) != arch.elf_machine).then_some("foreign")
}

/// What a script's first line names.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(u8::is_ascii_whitespace);
    let path = words.find(|word| !word.is_empty())?;
    Some(OsStr::from_bytes(path).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::bpf;

    #[test]
    fn a_program_is_looked_for_as_execvp_does() {
        let path = OsStr::new("/a:/b");
        let found = candidates(OsStr::new("x"), Some(path));
        assert_eq!(found, [PathBuf::from("/a/x"), PathBuf::from("/b/x")]);
        assert_eq!(
            candidates(OsStr::new("./x"), Some(path)),
            [PathBuf::from("./x")]
        );
    }

    #[test]
    fn a_program_for_another_machine_is_recognised() {
        let elf = |class: u8, machine: u16| {
            let mut head = vec![0; 64];
            head[..5].copy_from_slice(&[0x7F, b'E', b'L', b'F', class]);
            head[18..20].copy_from_slice(&machine.to_le_bytes());
            head
        };
        for (arch, other) in [(&bpf::X86_64, &bpf::AARCH64), (&bpf::AARCH64, &bpf::X86_64)] {
            assert_eq!(foreign_kind(&elf(2, arch.elf_machine), arch), None);
            assert_eq!(
                foreign_kind(&elf(2, other.elf_machine), arch),
                Some("foreign")
            );
            assert_eq!(foreign_kind(&elf(1, 3), arch), Some("32-bit"));
            // x32: the machine's own code in 32-bit form.
            assert_eq!(
                foreign_kind(&elf(1, arch.elf_machine), arch),
                Some("32-bit")
            );
            assert_eq!(foreign_kind(b"#!/bin/sh", arch), None);
            assert_eq!(foreign_kind(b"\x7fELF\x02", arch), None, "cut short");
        }
    }

    #[test]
    fn a_script_names_its_interpreter() {
        for (head, path) in [
            (&b"#!/bin/sh\necho"[..], Some("/bin/sh")),
            (b"#! /usr/bin/env python3\n", Some("/usr/bin/env")),
            (b"#!\n/bin/sh", None),
            (b"#!", None),
            (b"echo", None),
        ] {
            assert_eq!(interpreter(head), path.map(PathBuf::from), "{head:?}");
        }
    }
}
