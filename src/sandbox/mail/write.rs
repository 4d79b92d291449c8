//! Strings on the wire (RFC 3501 §4.3).

use std::io::Write;

/// A longer string goes as a literal, in which no line can get too long for a client.
const MAX_QUOTED: usize = 900;

/// Formats into a response. Writing to memory cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        let _ = write!($out, $($arg)*);
    }};
}
pub(super) use put;

/// Quoted where that is possible, else a literal. NUL may not stand in either and is left out.
pub(super) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let plain = |b: u8| (0x20..0x7f).contains(&b);
    if bytes.len() <= MAX_QUOTED && bytes.iter().copied().all(plain) {
        out.push(b'"');
        for &b in bytes {
            if b == b'"' || b == b'\\' {
                out.push(b'\\');
            }
            out.push(b);
        }
        out.push(b'"');
    } else {
        literal(out, bytes);
    }
}

/// A string or `NIL`.
pub(super) fn nstring(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => string(out, text.as_bytes()),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// `{n}` and the octets.
pub(super) fn literal(out: &mut Vec<u8>, bytes: &[u8]) {
    let nuls = bytes.iter().filter(|&&b| b == 0).count();
    put!(out, "{{{}}}\r\n", bytes.len() - nuls);
    if nuls == 0 {
        out.extend_from_slice(bytes);
    } else {
        out.extend(bytes.iter().filter(|&&b| b != 0));
    }
}
