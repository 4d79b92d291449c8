//! Follows the parts of a message, to know how the lines of each are encoded.

use super::words::parameter;

/// How deep parts in parts are followed.
const DEEPEST: usize = 32;
/// As much of a part's header field as is looked at.
const LONGEST_FIELD: usize = 4096;
/// A longer boundary is none (RFC 2046 §5.1.1 allows 70).
const LONGEST_BOUNDARY: usize = 200;

/// How the octets of a part became lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Encoding {
    #[default]
    Plain,
    Base64,
    QuotedPrintable,
}

/// What the header of a message or a part says of its body.
#[derive(Debug, Default)]
pub(super) struct Part {
    boundary: Option<Vec<u8>>,
    is_message: bool,
    encoding: Encoding,
}

impl Part {
    /// Looks at a field.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") {
            let word = value.split(|octet| b" \t\r\n;(".contains(octet));
            let word = word.into_iter().find(|word| !word.is_empty());
            let word = word.unwrap_or_default().to_ascii_lowercase();
            self.encoding = match word.trim_ascii() {
                b"base64" => Encoding::Base64,
                b"quoted-printable" => Encoding::QuotedPrintable,
                _ => Encoding::Plain,
            };
        } else if name.eq_ignore_ascii_case(b"Content-Type") {
            let text = String::from_utf8_lossy(value);
            let kind = text.trim_start().to_ascii_lowercase();
            self.is_message = kind.starts_with("message/rfc822");
            let boundary = parameter(&text, "boundary");
            self.boundary = boundary
                .map(|boundary| boundary.trim_end().as_bytes().to_vec())
                .filter(|boundary| kind.starts_with("multipart/") && !boundary.is_empty())
                .filter(|boundary| boundary.len() <= LONGEST_BOUNDARY);
        }
    }
}

/// The parts as their lines go by.
#[derive(Debug, Default)]
pub(super) struct Mime {
    boundaries: Vec<Vec<u8>>,
    /// `Some` between a part's boundary and its body.
    header: Option<Part>,
    field: Vec<u8>,
    encoding: Encoding,
}

impl Mime {
    /// At the beginning of the body of a message with this header.
    pub(super) fn new(top: Part) -> Self {
        let mut mime = Self::default();
        mime.begin_body(top);
        mime
    }

    pub(super) fn encoding(&self) -> Encoding {
        if self.header.is_some() {
            Encoding::Plain
        } else {
            self.encoding
        }
    }

    /// Takes a line without its end; of a long one the beginning is enough.
    pub(super) fn line(&mut self, line: &[u8]) {
        if line.starts_with(b"--") && self.is_boundary(line) {
            return;
        }
        if self.header.is_none() {
            return;
        }
        if line.is_empty() {
            self.end_field();
            if let Some(part) = self.header.take() {
                self.begin_body(part);
            }
        } else if matches!(line.first(), Some(b' ' | b'\t')) {
            if !self.field.is_empty() {
                let room = LONGEST_FIELD.saturating_sub(self.field.len());
                self.field.extend(line.iter().take(room));
            }
        } else {
            self.end_field();
            if line
                .get(..8)
                .is_some_and(|name| name.eq_ignore_ascii_case(b"content-"))
            {
                self.field.extend_from_slice(line);
            }
        }
    }

    fn is_boundary(&mut self, line: &[u8]) -> bool {
        let found = self.boundaries.iter().enumerate().rev();
        let found = found.filter_map(|(depth, boundary)| {
            let rest = line
                .strip_prefix(b"--")?
                .strip_prefix(boundary.as_slice())?;
            match rest.trim_ascii_end() {
                b"" => Some((depth, false)),
                b"--" => Some((depth, true)),
                _ => None,
            }
        });
        let Some((depth, is_last)) = found.into_iter().next() else {
            return false;
        };
        self.field.clear();
        self.encoding = Encoding::Plain;
        self.header = (!is_last).then(Part::default);
        let depth = if is_last { depth } else { depth + 1 };
        self.boundaries.truncate(depth);
        true
    }

    fn end_field(&mut self) {
        let field = std::mem::take(&mut self.field);
        let mut halves = field.splitn(2, |octet| *octet == b':');
        if let (Some(part), Some(name), Some(value)) =
            (&mut self.header, halves.next(), halves.next())
        {
            part.field(name.trim_ascii_end(), value);
        }
    }

    fn begin_body(&mut self, part: Part) {
        self.encoding = Encoding::Plain;
        if let Some(boundary) = part.boundary {
            if self.boundaries.len() < DEEPEST {
                self.boundaries.push(boundary);
            }
        } else if part.is_message {
            // The message within has a header of its own.
            self.header = Some(Part::default());
        } else {
            self.encoding = part.encoding;
        }
    }
}
