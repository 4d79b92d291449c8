//! Header lines that are short enough.

/// RFC 5322 §2.1.1: no line is longer, its end not counted.
pub(super) const LONGEST_LINE: usize = 998;
/// RFC 5322 §2.1.1: lines should not be longer.
const GOOD_LINE: usize = 78;

pub(super) fn is_space(octet: u8) -> bool {
    octet == b' ' || octet == b'\t'
}

/// A field of one line's text, folded at white space where a line grows long. Without the last line end.
pub(super) fn folded(name: &str, text: &str) -> Vec<u8> {
    let mut field = format!("{name}:").into_bytes();
    let mut column = field.len();
    let mut rest = text.trim_matches([' ', '\t']).as_bytes();
    let mut gap: &[u8] = b" ";
    while !rest.is_empty() {
        let end = rest.iter().position(|octet| is_space(*octet));
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        if column + gap.len() + word.len() > GOOD_LINE && column > name.len() + 1 {
            field.extend_from_slice(b"\r\n");
            column = 0;
        }
        field.extend_from_slice(gap);
        field.extend_from_slice(word);
        column += gap.len() + word.len();
        let end = behind.iter().position(|octet| !is_space(*octet));
        (gap, rest) = behind.split_at(end.unwrap_or(behind.len()));
    }
    field
}

/// Writes a field and its end; lines over 998 octets are folded. Answers how many those were.
pub(super) fn write(field: &[u8], out: &mut Vec<u8>) -> u64 {
    let mut long = 0;
    let mut first = true;
    for line in field.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() <= LONGEST_LINE {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        } else {
            long += 1;
            let colon = line.iter().position(|octet| *octet == b':');
            write_long(line, colon.filter(|_| first).map_or(0, |at| at + 1), out);
        }
        first = false;
    }
    long
}

/// `name` octets at its beginning must stay together.
fn write_long(line: &[u8], name: usize, out: &mut Vec<u8>) {
    let mut rest = line.trim_ascii_end();
    let mut least = name;
    let mut space_of_ours = false;
    loop {
        let spaces = rest.iter().take_while(|octet| is_space(**octet)).count();
        if spaces > 1 && rest.len() > LONGEST_LINE {
            // A line of white space only would end the header for some readers.
            rest = rest.get(spaces - 1..).unwrap_or_default();
        }
        if space_of_ours && spaces == 0 {
            out.push(b' ');
        }
        let limit = LONGEST_LINE - usize::from(space_of_ours && spaces == 0);
        if rest.len() <= limit {
            out.extend_from_slice(rest);
            out.extend_from_slice(b"\r\n");
            return;
        }
        least = least.max(spaces.min(1) + 1);
        let last = |reach: usize, is_it: fn(u8) -> bool| {
            let reach = rest.get(..reach).unwrap_or(rest);
            reach.iter().rposition(|octet| is_it(*octet))
        };
        let space = last(limit + 1, is_space).filter(|at| *at >= least);
        let comma = last(limit, |octet| octet == b',' || octet == b';');
        let comma = comma.map(|at| at + 1).filter(|at| *at > least);
        let at = space.or(comma);
        let at = at.unwrap_or_else(|| whole_character(rest, limit));
        let (piece, behind) = rest.split_at(at);
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
        rest = behind;
        least = 0;
        space_of_ours = true;
    }
}

/// The last place up to `at` that is not within a character of UTF-8.
pub(super) fn whole_character(text: &[u8], at: usize) -> usize {
    let within = |at: usize| text.get(at).is_some_and(|octet| octet & 0xc0 == 0x80);
    let back = (0..4).find(|back| !within(at.saturating_sub(*back)));
    at.saturating_sub(back.unwrap_or(0))
}
