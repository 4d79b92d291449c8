//! Reading a message again, with every check on the way.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::SpoolError;
use super::envelope::{Header, Repair};
use super::format::{
    DIGEST_LENGTH, Damage, END_LENGTH, End, LONGEST_HEADER, Layout, header_end, layout,
    read_header, read_tail,
};
use super::id::Id;
use crate::store::blocking;

/// Octets of a piece.
const PIECE: usize = 64 * 1024;
/// Octets that are read at first: nearly every header is shorter.
const FIRST_READ: usize = 2 * 1024;

/// Why a file could not be read.
pub(super) enum Fault {
    Damage(Damage),
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl Fault {
    pub(super) fn at(self, path: &Path) -> SpoolError {
        match self {
            Self::Io(error) => SpoolError::io("read", path, error),
            Self::Damage(damage) => SpoolError::Damaged {
                path: path.to_owned(),
                damage,
            },
        }
    }
}

/// What a look at both ends of a file shows.
pub(super) struct Look {
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) header: Header,
    pub(super) layout: Layout,
    pub(super) repairs: Vec<Repair>,
    end: End,
}

/// Opens the file of the message `id` and looks at its header and its end, not at what lies between.
pub(super) fn look(path: &Path, id: Id) -> Result<Look, Fault> {
    if !path.symlink_metadata()?.is_file() {
        return Err(Damage::NotOurs.into());
    }
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(FIRST_READ);
    let mut next = FIRST_READ;
    let from = loop {
        let read = (&mut file).take(next as u64).read_to_end(&mut bytes)?;
        if let Some(from) = header_end(&bytes).filter(|from| *from <= LONGEST_HEADER) {
            break from;
        }
        if read < next || bytes.len() > LONGEST_HEADER {
            // What is wrong with its beginning says more than the missing end.
            bytes.extend_from_slice(b"\n\n");
            let damage = read_header(&bytes).err();
            let telling = damage.filter(|damage| matches!(damage, Damage::NotOurs));
            return Err(telling.unwrap_or(Damage::Header).into());
        }
        next = bytes.len();
    };
    bytes.truncate(from);
    let header = read_header(&bytes)?;
    if header.id != id {
        return Err(Damage::Line("id").into());
    }
    let last = size.checked_sub(END_LENGTH as u64).ok_or(Damage::NoEnd)?;
    let end = End::read(&part(&mut file, last, size)?).ok_or(Damage::NoEnd)?;
    let layout = layout(&header, from as u64, size, &end)?;
    let tail = part(&mut file, layout.tail.start, layout.tail.end)?;
    let repairs = read_tail(&tail)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(Look {
        file,
        size,
        header,
        layout,
        repairs,
        end,
    })
}

/// The header of a file that is damaged elsewhere.
pub(super) fn header_of(path: &Path, id: Id) -> Option<Header> {
    if !path.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    let read = file.take(LONGEST_HEADER as u64).read_to_end(&mut bytes);
    read.ok()?;
    let header = read_header(bytes.get(..header_end(&bytes)?)?).ok()?;
    (header.id == id).then_some(header)
}

/// Octets `from..to` of a file; both ends are known to be near each other.
fn part(file: &mut File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(to.saturating_sub(from)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A message that is being read: first what is known of it, then its octets.
pub struct Message {
    header: Header,
    repairs: Vec<Repair>,
    size: u64,
    path: PathBuf,
    reading: Option<Reading>,
}

impl Message {
    /// Opens its file, and looks at both ends.
    pub(super) fn open(path: PathBuf, id: Id) -> Result<Self, SpoolError> {
        match look(&path, id) {
            Ok(look) => Ok(Self::new(path, look)),
            Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(SpoolError::Unknown(id))
            }
            Err(fault) => Err(fault.at(&path)),
        }
    }

    fn new(path: PathBuf, look: Look) -> Self {
        let Look {
            file,
            size,
            header,
            layout,
            repairs,
            end,
        } = look;
        Self {
            header,
            repairs,
            size: layout.message.end - layout.message.start,
            path,
            reading: Some(Reading {
                file,
                at: 0,
                covered: size.saturating_sub(DIGEST_LENGTH as u64),
                layout,
                end,
                hash: Sha256::new(),
            }),
        }
    }

    /// Its envelope and the rest of its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was mended in it.
    pub fn repairs(&self) -> &[Repair] {
        &self.repairs
    }

    /// Its octets.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next octets of the message; `None` behind the last ones.
    ///
    /// The last ones come only when length and checksum of the whole file are right. So who delivers sends
    /// the final dot, or `BDAT LAST`, only after `None`: half a message or a changed one is never delivered.
    ///
    /// # Errors
    /// When the file can't be read, or is not as it was written: then [`Spool::set_aside`](super::Spool::set_aside).
    /// Also after an earlier error, and after a call whose future was dropped.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, SpoolError> {
        const CUT_OFF: SpoolError =
            SpoolError::Unavailable("an earlier read of this message failed");
        let mut reading = self.reading.take().ok_or(CUT_OFF)?;
        let (reading, piece) = blocking(move || {
            let piece = reading.next();
            (reading, piece)
        })
        .await?;
        let piece = piece.map_err(|fault| fault.at(&self.path))?;
        self.reading = Some(reading);
        Ok(piece)
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({}, {} octets)", self.header.id, self.size)
    }
}

struct Reading {
    file: File,
    /// Octets of the file that were read.
    at: u64,
    /// Octets that the checksum is about.
    covered: u64,
    layout: Layout,
    end: End,
    hash: Sha256,
}

impl Reading {
    fn next(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let message = self.layout.message.clone();
        if self.at < message.start {
            self.take(message.start)?;
        }
        let piece = self.take(message.end.min(self.at.saturating_add(PIECE as u64)))?;
        if self.at >= message.end && self.at < self.covered {
            self.take(self.covered)?;
            if !self.end.is_of(self.hash.clone()) {
                return Err(Damage::Checksum.into());
            }
        }
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// The octets up to `to`, hashed.
    fn take(&mut self, to: u64) -> Result<Vec<u8>, Fault> {
        let wanted = to.saturating_sub(self.at);
        let mut bytes = Vec::new();
        (&mut self.file).take(wanted).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < wanted {
            return Err(Damage::NoEnd.into());
        }
        self.hash.update(&bytes);
        self.at += wanted;
        Ok(bytes)
    }
}
