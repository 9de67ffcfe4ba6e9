//! `struct stat` and `struct statx` as each machine's kernel lays them out, for
//! the nodes that a program finds though they do not exist.
//!
//! Models the answer of the stat family for a device node or a small file. Source
//! of truth: `arch/x86/include/uapi/asm/stat.h`, `asm-generic/stat.h` (aarch64),
//! `linux/stat.h` (statx, the same everywhere). A layout is data, so that both are
//! tested on either machine.

/// Where a machine's `struct stat` has its fields; device, inode and size lie at
/// the same places everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatLayout {
    pub(crate) bytes: usize,
    pub(crate) mode_at: usize,
    pub(crate) links_at: usize,
    pub(crate) links_bytes: usize,
    pub(crate) rdev_at: usize,
    pub(crate) block_size_bytes: usize,
}

const DEV_AT: usize = 0;
const INO_AT: usize = 8;
const SIZE_AT: usize = 48;
const BLOCK_SIZE_AT: usize = 56;

pub(crate) const X86_64: StatLayout = StatLayout {
    bytes: 144,
    mode_at: 24,
    links_at: 16,
    links_bytes: 8,
    rdev_at: 40,
    block_size_bytes: 8,
};

pub(crate) const AARCH64: StatLayout = StatLayout {
    bytes: 128,
    mode_at: 16,
    links_at: 20,
    links_bytes: 4,
    rdev_at: 32,
    block_size_bytes: 4,
};

/// What `stat` shows of an emulated node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeShape {
    pub(crate) inode: u64,
    pub(crate) mode: u32,
    pub(crate) device: (u32, u32),
    pub(crate) size: u64,
}

/// `devtmpfs` has an anonymous device number.
const DEVICE: (u32, u32) = (0, 5);
const BLOCK_BYTES: u64 = 4096;

impl StatLayout {
    /// `struct stat` of a node. Both machines are little-endian.
    pub(crate) fn stat(&self, shape: &NodeShape) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes];
        put(&mut bytes, DEV_AT, 8, device_number(DEVICE));
        put(&mut bytes, INO_AT, 8, shape.inode);
        put(&mut bytes, self.mode_at, 4, u64::from(shape.mode));
        put(&mut bytes, self.links_at, self.links_bytes, 1);
        put(&mut bytes, self.rdev_at, 8, device_number(shape.device));
        put(&mut bytes, SIZE_AT, 8, shape.size);
        put(
            &mut bytes,
            BLOCK_SIZE_AT,
            self.block_size_bytes,
            BLOCK_BYTES,
        );
        bytes
    }

    /// `struct statx` of the same, for which the machine makes no difference.
    pub(crate) fn statx(&self, shape: &NodeShape) -> Vec<u8> {
        const STATX_BYTES: usize = 256;
        const STATX_BASIC_STATS: u64 = 0x7FF;
        let mut bytes = vec![0; STATX_BYTES];
        let fields = [
            (0, 4, STATX_BASIC_STATS),
            (4, 4, BLOCK_BYTES),
            (16, 4, 1), // links
            (28, 2, u64::from(shape.mode)),
            (32, 8, shape.inode),
            (40, 8, shape.size),
            (128, 4, u64::from(shape.device.0)),
            (132, 4, u64::from(shape.device.1)),
            (136, 4, u64::from(DEVICE.0)),
            (140, 4, u64::from(DEVICE.1)),
        ];
        for (at, len, value) in fields {
            put(&mut bytes, at, len, value);
        }
        bytes
    }
}

/// As the kernel encodes it: minor's low byte, major, the rest of minor.
fn device_number((major, minor): (u32, u32)) -> u64 {
    u64::from(minor & 0xFF | major << 8 | (minor & !0xFF) << 12)
}

fn put(bytes: &mut [u8], at: usize, len: usize, value: u64) {
    if let (Some(to), Some(from)) = (bytes.get_mut(at..at + len), value.to_le_bytes().get(..len)) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    const NODE: NodeShape = NodeShape {
        inode: 0x1122_3344_5566,
        mode: 0o20666,
        device: (10, 126),
        size: 7,
    };

    fn word(bytes: &[u8], at: usize, len: usize) -> u64 {
        let mut word = [0; 8];
        word[..len].copy_from_slice(&bytes[at..at + len]);
        u64::from_le_bytes(word)
    }

    #[test]
    fn the_layout_of_this_machine_is_its_c_librarys() {
        let native = crate::runner::bpf::Arch::native().unwrap().stat;
        assert_eq!(native.bytes, size_of::<libc::stat>());
        assert_eq!(DEV_AT, offset_of!(libc::stat, st_dev));
        assert_eq!(INO_AT, offset_of!(libc::stat, st_ino));
        assert_eq!(native.mode_at, offset_of!(libc::stat, st_mode));
        assert_eq!(native.links_at, offset_of!(libc::stat, st_nlink));
        assert_eq!(native.rdev_at, offset_of!(libc::stat, st_rdev));
        assert_eq!(SIZE_AT, offset_of!(libc::stat, st_size));
        assert_eq!(BLOCK_SIZE_AT, offset_of!(libc::stat, st_blksize));
        assert_eq!(native.statx(&NODE).len(), size_of::<libc::statx>());
        assert_eq!(28, offset_of!(libc::statx, stx_mode));
        assert_eq!(32, offset_of!(libc::statx, stx_ino));
        assert_eq!(40, offset_of!(libc::statx, stx_size));
        assert_eq!(128, offset_of!(libc::statx, stx_rdev_major));
        assert_eq!(140, offset_of!(libc::statx, stx_dev_minor));
        assert_eq!(device_number((10, 126)), libc::makedev(10, 126));
        assert_eq!(device_number((259, 70_000)), libc::makedev(259, 70_000));
    }

    #[test]
    fn both_machines_read_the_same_node() {
        // linux/arch/x86/include/uapi/asm/stat.h: nlink is 64 bits, before mode.
        let x86 = X86_64.stat(&NODE);
        assert_eq!(x86.len(), 144);
        assert_eq!(word(&x86, 16, 8), 1);
        assert_eq!(word(&x86, 24, 4), 0o20666);
        assert_eq!(word(&x86, 40, 8), 10 << 8 | 126);
        // asm-generic/stat.h: mode, then nlink, 32 bits each; blksize is an int.
        let arm = AARCH64.stat(&NODE);
        assert_eq!(arm.len(), 128);
        assert_eq!(word(&arm, 16, 4), 0o20666);
        assert_eq!(word(&arm, 20, 4), 1);
        assert_eq!(word(&arm, 32, 8), 10 << 8 | 126);
        assert_eq!(word(&arm, 56, 4), 4096);
        for bytes in [&x86, &arm] {
            assert_eq!(word(bytes, 8, 8), NODE.inode);
            assert_eq!(word(bytes, 48, 8), NODE.size);
        }
    }
}
