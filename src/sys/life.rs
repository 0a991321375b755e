//! What the kernel tells about the ground a store stands on: which boot and mount its page cache belongs to, and
//! whether mappings of its file system are coherent.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, StatxFlags};
use xxhash_rust::xxh3::xxh3_64;

/// `STATX_MNT_ID_UNIQUE` (Linux 6.8): a mount number that is never used again before the next boot.
const MOUNT_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// File systems whose shared mappings are not coherent between hosts, or with the files themselves. What is behind FUSE the
/// kernel does not tell; most of it is local.
const INCOHERENT: [(u32, &str); 21] = [
    (0x0000_6969, "NFS"),
    (0x0000_517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "kAFS"),
    (0x00C3_6400, "CEPH"),
    (0x7375_7245, "CODA"),
    (0x0000_564C, "NCP"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x2003_0528, "OrangeFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0xAAD7_AAEA, "PanFS"),
    (0x786F_4256, "vboxsf"),
    (0xBACB_ACBC, "VMware shared folders"),
    (0x7C7C_6673, "Parallels shared folders"),
    (0x5346_4846, "WSL1"),
];

/// A number for one page cache of one file: boot, device and inode in the high half, the mount in the low one. Never 0.
/// Every process must find the same number, so the hash is a fixed one.
pub(super) fn life(identity: (u64, u64), mount: u64) -> io::Result<u64> {
    let boot = fs::read("/proc/sys/kernel/random/boot_id")?;
    let mut ground = boot;
    for part in [identity.0, identity.1] {
        ground.extend_from_slice(&part.to_le_bytes());
    }
    let (high, low) = (xxh3_64(&ground), xxh3_64(&mount.to_le_bytes()));
    Ok((high & !0xFFFF_FFFF | low & 0xFFFF_FFFF).max(1))
}

/// The number of the mount that a file was opened through; 0 on kernels that do not tell.
pub(super) fn mount(file: impl AsFd) -> u64 {
    for wanted in [MOUNT_UNIQUE, StatxFlags::MNT_ID] {
        if let Ok(found) = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, wanted)
            && found.stx_mask & wanted.bits() != 0
        {
            return found.stx_mnt_id;
        }
    }
    0
}

/// The incoherent file system that a path (or, while it is absent, its nearest parent) is on.
pub(super) fn incoherent(path: &Path) -> io::Result<Option<&'static str>> {
    let mut present = path;
    loop {
        match rustix::fs::statfs(present) {
            Ok(found) => return Ok(name_of(low_half(found.f_type.into()))),
            Err(rustix::io::Errno::NOENT) => {
                present = present.parent().ok_or(io::ErrorKind::NotFound)?
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a file is on btrfs, which writes elsewhere on every overwrite.
pub(super) fn copies_on_write(file: impl AsFd) -> bool {
    const BTRFS: u32 = 0x9123_683E;
    rustix::fs::fstatfs(file).is_ok_and(|found| low_half(found.f_type.into()) == BTRFS)
}

fn name_of(magic: u32) -> Option<&'static str> {
    INCOHERENT.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// Magic numbers are 32 bits wide; some kernels extend their sign.
fn low_half(kind: i128) -> u32 {
    u32::try_from(kind & 0xFFFF_FFFF).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_named_and_local_ones_are_not() {
        assert_eq!(name_of(0x6969), Some("NFS"));
        assert_eq!(name_of(low_half(i128::from(0xFF53_4D42_u32.cast_signed()))), Some("CIFS"));
        for (magic, name) in INCOHERENT {
            assert_eq!(name_of(low_half(magic.into())), Some(name));
            assert_eq!(name_of(low_half(magic.cast_signed().into())), Some(name));
        }
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0xF2F5_2010] {
            assert_eq!(name_of(local), None);
        }
        assert_eq!(name_of(0x6573_5546), None, "FUSE is allowed");
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn life_depends_on_each_part_of_the_ground() {
        let life = |dev, inode, mount| life((dev, inode), mount).expect("boot id");
        let one = life(1, 2, 3);
        assert_eq!(one, life(1, 2, 3));
        assert_ne!(one, 0);
        for other in [life(9, 2, 3), life(1, 9, 3), life(1, 2, 9)] {
            assert_ne!(one, other);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn an_absent_path_is_judged_by_its_parent() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let parent = incoherent(dir.path()).expect("statfs");
        assert_eq!(incoherent(&dir.path().join("no/such")).expect("statfs"), parent);
    }
}
