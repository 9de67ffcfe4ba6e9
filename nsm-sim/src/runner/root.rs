//! The root file system of an enclave image, entered without privileges.
//!
//! Models what an image's init does before it starts the application: `/proc`,
//! `/sys`, `/dev` and `/tmp` are mounted and the root is changed. Source of
//! truth: `user_namespaces(7)`, `mount_namespaces(7)`. Root gets a mount
//! namespace; everybody else a user namespace beside it, in which they are root
//! as the enclave's program is. Known differences: `/proc` and `/sys` are the
//! machine's (its processes show), `/dev` has no terminals of its own, and in a
//! user namespace the only user is root.

use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, fs::symlink},
    path::{Path, PathBuf},
};

use super::{
    loopback::{LoopbackError, OwnLoopback},
    namespaces::{self, Identity, Obstacle},
};

/// Nodes that programs expect; those the machine lacks are left out. `nsm`,
/// `vsock` and `hwrng` are the machine's own or placeholders: where they do not
/// exist, the runner shows them.
const NODES: [&str; 9] = [
    "null", "zero", "full", "random", "urandom", "tty", "nsm", "vsock", "hwrng",
];
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// An unpacked root file system that a program can be started in.
#[derive(Debug)]
pub struct ImageRoot {
    folder: PathBuf,
    entrance: Entrance,
}

/// Why an unpacked root file system cannot be entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// A mount point cannot be made in it.
    #[error("/{path} of the image cannot be mounted on: {error}")]
    Place {
        /// Relative to the image's root.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// The kernel or an outer profile forbids it.
    #[error(
        "the image's root cannot be entered, {step}: {error}; it takes root, or user namespaces \
         (sysctl user.max_user_namespaces above 0 and, on Ubuntu, \
         kernel.apparmor_restrict_unprivileged_userns=0; in a container, a seccomp profile that \
         allows unshare and mount)"
    )]
    Forbidden {
        /// What was refused.
        step: &'static str,
        /// Why.
        error: io::Error,
    },
}

impl ImageRoot {
    /// Prepares the unpacked root file system in `folder`, and tries in a
    /// process of its own that it can be entered.
    ///
    /// # Errors
    /// [`RootError`] names what stands in the way.
    pub fn prepare(folder: &Path) -> Result<Self, RootError> {
        let entrance = Entrance::make(folder)?;
        namespaces::rehearse(|| entrance.enter())?;
        Ok(Self {
            folder: folder.to_owned(),
            entrance,
        })
    }

    pub(crate) fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    /// Tries that it can be entered, and a network then.
    pub(crate) fn rehearse_with(&self, own: &OwnLoopback) -> Result<(), LoopbackError> {
        Ok(namespaces::rehearse(|| {
            // Tried by itself in `prepare`.
            let _ = self.entrance.enter();
            own.enter()
        })?)
    }

    /// Where a path of the program is on this machine.
    pub(crate) fn outside(&self, path: &Path) -> PathBuf {
        self.folder.join(path.strip_prefix("/").unwrap_or(path))
    }
}

const STEPS: [&str; 4] = [
    "making namespaces",
    "becoming root in a user namespace",
    "mounting /proc, /sys, /dev and /tmp",
    "changing the root",
];

impl From<Obstacle> for RootError {
    fn from(Obstacle { step, errno }: Obstacle) -> Self {
        Self::Forbidden {
            step: usize::try_from(step)
                .ok()
                .and_then(|step| STEPS.get(step))
                .unwrap_or(&"starting a process"),
            error: io::Error::from_raw_os_error(errno),
        }
    }
}

#[derive(Clone, Debug)]
struct Mount {
    source: CString,
    target: CString,
    kind: CString,
    flags: libc::c_ulong,
    data: CString,
}

/// Everything the child needs to enter the root, made before it exists.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    folder: CString,
    identity: Identity,
    mounts: Vec<Mount>,
}

impl Entrance {
    fn make(folder: &Path) -> Result<Self, RootError> {
        let place = |path: &str| {
            let error = |error| RootError::Place {
                path: path.to_owned(),
                error,
            };
            place(&folder.join(path)).map_err(error)
        };
        for path in ["proc", "sys", "tmp", "dev", "dev/shm"] {
            place(path)?;
        }
        let no_text = CString::default;
        let bind = |source: &Path, target: &str| Mount {
            source: c_path(source),
            target: c_path(&folder.join(target)),
            kind: no_text(),
            flags: libc::MS_BIND | libc::MS_REC,
            data: no_text(),
        };
        let fresh = |target: &str| Mount {
            source: c"tmpfs".to_owned(),
            target: c_path(&folder.join(target)),
            kind: c"tmpfs".to_owned(),
            flags: libc::MS_NOSUID | libc::MS_NODEV,
            data: c"mode=1777".to_owned(),
        };
        let mut mounts = vec![
            // Nothing below may be seen by the machine.
            Mount {
                source: no_text(),
                target: c"/".to_owned(),
                kind: no_text(),
                flags: libc::MS_REC | libc::MS_PRIVATE,
                data: no_text(),
            },
            bind(Path::new("/proc"), "proc"),
            fresh("tmp"),
            fresh("dev/shm"),
        ];
        if Path::new("/sys").is_dir() {
            mounts.push(bind(Path::new("/sys"), "sys"));
        }
        for name in NODES {
            let node = Path::new("/dev").join(name);
            if node.exists() {
                let path = format!("dev/{name}");
                let error = |error| RootError::Place {
                    path: path.clone(),
                    error,
                };
                replace(&folder.join(&path), |at| fs::File::create_new(at).map(drop))
                    .map_err(error)?;
                mounts.push(bind(&node, &path));
            }
        }
        for (name, target) in LINKS {
            let error = |error| RootError::Place {
                path: format!("dev/{name}"),
                error,
            };
            replace(&folder.join("dev").join(name), |at| symlink(target, at)).map_err(error)?;
        }
        Ok(Self {
            folder: c_path(folder),
            identity: Identity::root(),
            mounts,
        })
    }

    /// Changes the calling process's root. System calls only: it runs between
    /// clone and exec, and the process must have no other threads.
    pub(crate) fn enter(&self) -> Result<(), Obstacle> {
        // SAFETY: every call takes integers or NUL-terminated text owned by
        // `self`; none touches the heap.
        unsafe {
            if libc::unshare(libc::CLONE_NEWNS) != 0 {
                if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) != 0 {
                    return Err(Obstacle::at(0));
                }
                self.identity.assume(1)?;
            }
            for mount in &self.mounts {
                let done = libc::mount(
                    mount.source.as_ptr(),
                    mount.target.as_ptr(),
                    mount.kind.as_ptr(),
                    mount.flags,
                    mount.data.as_ptr().cast(),
                );
                if done != 0 {
                    return Err(Obstacle::at(2));
                }
            }
            if libc::chroot(self.folder.as_ptr()) != 0 || libc::chdir(c"/".as_ptr()) != 0 {
                return Err(Obstacle::at(3));
            }
        }
        Ok(())
    }
}

/// A real folder at `path`: a link would lead a mount out of the image.
fn place(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(_) => {
            fs::create_dir(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        }
    }
}

/// Makes `path` anew where the image has something else there.
fn replace(path: &Path, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => make(path),
    }
}

fn c_path(path: &Path) -> CString {
    c_text(path.as_os_str().as_bytes().to_vec())
}

/// A path with a NUL cannot exist; an empty one fails where it is used.
fn c_text(text: Vec<u8>) -> CString {
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_place_of_a_mount_point_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/tmp", folder.path().join("tmp")).unwrap();
        let refused = Entrance::make(folder.path()).unwrap_err().to_string();
        assert!(refused.starts_with("/tmp of the image"), "{refused}");
    }

    #[test]
    fn what_an_image_has_in_dev_gives_way_to_the_nodes() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("dev")).unwrap();
        fs::write(folder.path().join("dev/null"), "not null").unwrap();
        symlink("/elsewhere", folder.path().join("dev/zero")).unwrap();
        Entrance::make(folder.path()).unwrap();
        for node in ["dev/null", "dev/zero"] {
            let made = fs::symlink_metadata(folder.path().join(node)).unwrap();
            assert!(made.is_file() && made.len() == 0, "{node}");
        }
    }

    #[test]
    fn a_refusal_names_its_step_and_the_ways_out() {
        let refused = RootError::from(Obstacle {
            step: 0,
            errno: libc::EPERM,
        });
        let text = refused.to_string();
        assert!(text.contains("making namespaces") && text.contains("user.max_user_namespaces"));
    }
}
