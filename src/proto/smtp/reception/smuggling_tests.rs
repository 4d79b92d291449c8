//! A second message within a first one, behind every pair of line ends around a dot.

use super::End;
use super::play::{Refuses, at_every_split, play};

const ENVELOPE: &str = "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";
const ENDS: [&str; 6] = ["\r\n", "\n", "\r", "\r\r\n", "\n\r", ""];

/// The second message, whose lines end like this.
fn smuggled(end: &str) -> String {
    [
        "MAIL FROM:<boss@b.example>",
        "RCPT TO:<victim@d.example>",
        "DATA",
        "Subject: smuggled",
        "",
        "x",
    ]
    .map(|line| format!("{line}{end}"))
    .concat()
}

/// Whether a dot between these line ends ends the data of a body of these lines.
fn ends(body: &str, before: &str, after: &str) -> bool {
    let regular = before.ends_with("\r\n") && after == "\r\n";
    let body = format!("{body}{before}");
    let bare = before.ends_with('\n') && after.starts_with('\n') && !body.contains("\r\n");
    regular || bare
}

#[test]
fn no_pair_of_line_ends_around_a_dot_lets_a_second_message_in() {
    let bodies = [
        ("CRLF", "Subject: first\r\n\r\none\r\ntwo"),
        ("LF", "Subject: first\n\none\ntwo"),
        ("mixed", "Subject: first\n\r\none\ntwo"),
        ("no line end", "one"),
    ];
    for (name, body) in bodies {
        for before in ENDS {
            for after in ENDS {
                for end in ["\r\n", "\n"] {
                    let second = smuggled(end);
                    let input = format!(
                        "{ENVELOPE}{body}{before}.{after}{second}{end}.{end}\r\n.\r\nQUIT\r\n"
                    );
                    let what = format!("{name} {before:?} . {after:?} {end:?}");
                    let story = play(input.as_bytes(), &[], Refuses::Nothing);
                    let first = &story.messages[0];
                    assert_eq!(first.sender, "a@b.example", "{what}");
                    if ends(body, before, after) && before.ends_with("\r\n") && after == "\r\n" {
                        // What stands behind a true end is another message: the client's own.
                        assert_eq!(story.messages.len(), 2, "{what}");
                        continue;
                    }
                    assert_eq!(story.messages.len(), 1, "{what}: {}", story.said);
                    if ends(body, before, after) {
                        let content = format!("{body}{before}").into_bytes();
                        assert_eq!(first.content, content, "{what}");
                        assert_eq!(story.end, Some(End::BareLf), "{what}");
                    } else {
                        let content = String::from_utf8_lossy(&first.content);
                        assert!(content.contains("boss@b.example"), "{what}");
                    }
                    assert_eq!(story.said.matches("Sender taken").count(), 1, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_dot_behind_the_data_line_ends_the_data_only_with_that_lines_own_end() {
    for (data, dot, ends) in [
        ("DATA\r\n", ".\r\n", true),
        ("DATA\n", ".\n", true),
        ("DATA\r\n", ".\n", false),
        ("DATA\n", ".\r\n", false),
        ("DATA\r\n", "\n.\n", true),
        ("DATA\r\n", "\n.\r\n", false),
        ("DATA\r\n", "\r\n.\n", false),
    ] {
        let input = format!("MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n{data}{dot}");
        let story = at_every_split(input.as_bytes(), Refuses::Nothing);
        assert_eq!(story.messages.len(), usize::from(ends), "{data:?} {dot:?}");
    }
}

#[test]
fn dots_lose_what_the_transport_added() {
    for (sent, content) in [
        ("..\r\n", ".\r\n"),
        (".x\r\n", "x\r\n"),
        ("a\r\n...b\r\n", "a\r\n..b\r\n"),
        ("a.\r\n.\r", "a.\r\n\r"),
        (".\r.\r\n", "\r.\r\n"),
        (".\n", "\n"),
        // Behind a bare LF only who doubles has stuffed.
        ("a\n.b\r\n", "a\n.b\r\n"),
        ("a\n..b\r\n", "a\n.b\r\n"),
        ("a\n...\r\n", "a\n..\r\n"),
        ("a\r..b\r\n", "a\r..b\r\n"),
        ("a\n\r.b\r\n", "a\n\r.b\r\n"),
        ("a\n.\r\n", "a\n.\r\n"),
        ("a\r\n\n.\n", "a\r\n\n.\n"),
        ("\0\u{80}\r\n", "\0\u{80}\r\n"),
    ] {
        let input = format!("{ENVELOPE}{sent}\r\n.\r\n");
        let story = at_every_split(input.as_bytes(), Refuses::Nothing);
        let found = String::from_utf8(story.messages[0].content.clone()).unwrap();
        assert_eq!(found, format!("{content}\r\n"), "{sent:?}");
    }
}
