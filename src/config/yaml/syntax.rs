//! What is wrong with a text that is no YAML, in plain words at the right line.

/// A fault of the text: its line, and what to do.
pub(super) struct Plain {
    pub(super) line: usize,
    pub(super) message: String,
}

/// The cause behind an error that a parser met at `line` with these words. `None`: nobody knows better than
/// the parser.
pub(super) fn plain(text: &str, line: usize, words: &str) -> Option<Plain> {
    let fault = |line, why: &str| {
        let message = format!("not YAML: {why}");
        Some(Plain { line, message })
    };
    if let Some(line) = tab(text, line) {
        return fault(
            line,
            "the line is indented with a tab: YAML wants spaces, two for each level",
        );
    }
    if words.contains("anchor") {
        let line = star(text, line)?;
        return fault(
            line,
            "a value that begins with * needs double quotes: \"*@contoso.com\"",
        );
    }
    if words.contains("scanning a quoted scalar") || words.contains("quot") {
        return fault(
            line,
            "a quotation mark is opened here and not closed in the same way",
        );
    }
    let here = Line::of(text, line)?;
    if words.contains("mapping values are not allowed") && here.colons() > 1 {
        return fault(
            line,
            "a second colon with a space in one line: put the value in double quotes, or begin a new line",
        );
    }
    indentation(text, line, words)
}

/// A line that says something.
struct Line<'a> {
    number: usize,
    indent: usize,
    /// A dash stands in front.
    item: bool,
    rest: &'a str,
}

impl<'a> Line<'a> {
    /// Those with something on them but a comment.
    fn all(text: &'a str) -> impl Iterator<Item = Line<'a>> {
        text.lines().zip(1..).filter_map(|(line, number)| {
            let rest = line.trim_start_matches(' ');
            let is_empty = rest.trim().is_empty() || rest.starts_with('#');
            (!is_empty).then_some(Line {
                number,
                indent: line.len() - rest.len(),
                item: rest.starts_with("- "),
                rest,
            })
        })
    }

    fn of(text: &'a str, number: usize) -> Option<Line<'a>> {
        Self::all(text).find(|line| line.number >= number)
    }

    /// Colons that end a key.
    fn colons(&self) -> usize {
        let ends = usize::from(self.rest.trim_end().ends_with(':'));
        self.rest.matches(": ").count() + ends
    }
}

/// The line with a tab in front that the parser stumbled over: its own, or the next.
fn tab(text: &str, line: usize) -> Option<usize> {
    let lines = text.lines().zip(1..);
    let mut near = lines.filter(|(_, number)| *number >= line && *number <= line + 1);
    near.find_map(|(text, number)| {
        let blank = text.len() - text.trim_start_matches([' ', '\t']).len();
        let front = text.get(..blank)?;
        front.contains('\t').then_some(number)
    })
}

/// The line with a value that begins with a star, the last one up to that of the error.
fn star(text: &str, line: usize) -> Option<usize> {
    let lines = Line::all(text).take_while(|one| one.number <= line);
    let stars = lines.filter(|one| {
        [": *", "- *", "[*", ", *"]
            .iter()
            .any(|star| one.rest.contains(star))
    });
    stars.last().map(|one| one.number)
}

/// A line that stands further in or out than its neighbours.
fn indentation(text: &str, line: usize, words: &str) -> Option<Plain> {
    const OF_INDENTATION: [&str; 4] = [
        "did not find expected",
        "mapping values are not allowed",
        "block sequence entries are not allowed",
        "invalid indentation",
    ];
    if !OF_INDENTATION.iter().any(|known| words.contains(known)) {
        return None;
    }
    let here = Line::of(text, line)?;
    let above = Line::all(text)
        .take_while(|one| one.number < here.number)
        .last()?;
    if above.colons() == 0 && !above.item {
        let message = "not YAML: a key without its colon, or a value that goes on in the next line: write key: value";
        return Some(Plain {
            line: above.number,
            message: message.to_owned(),
        });
    }
    // What stands behind a dash is one level further in.
    let of_above = above.indent + if above.item && !here.item { 2 } else { 0 };
    (here.indent != of_above).then(|| Plain {
        line: here.number,
        message: format!(
            "not YAML: the line is indented by {}, the one above it by {of_above}: what belongs together begins in the \
             same column",
            here.indent
        ),
    })
}

#[cfg(test)]
mod tests;
