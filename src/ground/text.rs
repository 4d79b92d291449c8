//! Text made fit to be shown, and octets made text.

use std::fmt::Write;

/// Everything that is not printable ASCII becomes `?`: one line, fit for a protocol, a log and a screen.
pub(crate) fn printable(text: &str) -> String {
    printable_up_to(usize::MAX, text)
}

/// At most the first `max` characters, made printable.
pub(crate) fn printable_up_to(max: usize, text: &str) -> String {
    let fit = |c: char| {
        if c == ' ' || c.is_ascii_graphic() {
            c
        } else {
            '?'
        }
    };
    text.chars().take(max).map(fit).collect()
}

/// At most the first `max` characters, without control characters: one line for people, in any script.
pub(crate) fn one_line(max: usize, text: &str) -> String {
    let tamed = text.chars().take(max);
    tamed
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Two lower-case hexadecimal digits for each octet.
pub(crate) fn hex(octets: impl AsRef<[u8]>) -> String {
    let octets = octets.as_ref();
    let mut text = String::with_capacity(2 * octets.len());
    for octet in octets {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_keeps_one_ascii_line() {
        assert_eq!(printable("a\r\n* OK b\u{e9}\0"), "a??* OK b??");
        assert_eq!(printable_up_to(3, "abcdef"), "abc");
    }

    #[test]
    fn each_octet_has_two_digits() {
        assert_eq!(hex([0, 0x0f, 0xa0, 0xff]), "000fa0ff");
    }
}
