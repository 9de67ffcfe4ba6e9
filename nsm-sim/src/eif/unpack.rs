//! Laying a root file system out in a folder.
//!
//! Models what the contents look like to the program inside: names, contents,
//! permission bits, links. Does not model ownership (everything belongs to the
//! caller), modification times and device nodes.
//!
//! The archive is outside input and the folder is on somebody's machine, so every
//! rule is checked on the tree in memory before the first file is made: no name
//! leads out of the folder, nothing is written through a link, every symbolic
//! link ends inside the folder as seen by the kernel, and the total is bounded.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::ramdisk::{Entry, EntryKind};

/// Most bytes that [`unpack`] writes, 2 GiB: what a ramdisk may inflate to.
pub const UNPACKED_BYTES_MAX: u64 = super::ramdisk::INFLATED_BYTES_MAX;

/// Linux's `ELOOP` limit.
const LINKS_MAX: usize = 40;

/// Why a root file system is not laid out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// A name starts with `/`.
    #[error("{path:?} is an absolute path")]
    Absolute {
        /// The entry.
        path: String,
    },
    /// A name has a `..` component.
    #[error("{path:?} climbs out of its folder")]
    Climbs {
        /// The entry.
        path: String,
    },
    /// A symbolic link ends outside the root.
    #[error("the symlink {path:?} to {target:?} leads out of the root file system")]
    LinkEscapes {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
    /// A name goes through something that is not a directory.
    #[error("{path:?} lies beneath {parent:?}, which is not a directory")]
    BeneathNoDirectory {
        /// The entry.
        path: String,
        /// What is in its way.
        parent: String,
    },
    /// A hard link to something that is not a regular file of this tree.
    #[error("the hard link {path:?} points to {target:?}, which is not a file of this tree")]
    HardLink {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
    /// A device node, pipe or socket.
    #[error("{path:?} is a device node, pipe or socket")]
    SpecialFile {
        /// The entry.
        path: String,
    },
    /// More than [`UNPACKED_BYTES_MAX`].
    #[error("unpacks to more than {UNPACKED_BYTES_MAX} bytes")]
    TooLarge,
    /// The folder has something in it.
    #[error("{} is not empty", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The machine's file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was being made.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Lays `rootfs` out in `folder`, which is made if it does not exist and must be
/// empty if it does. Missing parent directories are made; of entries with the
/// same name the last counts.
///
/// Absolute symbolic links become relative ones with the same meaning, so that
/// they stay inside the folder without a chroot.
///
/// # Errors
/// If the tree breaks a rule (then nothing was written), or the file system
/// refuses (then some of it was).
pub fn unpack(rootfs: &[Entry], folder: &Path) -> Result<(), UnpackError> {
    let tree = Tree::new(rootfs)?;
    let io_at = |path: &Path| {
        let path = path.to_owned();
        move |source| UnpackError::Io { path, source }
    };
    fs::create_dir_all(folder).map_err(io_at(folder))?;
    if fs::read_dir(folder)
        .map_err(io_at(folder))?
        .next()
        .is_some()
    {
        return Err(UnpackError::NotEmpty {
            path: folder.to_owned(),
        });
    }

    // Parents sort before what is beneath them, so each directory exists when it
    // is needed; hard links need their file, which may sort later.
    let mut hard_links = Vec::new();
    let mut directories = Vec::new();
    for (path, node) in &tree.nodes {
        let place = place(folder, path);
        match node {
            Node::Directory { mode } => {
                private_directory(&place).map_err(io_at(&place))?;
                directories.push((place, *mode));
            }
            Node::File { mode, content } => {
                write_file(&place, content, *mode).map_err(io_at(&place))?;
            }
            Node::Symlink { target } => {
                let target = relative(path, target);
                symlink(&target, &place).map_err(io_at(&place))?;
            }
            Node::HardLink { target } => hard_links.push((self::place(folder, target), place)),
        }
    }
    for (file, link) in hard_links {
        fs::hard_link(&file, &link).map_err(io_at(&link))?;
    }
    // Innermost first, so that a read-only directory does not stop us.
    for (path, mode) in directories.into_iter().rev() {
        set_mode(&path, mode | 0o700).map_err(io_at(&path))?;
    }
    Ok(())
}

/// Path components.
type Name<'a> = Vec<&'a str>;

/// A root file system that may be laid out.
struct Tree<'a> {
    nodes: BTreeMap<Name<'a>, Node<'a>>,
}

enum Node<'a> {
    Directory { mode: u32 },
    File { mode: u32, content: &'a [u8] },
    Symlink { target: &'a str },
    HardLink { target: Name<'a> },
}

impl<'a> Tree<'a> {
    fn new(entries: &'a [Entry]) -> Result<Self, UnpackError> {
        let mut tree = Self {
            nodes: BTreeMap::new(),
        };
        for entry in entries {
            let name = name(&entry.path)?;
            if name.is_empty() {
                continue; // the root itself
            }
            let path = || entry.path.clone();
            let node = match &entry.kind {
                EntryKind::File(content) => Node::File {
                    mode: entry.mode & 0o777,
                    content,
                },
                EntryKind::Directory => Node::Directory {
                    mode: entry.mode & 0o777,
                },
                EntryKind::Symlink(target) => Node::Symlink { target },
                EntryKind::HardLink(target) => Node::HardLink {
                    target: self::name(target)?,
                },
                EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::Fifo
                | EntryKind::Socket => return Err(UnpackError::SpecialFile { path: path() }),
            };
            tree.nodes.insert(name, node);
        }
        tree.add_parents()?;
        tree.check_size_and_hard_links()?;
        tree.check_symlinks()?;
        Ok(tree)
    }

    fn add_parents(&mut self) -> Result<(), UnpackError> {
        let mut missing: Vec<Name<'a>> = Vec::new();
        for name in self.nodes.keys() {
            // From the innermost out; above a known directory all was seen.
            let mut parent = name.as_slice();
            while let Some((_, above)) = parent.split_last().filter(|(_, above)| !above.is_empty())
            {
                parent = above;
                match self.nodes.get(parent) {
                    Some(Node::Directory { .. }) => break,
                    Some(_) => {
                        return Err(UnpackError::BeneathNoDirectory {
                            path: name.join("/"),
                            parent: parent.join("/"),
                        });
                    }
                    None => missing.push(parent.to_vec()),
                }
            }
        }
        self.nodes.extend(
            missing
                .into_iter()
                .map(|name| (name, Node::Directory { mode: 0o755 })),
        );
        Ok(())
    }

    fn check_size_and_hard_links(&self) -> Result<(), UnpackError> {
        let mut total = 0_u64;
        for (name, node) in &self.nodes {
            match node {
                Node::File { content, .. } => {
                    total = total.saturating_add(content.len() as u64);
                    if total > UNPACKED_BYTES_MAX {
                        return Err(UnpackError::TooLarge);
                    }
                }
                Node::HardLink { target }
                    if !matches!(self.nodes.get(target), Some(Node::File { .. })) =>
                {
                    return Err(UnpackError::HardLink {
                        path: name.join("/"),
                        target: target.join("/"),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_symlinks(&self) -> Result<(), UnpackError> {
        for (name, node) in &self.nodes {
            if let Node::Symlink { target } = node
                && !self.stays_inside(name)
            {
                return Err(UnpackError::LinkEscapes {
                    path: name.join("/"),
                    target: (*target).to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Follows a link as the kernel will on the laid-out tree, where absolute
    /// targets have become relative to the root. `..` above the root is an
    /// escape. A dangling or endless link stays inside: nothing is behind it.
    fn stays_inside(&self, link: &[&str]) -> bool {
        let mut here: Vec<&str> = Vec::new();
        // Components still to walk, the next one last.
        let mut ahead: Vec<&str> = link.iter().rev().copied().collect();
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            match part {
                "" | "." => {}
                ".." => {
                    if here.pop().is_none() {
                        return false;
                    }
                }
                part => {
                    here.push(part);
                    match self.nodes.get(here.as_slice()) {
                        Some(Node::Symlink { target }) => {
                            links += 1;
                            if links > LINKS_MAX {
                                return true;
                            }
                            if target.starts_with('/') {
                                here.clear();
                            } else {
                                here.pop();
                            }
                            ahead.extend(target.split('/').rev());
                        }
                        Some(Node::Directory { .. }) => {}
                        // A file or nothing: what follows cannot be reached now,
                        // but the program may make it. Only going up matters.
                        _ => {}
                    }
                }
            }
        }
        true
    }
}

fn name(path: &str) -> Result<Name<'_>, UnpackError> {
    if path.starts_with('/') {
        return Err(UnpackError::Absolute {
            path: path.to_owned(),
        });
    }
    let parts: Name<'_> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err(UnpackError::Climbs {
            path: path.to_owned(),
        });
    }
    Ok(parts)
}

fn place(folder: &Path, name: &[&str]) -> PathBuf {
    let mut place = folder.to_owned();
    place.extend(name);
    place
}

/// The same target without a leading slash, as seen from the link's directory.
fn relative(link: &[&str], target: &str) -> String {
    let Some(from_root) = target.strip_prefix('/') else {
        return target.to_owned();
    };
    let mut relative = "../".repeat(link.len().saturating_sub(1));
    relative.push_str(from_root.trim_start_matches('/'));
    if relative.is_empty() {
        ".".to_owned()
    } else {
        relative
    }
}

fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn write_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // `create_new` neither opens what exists nor follows a link.
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(content)?;
    drop(file);
    set_mode(path, mode)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(()) // permission bits are a Unix notion
}

#[cfg(unix)]
fn symlink(target: &str, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &str, _link: &Path) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn refusal(entries: &[Entry]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let error = unpack(entries, folder.path()).unwrap_err().to_string();
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing was written"
        );
        error
    }

    #[test]
    fn lays_out_files_links_and_directories_with_their_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        unpack(
            &[
                Entry::executable("usr/bin/app", "#!"),
                Entry::symlink("bin", "usr/bin"),
                Entry::symlink("usr/bin/link", "/etc/motd"),
                Entry::symlink("top", "/"),
                Entry::file("etc/motd", "old"),
                Entry::file("etc/./motd", "hello"),
                Entry::new("etc/again", 0o644, EntryKind::HardLink("etc/motd".into())),
                Entry::new("sealed", 0o555, EntryKind::Directory),
                Entry::file("sealed/inside", "x"),
                Entry::new("suid", 0o4755, EntryKind::File(Vec::new())),
                Entry::symlink("dangling", "etc/nothing"),
                Entry::symlink("loop", "loop"),
                Entry::directory("."),
            ],
            &root,
        )
        .unwrap();
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!(
            read("bin/link"),
            "hello",
            "through two links, one of them absolute"
        );
        assert_eq!(read("etc/again"), "hello");
        assert_eq!(read("top/etc/motd"), "hello");
        assert_eq!(read("sealed/inside"), "x");
        let mode =
            |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("usr/bin/app"), 0o755);
        assert_eq!(mode("sealed"), 0o755, "the owner can always clean up");
        assert_eq!(mode("suid"), 0o755, "no set-user-id");
    }

    #[test]
    fn refuses_names_that_lead_out_of_the_folder() {
        assert!(refusal(&[Entry::file("/etc/passwd", "")]).contains("absolute"));
        assert!(refusal(&[Entry::file("a/../../b", "")]).contains("climbs"));
        assert!(refusal(&[Entry::file("..", "")]).contains("climbs"));
    }

    #[test]
    fn refuses_symlinks_that_lead_out_of_the_root_however_they_hide_it() {
        for links in [
            vec![("a", "..")],
            vec![("a", "../etc/passwd")],
            vec![("d/a", "../../x")],
            vec![("a", "/..")],
            // The text of `b` stays inside; `here` being the root, it does not.
            vec![("here", "."), ("b", "here/../x")],
            vec![("deep/here", ".."), ("b", "deep/here/../x")],
            vec![("a", "b"), ("b", "c/.."), ("c", "/"), ("d", "a/../../x")],
        ] {
            let entries: Vec<Entry> = links
                .iter()
                .map(|(path, target)| Entry::symlink(*path, *target))
                .collect();
            assert!(refusal(&entries).contains("leads out"), "{links:?}");
        }
    }

    #[test]
    fn refuses_to_write_through_a_link_or_a_file() {
        let beneath_link = [Entry::symlink("lib", "usr/lib"), Entry::file("lib/x", "")];
        assert!(refusal(&beneath_link).contains("beneath"));
        let beneath_file = [Entry::file("lib", ""), Entry::file("lib/a/x", "")];
        assert!(refusal(&beneath_file).contains("beneath"));
    }

    #[test]
    fn refuses_device_nodes_pipes_sockets_and_foreign_hard_links() {
        for kind in [
            EntryKind::CharDevice { major: 1, minor: 3 },
            EntryKind::BlockDevice { major: 8, minor: 0 },
            EntryKind::Fifo,
            EntryKind::Socket,
        ] {
            assert!(refusal(&[Entry::new("node", 0o666, kind)]).contains("device node"));
        }
        let link = |to: &str| Entry::new("link", 0o644, EntryKind::HardLink(to.into()));
        assert!(refusal(&[link("nowhere")]).contains("not a file"));
        assert!(refusal(&[link("../x")]).contains("climbs"));
        assert!(refusal(&[link("s"), Entry::symlink("s", "x")]).contains("not a file"));
    }

    #[test]
    fn refuses_a_folder_with_something_in_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "").unwrap();
        let error = unpack(&[Entry::file("a", "")], folder.path()).unwrap_err();
        assert!(matches!(error, UnpackError::NotEmpty { .. }), "{error}");
    }
}
