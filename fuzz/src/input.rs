//! What an input of a dialogue holds.
//!
//! The first octet is a set of switches, whose meaning the targets tell; it is a letter in the files of
//! `corpus/`. What follows is what the peer sends. The control character RS (0x1e) ends a read: what comes
//! behind it arrives later.

/// Ends a read.
const RS: u8 = 0x1e;

/// An input taken apart.
pub struct Input<'a> {
    switches: u8,
    /// What arrives with each read.
    pub reads: Vec<&'a [u8]>,
}

/// How the octets arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// As the input says.
    AsGiven,
    /// So many at a time, within each of its reads.
    Every(usize),
}

/// The ways of arrival that must come to the same.
pub const CUTS: [Cut; 2] = [Cut::Every(1), Cut::Every(7)];

/// A piece that arrives.
pub struct Piece<'a> {
    pub bytes: &'a [u8],
    /// It is the last of one of the input's reads.
    pub whole: bool,
}

impl<'a> Input<'a> {
    /// `None`: there is nothing in it.
    pub fn read(input: &'a [u8]) -> Option<Self> {
        let (switches, rest) = input.split_first()?;
        Some(Self {
            switches: *switches,
            reads: rest.split(|octet| *octet == RS).collect(),
        })
    }

    /// Whether the switch of this number is on.
    pub fn is(&self, switch: u8) -> bool {
        self.number(switch, 1) == 1
    }

    /// The number in so many switches, from this one on.
    pub fn number(&self, switch: u8, count: u8) -> usize {
        usize::from(self.switches >> switch) & ((1 << count) - 1)
    }

    /// How many lines arrive, at most.
    pub fn lines(&self) -> usize {
        let reads = self.reads.iter();
        reads
            .map(|read| read.iter().filter(|octet| **octet == b'\n').count())
            .sum()
    }

    /// Whether anything that arrives holds this.
    pub fn holds(&self, text: &[u8]) -> bool {
        holds(&self.reads.concat(), text)
    }

    /// What arrives, piece by piece.
    pub fn pieces(&self, cut: Cut) -> impl Iterator<Item = Piece<'a>> {
        self.reads.iter().flat_map(move |read| {
            let size = match cut {
                Cut::AsGiven => read.len().max(1),
                Cut::Every(size) => size,
            };
            let count = read.len().div_ceil(size);
            let pieces = read.chunks(size).enumerate();
            pieces.map(move |(number, bytes)| Piece {
                bytes,
                whole: number + 1 == count,
            })
        })
    }
}

/// Whether `text` lies in `all`.
pub fn holds(all: &[u8], text: &[u8]) -> bool {
    all.windows(text.len()).any(|window| window == text)
}
