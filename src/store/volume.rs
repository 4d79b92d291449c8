//! What kind of file system a folder lies on, as far as that matters to files that must last.

use std::io;
use std::path::Path;

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volume {
    /// A disk, or nothing that is known to be none.
    Disk,
    /// In memory: gone with the machine's next start. With its name.
    Memory(&'static str),
    /// On another machine, or passed through by a program: it may not lock or sync as promised. With its name.
    Network(&'static str),
}

/// By the numbers of statfs(2).
const KNOWN: [(u32, Volume); 12] = [
    (0x0102_1994, Volume::Memory("tmpfs")),
    (0x8584_58f6, Volume::Memory("ramfs")),
    (0x0000_6969, Volume::Network("NFS")),
    (0x0000_517b, Volume::Network("SMB")),
    (0xff53_4d42, Volume::Network("CIFS")),
    (0xfe53_4d42, Volume::Network("SMB")),
    (0x00c3_6400, Volume::Network("Ceph")),
    (0x0102_1997, Volume::Network("9P")),
    (0x5346_414f, Volume::Network("AFS")),
    (0x0bd0_0bd0, Volume::Network("Lustre")),
    (0x6573_5546, Volume::Network("FUSE")),
    (0x786f_4256, Volume::Network("vboxsf")),
];

/// The kind that `path` lies on, or where it would be made: the nearest folder above that is there.
///
/// # Errors
/// What the system says.
pub fn volume(path: &Path) -> io::Result<Volume> {
    let there = path.ancestors().find(|path| path.exists());
    let found = rustix::fs::statfs(there.unwrap_or(path))?;
    // The type of the number differs between machines; all that are known have 32 bits.
    let number = u32::try_from(found.f_type & 0xffff_ffff).unwrap_or_default();
    let known = KNOWN.iter().find(|(known, _)| *known == number);
    Ok(known.map_or(Volume::Disk, |(_, volume)| *volume))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_from_a_disk() {
        let shm = Path::new("/dev/shm/mailsplice/not/there");
        assert_eq!(volume(shm).unwrap(), Volume::Memory("tmpfs"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(volume(source).unwrap(), Volume::Disk);
    }
}
