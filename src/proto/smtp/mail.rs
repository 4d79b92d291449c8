//! The MAIL command of devices that never log in.

use crate::proto::line::split;

/// MAIL as devices send it, as RFC 5321 §4.1.1.2 wants it: a blank behind the colon, missing angle brackets, a
/// display name. What is not understood stays as it is: the upstream judges it.
pub(super) fn mended(line: &[u8]) -> Vec<u8> {
    let as_it_is = || line.to_vec();
    let (verb, rest) = split(line);
    if !verb.eq_ignore_ascii_case(b"MAIL") {
        return as_it_is();
    }
    let rest = rest.trim_ascii();
    let from = rest.get(..4).unwrap_or_default();
    let Some(path) = rest.get(4..).map(<[u8]>::trim_ascii_start) else {
        return as_it_is();
    };
    let path = match path.strip_prefix(b":") {
        Some(path) if from.eq_ignore_ascii_case(b"FROM") => path.trim_ascii_start(),
        None if from.eq_ignore_ascii_case(b"FROM") && path.starts_with(b"<") => path,
        _ => return as_it_is(),
    };
    let open = memchr::memchr(b'<', path);
    let (address, parameters) = match open {
        Some(open) => {
            let inside = path.get(open + 1..).unwrap_or_default();
            // One without its end ends where the parameters begin.
            let close = memchr::memchr2(b'>', b' ', inside).unwrap_or(inside.len());
            let close = memchr::memchr(b'>', inside).unwrap_or(close);
            inside.split_at_checked(close).unwrap_or((inside, b""))
        }
        None => {
            let end = memchr::memchr(b' ', path).unwrap_or(path.len());
            path.split_at_checked(end).unwrap_or((path, b""))
        }
    };
    let parameters = parameters
        .strip_prefix(b">")
        .unwrap_or(parameters)
        .trim_ascii();
    let address = address.trim_ascii();
    // A quoted local part may hold anything; without brackets an address has an @.
    let plain = !address.contains(&b'"') && !address.contains(&b' ');
    if !plain || (open.is_none() && !address.contains(&b'@')) {
        return as_it_is();
    }
    let mut mail = [b"MAIL FROM:<", address, b">"].concat();
    if !parameters.is_empty() {
        mail.push(b' ');
        mail.extend_from_slice(parameters);
    }
    mail
}
