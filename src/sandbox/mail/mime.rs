//! The parts of a message (RFC 5322, RFC 2045, RFC 2046), read tolerantly: any bytes are a message.

/// Deeper nesting is shown as one part: no real message has it, and the parsers of clients have their
/// limits too (imap-codec's is 8).
const MAX_DEPTH: usize = 6;
/// More parts than this are left out.
const MAX_PARTS: usize = 1_000;

/// A message, or a part of one.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// The header with the empty line that ends it.
    pub(super) head: &'a [u8],
    pub(super) body: &'a [u8],
    pub(super) content_type: ContentType,
    pub(super) inner: Inner<'a>,
}

#[derive(Debug)]
pub(super) enum Inner<'a> {
    Leaf,
    Multipart(Vec<Part<'a>>),
    Message(Box<Part<'a>>),
}

/// `Content-Type` or `Content-Disposition`: a value and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContentType {
    pub(super) main: String,
    pub(super) sub: String,
    pub(super) parameters: Vec<(String, String)>,
}

impl<'a> Part<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Self {
        let mut left = MAX_PARTS;
        Self::parse_at(bytes, 0, &mut left, "plain")
    }

    fn parse_at(bytes: &'a [u8], depth: usize, left: &mut usize, default: &str) -> Self {
        let (head, body) = split_head(bytes);
        let declared = header(head, "content-type").and_then(|v| ContentType::parse(&v));
        let content_type = declared.unwrap_or_else(|| ContentType::default_of(default));
        *left = left.saturating_sub(1);
        let mut part = Self {
            head,
            body,
            content_type,
            inner: Inner::Leaf,
        };
        if depth >= MAX_DEPTH {
            return part;
        }
        if part.content_type.main == "multipart" {
            let default = if part.content_type.sub == "digest" {
                "rfc822"
            } else {
                "plain"
            };
            if let Some(boundary) = part.content_type.parameter("boundary") {
                let mut children = Vec::new();
                for child in split_parts(body, boundary.as_bytes()) {
                    if *left == 0 {
                        break;
                    }
                    children.push(Self::parse_at(child, depth + 1, left, default));
                }
                if !children.is_empty() {
                    part.inner = Inner::Multipart(children);
                }
            }
        } else if part.content_type.main == "message" && part.content_type.sub == "rfc822" {
            let inner = Self::parse_at(body, depth + 1, left, "plain");
            part.inner = Inner::Message(Box::new(inner));
        }
        part
    }

    /// The part of a section number in this message (RFC 3501 §6.4.5).
    pub(super) fn find(&self, path: &[u32]) -> Option<&Self> {
        let (&first, rest) = path.split_first()?;
        match &self.inner {
            Inner::Multipart(children) => nth(children, first)?.descend(rest),
            _ if first == 1 => self.descend(rest),
            _ => None,
        }
    }

    fn descend(&self, path: &[u32]) -> Option<&Self> {
        let Some((&first, rest)) = path.split_first() else {
            return Some(self);
        };
        match &self.inner {
            Inner::Multipart(children) => nth(children, first)?.descend(rest),
            Inner::Message(inner) => inner.find(path),
            Inner::Leaf => None,
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        header(self.head, name)
    }
}

fn nth<'p, 'a>(children: &'p [Part<'a>], number: u32) -> Option<&'p Part<'a>> {
    children.get(usize::try_from(number).ok()?.checked_sub(1)?)
}

impl ContentType {
    /// Also fit for `Content-Disposition`, whose `sub` is then empty.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut pieces = split_quoted(value, ';').into_iter();
        let essence = pieces.next()?;
        let (main, sub) = essence.split_once('/').unwrap_or((essence.as_str(), ""));
        let parameters = pieces.filter_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), unquote(value.trim())))
        });
        let main = main.trim().to_ascii_lowercase();
        (!main.is_empty()).then(|| Self {
            main,
            sub: sub.trim().to_ascii_lowercase(),
            parameters: parameters.collect(),
        })
    }

    fn default_of(sub: &str) -> Self {
        let main = if sub == "rfc822" { "message" } else { "text" };
        Self {
            main: main.to_owned(),
            sub: sub.to_owned(),
            parameters: Vec::new(),
        }
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// Lines with their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&b| b == b'\n')
}

fn bare(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn split_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    for line in lines(bytes) {
        end += line.len();
        if bare(line).is_empty() {
            break;
        }
    }
    bytes.split_at_checked(end).unwrap_or((bytes, b""))
}

/// The fields of a header: name and raw bytes, folded lines with them.
pub(super) fn fields(head: &[u8]) -> Vec<(String, &[u8])> {
    let mut found: Vec<(String, &[u8])> = Vec::new();
    let (mut start, mut end) = (0, 0);
    let mut name = None;
    for line in lines(head) {
        let folded = line.first().is_some_and(|b| b" \t".contains(b)) && !bare(line).is_empty();
        if !folded {
            found.extend(name.take().zip(head.get(start..end)));
            start = end;
            let text = bare(line);
            let colon = text.iter().position(|&b| b == b':');
            name = colon
                .and_then(|at| text.get(..at))
                .map(|n| String::from_utf8_lossy(n).trim().to_ascii_lowercase());
        }
        end += line.len();
    }
    found.extend(name.zip(head.get(start..end)));
    found
}

/// The first field of this name, unfolded.
fn header(head: &[u8], name: &str) -> Option<String> {
    let fields = fields(head);
    let (_, raw) = fields.iter().find(|(n, _)| n == name)?;
    let text = String::from_utf8_lossy(raw);
    let (_, value) = text.split_once(':')?;
    Some(
        value
            .replace("\r\n", "")
            .replace('\n', "")
            .trim()
            .to_owned(),
    )
}

/// The parts between the boundary lines (RFC 2046 §5.1.1); the line end before a boundary is its own.
fn split_parts<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in lines(body) {
        let delimiter = bare(line)
            .strip_prefix(b"--")
            .and_then(|l| l.strip_prefix(boundary));
        let last = match delimiter.map(<[u8]>::trim_ascii_end) {
            Some(b"") => false,
            Some(b"--") => true,
            _ => {
                at += line.len();
                continue;
            }
        };
        parts.extend(start.and_then(|s| body.get(s..at)).map(bare));
        at += line.len();
        start = Some(at);
        if last {
            return parts;
        }
    }
    parts.extend(start.and_then(|s| body.get(s..)));
    parts
}

/// Splits where the separator is not inside quotes.
pub(super) fn split_quoted(text: &str, separator: char) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        if c == separator && !quoted {
            pieces.push(String::new());
            continue;
        }
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && quoted && !escaped;
        if let Some(piece) = pieces.last_mut() {
            piece.push(c);
        }
    }
    pieces
}

/// Takes quotes and their escapes away.
pub(super) fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"') else {
        return text.to_owned();
    };
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}
