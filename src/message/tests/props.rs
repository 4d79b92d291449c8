//! What holds for every message, however broken.

use mail_parser::{MessageParser, MimeHeaders};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Mend, Rules, Seen, repair, rules};
use crate::message::Repairer;

/// Whether SMTP can carry it, and a strict reader finds nothing wrong.
pub(super) fn judge(came: &[u8], out: &[u8], rules: &Rules) {
    let shown = came.get(..2000).unwrap_or(came).escape_ascii();
    assert!(out.ends_with(b"\r\n"), "{shown}");
    assert!(!out.contains(&0), "{shown}");
    let text = out.strip_suffix(b"\r\n").unwrap();
    let mut lines = Vec::new();
    let mut rest = text;
    loop {
        let at = rest.windows(2).position(|two| two == b"\r\n");
        let line = &rest[..at.unwrap_or(rest.len())];
        assert!(line.len() <= 998, "{}: {shown}", line.len());
        assert!(!line.contains(&b'\r') && !line.contains(&b'\n'), "{shown}");
        lines.push(line);
        match at {
            Some(at) => rest = &rest[at + 2..],
            None => break,
        }
    }
    assert!(lines[0].starts_with(b"Received: "));
    let (again, seen) = repair(rules, out);
    let transport = seen.repairs.iter().filter(|(mend, _)| mend.is_transport());
    assert_eq!(
        transport.collect::<Vec<_>>(),
        [] as [&(Mend, u64); 0],
        "{shown}"
    );
    assert!(again.ends_with(out.split_at(lines[0].len()).1) || !seen.repairs.is_empty());
    if rules.headers && !seen.signed {
        assert_eq!(
            seen.repairs,
            [],
            "not mended at one go: {shown}\n{}",
            out.escape_ascii()
        );
        strict(out, rules);
    }
}

/// Each field there once, and ASCII.
fn strict(out: &[u8], rules: &Rules) {
    let end = out.windows(4).position(|four| four == b"\r\n\r\n");
    let head = &out[..end.unwrap_or(out.len())];
    assert!(rules.smtputf8 || head.is_ascii(), "{}", head.escape_ascii());
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let count = |name: &str| {
        let names = text.split("\r\n").map(|line| line.split(':').next());
        names.flatten().filter(|one| one.trim_end() == name).count()
    };
    for name in ["from", "date", "message-id"] {
        assert_eq!(count(name), 1, "{name}: {text}");
    }
    for name in ["subject", "to", "cc", "sender", "reply-to"] {
        assert!(count(name) <= 1, "{name}: {text}");
    }
    let parsed = MessageParser::default().parse(out).unwrap();
    let from = parsed.from().and_then(|from| from.first());
    let from = from.and_then(|from| from.address()).unwrap_or_default();
    assert!(from.contains('@'), "{from:?}: {text}");
    assert!(parsed.date().is_some(), "{text}");
    assert!(parsed.message_id().is_some(), "{text}");
}

fn cut(rules: &Rules, message: &[u8], at: &[usize]) -> (Vec<u8>, Seen) {
    let mut repairer = Repairer::new(rules.clone());
    let mut out = Vec::new();
    let mut rest = message;
    for at in at {
        let (now, later) = rest.split_at((*at).min(rest.len()));
        repairer.push(now, &mut out);
        rest = later;
    }
    repairer.push(rest, &mut out);
    let seen = repairer.end(&mut out);
    (out, seen)
}

/// Pieces of which broken messages are made.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => prop::sample::select(vec![
            "\r\n", "\n", "\r", "\r\n", "\0", " ", "\t", ":", ",", ";", "<", ">", "\"", "(", ")", "\\", "@", "--b",
            "From: ", "To: ", "Cc: ", "Bcc: ", "Sender: ", "Reply-To: ", "Subject: ", "Date: ", "Message-ID: ",
            "a@b", "<a@b>", "Foo", "=?utf-8?Q?a?=", "[", "]", ".", "DKIM-Signature: x\r\n", "\r\n\r\n",
            "Content-Type: multipart/mixed; boundary=b\r\n", "Content-Type: text/plain; name=\"",
            "Content-Transfer-Encoding: base64\r\n", "Content-Transfer-Encoding: quoted-printable\r\n",
            "Date: Sat, 28 Nov 2026 10:59:58 +0100\r\n", "Message-ID: <1@x>\r\n", "From x\r\n", "=3D", "ü",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
        1 => (prop::sample::select(vec!["x", "QUJD", "=C3=BC", "ü", "ab ", " ", "a,", "\t"]), prop_oneof![1..4usize, 200..600usize])
            .prop_map(|(text, times)| text.repeat(times).into_bytes()),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn any_rules() -> impl Strategy<Value = Rules> {
    any::<(bool, bool, bool)>().prop_map(|(rewrite, headers, smtputf8)| Rules {
        rewrite,
        headers,
        smtputf8,
        ..rules()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_comes_can_go(rules in any_rules(), message in pieces()) {
        let (out, _) = repair(&rules, &message);
        judge(&message, &out, &rules);
    }

    #[test]
    fn cuts_change_nothing(
        rules in any_rules(),
        message in pieces(),
        at in vec(0..60usize, 0..60),
    ) {
        let whole = repair(&rules, &message);
        prop_assert_eq!(&cut(&rules, &message, &at), &whole);
        let ones = vec![1; message.len()];
        prop_assert_eq!(&cut(&rules, &message, &ones), &whole);
    }

    #[test]
    fn a_body_that_can_go_stays(lines in vec("[ -~ü]{0,90}", 0..20)) {
        let body = lines.concat_lines();
        let message = [b"Subject: x\r\n\r\n".as_slice(), &body].concat();
        let (out, _) = repair(&rules(), &message);
        prop_assert!(out.ends_with(&[b"\r\n\r\n".as_slice(), &body].concat()));
    }
}

trait Lines {
    fn concat_lines(&self) -> Vec<u8>;
}

impl Lines for Vec<String> {
    fn concat_lines(&self) -> Vec<u8> {
        self.iter()
            .flat_map(|line| format!("{line}\r\n").into_bytes())
            .collect()
    }
}

#[test]
fn attachments_and_texts_are_the_same() {
    let attachment = "JVBERi0xLjQK".repeat(300);
    let message = format!(
        "From: Büro <mfp@contoso.com>\nSubject: Prüfbericht für Größe Übermaß, {} Ende\n\
         Content-Type: multipart/mixed; boundary=\"x y\"\n\n--x y\nContent-Type: text/plain\n\
         Content-Transfer-Encoding: quoted-printable\n\n{}\n--x y\nContent-Type: application/pdf; name=s.pdf\n\
         Content-Transfer-Encoding: base64\n\n{attachment}\n--x y--\n",
        "lange Wörter ".repeat(40).trim_end(),
        "=C3=BC=3D ab".repeat(200),
    );
    let read = MessageParser::default();
    let (out, seen) = repair(&rules(), message.as_bytes());
    judge(message.as_bytes(), &out, &rules());
    let mends: Vec<_> = seen.repairs.iter().map(|(mend, _)| mend.word()).collect();
    assert_eq!(
        mends,
        [
            "bare-lf",
            "long-line",
            "to-added",
            "date-added",
            "message-id-added",
            "8bit-header"
        ]
    );
    let before = read.parse(message.as_bytes()).unwrap();
    let after = read.parse(&out).unwrap();
    assert_eq!(before.subject(), after.subject());
    let name = |message: &mail_parser::Message<'_>| {
        let from = message.from().and_then(|from| from.first());
        from.and_then(|from| from.name()).map(str::to_owned)
    };
    assert_eq!(name(&before), name(&after));
    assert_eq!(
        before.body_text(0).unwrap().trim(),
        after.body_text(0).unwrap().trim()
    );
    let file = |message: &mail_parser::Message<'_>| {
        let part = message.attachment(0).unwrap();
        (
            part.contents().to_vec(),
            part.attachment_name().map(str::to_owned),
        )
    };
    assert_eq!(file(&before), file(&after));
    assert!(file(&after).0.starts_with(b"%PDF-1.4"));
}
