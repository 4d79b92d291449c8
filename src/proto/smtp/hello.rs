//! What a client says of itself.

/// EHLO or HELO, as said last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// The name, whatever the client takes for one; may be empty.
    pub name: String,
    /// It was EHLO.
    pub extended: bool,
}

/// The longest name (RFC 5321 §4.5.3.1.2), in octets.
const LONGEST: usize = 255;

impl Hello {
    /// `None`: the name is too long.
    pub(super) fn read(name: &[u8], extended: bool) -> Option<Self> {
        (name.len() <= LONGEST).then(|| Self {
            name: String::from_utf8_lossy(name).into_owned(),
            extended,
        })
    }
}
