//! YAML text into a tree in which every node knows its line.
//!
//! `saphyr-parser` gives the events, because `serde_yaml` knows no line of a value and lets the
//! last of two equal keys win in silence. What a configuration doesn't need is refused here:
//! anchors, aliases (so nothing can multiply), tags, several documents, keys that are not text.
//! No message shows text of the file.

mod syntax;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::fault::Report;
use crate::input::unseen;

/// Deepest nesting; the file needs 5.
const DEPTH: usize = 32;

/// Most nodes, so that 1 MiB of `[,,,` takes little memory: 60,000 accounts have fewer.
const NODES: usize = 500_000;

/// A value of the file.
#[derive(Debug)]
pub(super) struct Node {
    /// Line of its first character, from 1.
    pub(super) line: usize,
    pub(super) kind: NodeKind,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum NodeKind {
    /// Nothing, `~` or `null`.
    Null,
    /// Text; `plain` when it stood without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// Entries in the order of the file, equal keys included.
    Map(Vec<Entry>),
    /// Something refused, already reported.
    Refused,
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Node,
}

impl Node {
    /// The entries of a map; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            NodeKind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub(super) fn items(&self) -> &[Node] {
        match &self.kind {
            NodeKind::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What it is, in words.
    pub(super) fn what(&self) -> &'static str {
        match &self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Scalar { .. } => "a single value",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a map",
            NodeKind::Refused => "something refused",
        }
    }
}

/// Reads the one document of a text. None: the text is unusable, as reported.
pub(super) fn read(text: &str, report: &mut Report) -> Option<Node> {
    if report_unseen(text, report) {
        return None;
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        nodes: 0,
        report,
    };
    match reader.document() {
        Ok(node) => node,
        Err(Stop::Syntax(error)) => {
            let mark = error.marker();
            let plain = syntax::plain(text, mark.line(), error.info());
            let (line, message) = plain.map_or_else(
                || (mark.line(), syntax_message(error.info())),
                |plain| (plain.line, plain.message),
            );
            let column = match line == mark.line() {
                true => format!("column {}: ", mark.col() + 1),
                false => String::new(),
            };
            report.fault(line, "", format!("{column}{message}"));
            None
        }
        Err(Stop::Reported) => None,
    }
}

/// Reports characters in the indentation, or behind a key's colon, that look like spaces and are none: what
/// a parser says of such a text leads nowhere. Those in values and keys are found where these are read.
fn report_unseen(text: &str, report: &mut Report) -> bool {
    let before = report.faults.len();
    for (line, number) in text.lines().zip(1..) {
        let indented = line.trim_start_matches([' ', '\t', '-', '?']);
        let comment = indented.starts_with('#');
        let value = line.split_once(':').filter(|_| !comment);
        let mut parts = [Some(indented), value.map(|(_, value)| value)].into_iter();
        let part = parts.find(|part| part.is_some_and(|part| part.starts_with(unseen::is_unseen)));
        let unseen = part.flatten().and_then(|part| {
            let before = line.chars().count() - part.chars().count();
            let mut found = unseen::find(part)?;
            found.place += before;
            Some(found)
        });
        if let Some(unseen) = unseen {
            report.fault(number, "", format!("{unseen}"));
        }
    }
    report.faults.len() > before
}

/// The parser's words, but for the one message that quotes the text.
fn syntax_message(info: &str) -> String {
    if info.starts_with("unexpected character") {
        return "not YAML: a value without quotes can't begin with this character: put the value \
                in double quotes"
            .to_owned();
    }
    format!("not YAML: {info}")
}

/// Why reading ends early.
enum Stop {
    Syntax(ScanError),
    Reported,
}

struct Reader<'a, 'r> {
    parser: Parser<'a, StrInput<'a>>,
    nodes: usize,
    report: &'r mut Report,
}

impl<'a> Reader<'a, '_> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Stop::Syntax(error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) if root.is_some() => {
                    let message = "a second document (---) begins here: one file, one document";
                    self.report.fault(span.start.line(), "", message);
                    return Ok(root);
                }
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                Event::Nothing => {}
                event => root = Some(self.node(event, span, 0)?),
            }
        }
    }

    /// One value, begun by `event`.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Stop> {
        let line = span.start.line();
        self.nodes += 1;
        if depth > DEPTH || self.nodes > NODES {
            let message = "nested too deeply, or too many values for a configuration file";
            self.report.fault(line, "", message);
            return Err(Stop::Reported);
        }
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag.is_some())
            }
            _ => (0, false),
        };
        if anchor != 0 {
            self.report.fault(
                line,
                "",
                "anchors (&) are not used here: write the value out",
            );
        }
        if tag {
            self.report.fault(
                line,
                "",
                "tags (!) are not used here: put text in double quotes",
            );
        }
        let kind = match event {
            Event::Scalar(text, style, ..) => scalar(text.into_owned(), style),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            _ => {
                self.report.fault(
                    line,
                    "",
                    "aliases (*) are not used here: write the value out",
                );
                NodeKind::Refused
            }
        };
        Ok(Node { line, kind })
    }

    fn list(&mut self, depth: usize) -> Result<NodeKind, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(NodeKind::List(items));
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<NodeKind, Stop> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(NodeKind::Map(entries));
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            match key.kind {
                NodeKind::Scalar { text, .. } => {
                    entries.push(Entry {
                        key: text,
                        line: key.line,
                        value,
                    });
                }
                NodeKind::Refused => {}
                _ => self.report.fault(key.line, "", "a key must be a word"),
            }
        }
    }
}

fn scalar(text: String, style: ScalarStyle) -> NodeKind {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        return NodeKind::Null;
    }
    NodeKind::Scalar { text, plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let mut report = Report::default();
        read(text, &mut report);
        report.faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_are_those_of_an_editor() {
        for end in ["\n", "\r\n"] {
            let text = [
                "# words",
                "a:",
                "  - b",
                "  - c: d",
                "    e: |-",
                "      f",
                "g: 'h'",
                "",
            ]
            .join(end);
            let mut report = Report::default();
            let root = read(&text, &mut report).unwrap();
            assert_eq!(report.faults, []);
            let [a, g] = root.entries() else {
                panic!("{root:?}")
            };
            assert_eq!((a.line, g.line), (2, 7));
            let lines: Vec<_> = a.value.items().iter().map(|item| item.line).collect();
            assert_eq!(lines, [3, 4]);
            assert_eq!(g.value.text(), Some("h"));
        }
    }

    #[test]
    fn what_looks_like_a_space_and_is_none_is_named_by_its_place() {
        for (text, place) in [
            (
                "a:\n  b: 1\n\u{a0} c: 2\n",
                "line 3: character 1: U+00A0 NO-BREAK SPACE",
            ),
            (
                "a:\n \u{a0}b: 1\n",
                "line 2: character 2: U+00A0 NO-BREAK SPACE",
            ),
            (
                "a:\n-\u{a0}b\n",
                "line 2: character 2: U+00A0 NO-BREAK SPACE",
            ),
            ("a:\u{a0}b\n", "line 1: character 3: U+00A0 NO-BREAK SPACE"),
            (
                "a:\n  \u{200b}b: 1\n",
                "line 2: character 3: U+200B ZERO WIDTH SPACE",
            ),
            ("a: 1\n\u{feff}b: 1\n", "line 2: character 1: U+FEFF"),
        ] {
            let faults = faults(text);
            assert_eq!(faults.len(), 1, "{text:?}: {faults:?}");
            assert!(faults[0].starts_with(place), "{text:?}: {faults:?}");
        }
        assert_eq!(faults("# a\u{a0}b:\u{a0}c\na: b # \u{a0}c\n").len(), 0);
    }

    #[test]
    fn what_multiplies_or_hides_is_refused() {
        assert_eq!(
            faults("a: &x 1\nb: *x\nc: !!str 2\n"),
            [
                "line 1: anchors (&) are not used here: write the value out",
                "line 2: aliases (*) are not used here: write the value out",
                "line 3: tags (!) are not used here: put text in double quotes",
            ]
        );
        let second = "line 3: a second document (---) begins here: one file, one document";
        assert_eq!(faults("a: 1\n# x\n---\nb: 2\n"), [second]);
        assert_eq!(faults("? [a]\n: b\n"), ["line 1: a key must be a word"]);
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = "[".repeat(200);
        assert_eq!(faults(&deep).len(), 1);
        let block: String = (0..200)
            .map(|depth| format!("{}a:\n", " ".repeat(depth)))
            .collect();
        assert!(
            faults(&block)
                .iter()
                .all(|fault| fault.contains("nested too deeply"))
        );
        assert_eq!(faults(&block).len(), 1);
        let many = format!("[{}]", "a,".repeat(NODES + 1));
        assert!(faults(&many)[0].contains("too many values"));
    }

    #[test]
    fn a_syntax_fault_shows_its_place_and_nothing_of_the_text() {
        for (text, place) in [
            ("a: b\nclient_secret: hunter2: x\n", "line 2: column "),
            ("a: [hunter2\nb: c\n", "line "),
            ("a: @hunter2\n", "line 1: column 4: "),
            ("a: 'hunter2\n", "line "),
            ("a:\n\thunter2: x\n", "line 2: column "),
            ("a: \"\\q hunter2\"\n", "line 1: column "),
            ("hunter2\nb: c\n", "line "),
            ("a: %hunter2\n", "line 1: column 4: "),
        ] {
            let faults = faults(text);
            assert_eq!(faults.len(), 1, "{text}: {faults:?}");
            assert!(faults[0].starts_with(place), "{faults:?}");
            assert!(faults[0].contains("not YAML"), "{faults:?}");
            assert!(
                !faults[0].contains("hunter2") && !faults[0].contains('@'),
                "{faults:?}"
            );
        }
    }
}
