//! Lists of addresses taken apart: quotes, comments, brackets, and what stands between.

/// The pieces of one address.
pub(super) struct Parts<'a> {
    pub(super) before: String,
    pub(super) angle: Option<&'a str>,
    pub(super) closed: bool,
    pub(super) after: String,
    pub(super) comment: String,
}

impl<'a> Parts<'a> {
    pub(super) fn of(raw: &'a str) -> Self {
        let mut parts = Self {
            before: String::new(),
            angle: None,
            closed: true,
            after: String::new(),
            comment: String::new(),
        };
        let mut state = State::new(raw);
        let mut open = None;
        for (at, c) in raw.char_indices() {
            let was = state.place();
            state.step(c);
            match (was, state.place()) {
                (Place::Text, Place::Angle) => open = Some(at + 1),
                (Place::Angle, Place::Text) => {
                    if parts.angle.is_none() {
                        parts.angle = open.and_then(|open| raw.get(open..at));
                    }
                }
                (Place::Comment, Place::Comment) => parts.comment.push(c),
                (Place::Comment, _) | (_, Place::Comment) | (Place::Angle, _) => {}
                _ if open.is_some() => parts.after.push(c),
                _ => parts.before.push(c),
            }
        }
        parts.closed = !state.angle;
        if parts.angle.is_none() {
            parts.angle = open.and_then(|open| raw.get(open..));
        }
        parts
    }
}

/// Where in a list of addresses a character stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Quoted,
    Comment,
    Angle,
}

/// Follows quotes, comments and brackets. Those that are never closed are characters like others.
struct State {
    quoted: bool,
    escaped: bool,
    depth: usize,
    angle: bool,
    quotes: bool,
    comments: bool,
}

impl State {
    fn new(text: &str) -> Self {
        let mut state = Self {
            quoted: false,
            escaped: false,
            depth: 0,
            angle: false,
            quotes: true,
            comments: true,
        };
        // At most once more for either.
        for _ in 0..2 {
            text.chars().for_each(|c| state.step(c));
            let (quotes, comments) = (!state.quoted, state.depth == 0);
            state.quotes &= quotes;
            state.comments &= comments;
            (state.quoted, state.escaped, state.depth, state.angle) = (false, false, 0, false);
            if quotes && comments {
                break;
            }
        }
        state
    }

    fn place(&self) -> Place {
        if self.depth > 0 {
            Place::Comment
        } else if self.angle {
            Place::Angle
        } else if self.quoted {
            Place::Quoted
        } else {
            Place::Text
        }
    }

    fn step(&mut self, c: char) {
        if self.escaped {
            self.escaped = false;
            return;
        }
        match c {
            '\\' if self.quoted || self.depth > 0 => self.escaped = true,
            '"' if self.quotes && self.depth == 0 => self.quoted = !self.quoted,
            '(' if self.comments && !self.quoted => self.depth += 1,
            ')' if !self.quoted => self.depth = self.depth.saturating_sub(1),
            '<' if !self.quoted && self.depth == 0 => self.angle = true,
            '>' if !self.quoted && self.depth == 0 => self.angle = false,
            _ => {}
        }
    }
}

/// A list cut at `,` `:` `;`, each piece with the one that ended it, and whether quotes or comments stay
/// open.
pub(super) fn pieces(text: &str) -> (Vec<(&str, Option<char>)>, bool) {
    let mut pieces = Vec::new();
    let mut state = State::new(text);
    let broken = !state.quotes || !state.comments;
    let mut begin = 0;
    let (mut literal, mut has_at) = (false, false);
    for (at, c) in text.char_indices() {
        let was = state.place();
        state.step(c);
        if was != Place::Text || state.escaped {
            continue;
        }
        let is_end = match c {
            ',' | ';' => true,
            // One behind an address, or in a URL, is no group's.
            ':' => !literal && !has_at && !text.get(at..).is_some_and(|t| t.starts_with("://")),
            _ => false,
        };
        match c {
            '[' => literal = true,
            ']' => literal = false,
            '@' => has_at = true,
            _ => {}
        }
        if is_end {
            let piece = text.get(begin..at).unwrap_or_default();
            pieces.push((piece, Some(c)));
            begin = at + c.len_utf8();
            (literal, has_at) = (false, false);
        }
    }
    let rest = text.get(begin..).unwrap_or_default();
    pieces.push((rest, None));
    (pieces, broken)
}
