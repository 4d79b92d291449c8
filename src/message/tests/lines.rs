//! Lines that are too long, and headers without end.

use super::props::judge;
use super::{Mend, repair, rules};

/// A good header, with more fields.
fn headed(fields: &str, body: &str) -> String {
    format!(
        "From: scan@contoso.com\r\nTo: it@contoso.com\r\nDate: Sat, 28 Nov 2026 10:59:58 +0100\r\n\
         Message-ID: <1@mfp>\r\n{fields}\r\n{body}"
    )
}

/// What becomes of a body; the lines broken in it.
fn body_of(fields: &str, body: &str) -> (String, u64) {
    let message = headed(fields, body);
    let (out, seen) = repair(&rules(), message.as_bytes());
    judge(message.as_bytes(), &out, &rules());
    let out = String::from_utf8(out).unwrap();
    let begin = out.find("\r\n\r\n").unwrap() + 4;
    let broken = seen.repairs.iter().map(|(mend, times)| {
        assert_eq!(*mend, Mend::LongLine, "{:?}", seen.repairs);
        *times
    });
    (out.split_at(begin).1.to_owned(), broken.sum())
}

/// A header field, and how many of its lines were folded.
fn field_of(field: &str) -> (String, u64) {
    let message = headed(&format!("{field}\r\n"), "x\r\n");
    let (out, seen) = repair(&rules(), message.as_bytes());
    judge(message.as_bytes(), &out, &rules());
    let out = String::from_utf8(out).unwrap();
    let begin = out.find("<1@mfp>\r\n").unwrap() + 9;
    let end = out.find("\r\n\r\n").unwrap();
    let folded = seen.repairs.iter().map(|(mend, times)| {
        assert_eq!(*mend, Mend::LongHeader, "{:?}", seen.repairs);
        *times
    });
    (out.get(begin..end).unwrap().to_owned(), folded.sum())
}

const BASE64: &str = "Content-Transfer-Encoding: Base64 (as ever)\r\n";
const QUOTED: &str = "Content-Transfer-Encoding:\r\n quoted-printable\r\n";

#[test]
fn lines_of_998_octets_stay() {
    for fields in ["", BASE64, QUOTED] {
        let line = format!("{}\r\n", "QUJD".repeat(250).split_at(998).0);
        assert_eq!(body_of(fields, &line), (line, 0));
    }
}

#[test]
fn base64_is_broken_between_groups() {
    for length in [1000, 1520, 1524, 4000, 76 * 40] {
        let line = "QUJD".repeat(length / 4);
        let (out, broken) = body_of(BASE64, &format!("{line}\r\nQQ==\r\n"));
        assert_eq!(broken, 1);
        assert_eq!(out.replace("\r\n", ""), format!("{line}QQ=="), "{length}");
        let lines: Vec<_> = out.trim_end().split("\r\n").collect();
        let (last, full) = lines[..lines.len() - 1].split_last().unwrap();
        assert!(full.iter().all(|line| line.len() == 76), "{length}");
        assert!((1..=76).contains(&last.len()), "{length}: {out}");
    }
}

#[test]
fn what_only_claims_to_be_base64_is_folded_as_text() {
    let line = "no base64 ".repeat(120);
    let (out, _) = body_of(BASE64, &format!("{line}\r\n"));
    assert_eq!(out.replace("\r\n ", " ").trim_end(), line.trim_end());
}

#[test]
fn quoted_printable_gets_soft_breaks() {
    for begin in ["", "a", "ab", "abc", "ü", "aü"] {
        let line = format!("{begin}{}", "=C3=BCxü".repeat(300));
        let (out, broken) = body_of(QUOTED, &format!("{line}\r\n"));
        assert_eq!(broken, 1);
        assert_eq!(out.replace("=\r\n", "").trim_end(), line);
        for line in out.trim_end().split("\r\n") {
            assert!(line.len() <= 76, "{line}");
            let text = line.strip_suffix('=').unwrap_or(line);
            assert!(!text.ends_with('=') && !text.ends_with("=C") && !text.ends_with("=B"));
        }
    }
}

#[test]
fn text_is_folded_at_white_space() {
    let line = "Drei Chinesen mit\tdem Kontrabaß ".repeat(100);
    let (out, broken) = body_of("", &format!("{line}\r\n\r\n{line}x\r\n"));
    let lines: Vec<_> = out.split("\r\n").collect();
    assert_eq!(broken, 2);
    assert!(lines[1].starts_with([' ', '\t']) && lines[0].len() > 980);
    assert_eq!(
        out.replace("\r\n ", " ").replace("\r\n\t", "\t"),
        format!("{line}\r\n\r\n{line}x\r\n")
    );
}

#[test]
fn text_without_white_space_gets_some_between_characters() {
    for begin in ["", "a", "ab", "abc"] {
        let line = format!("{begin}{}", "€".repeat(1000));
        let (out, broken) = body_of("", &format!("{line}\r\n"));
        assert_eq!(broken, 1);
        assert_eq!(out.replace("\r\n ", "").trim_end(), line);
    }
}

#[test]
fn each_part_is_broken_by_its_own_encoding() {
    let long = "QUJD".repeat(400);
    let (wrapped, _) = body_of(BASE64, &format!("{long}\r\n"));
    let (spaced, _) = body_of("", &format!("{long}\r\n"));
    let parts = |base64: &str, text: &str| {
        format!(
            "{text}--out\r\nContent-Type: multipart/alternative;\r\n boundary=in\r\n{BASE64}\r\n{text}\
             --in  \r\n{BASE64}\r\n{base64}--in\r\n\r\n{text}--in--\r\n{text}\
             --out\r\ncontent-type: message/rfc822\r\n\r\n{BASE64}Subject: x\r\n\r\n{base64}\
             --out-no\r\n{base64}--out\r\n{QUOTED}Content-Transfer-Encoding: base64\r\n\r\n{base64}\
             --out--\r\n{text}"
        )
    };
    let top = "Content-Type: Multipart/Mixed; x=\"a;b\"; Boundary=\"out\"\r\n";
    let long = format!("{long}\r\n");
    let (out, _) = body_of(top, &parts(&long, &long));
    assert_eq!(out, parts(&wrapped, &spaced));
}

#[test]
fn header_lines_are_folded() {
    let words = "word ".repeat(500);
    let (out, folded) = field_of(&format!("Subject: {words}"));
    assert_eq!(
        (out.replace("\r\n", "").trim_end(), folded),
        (format!("Subject: {words}").trim_end(), 1)
    );

    let list = "a@x.org,".repeat(400);
    let (out, folded) = field_of(&format!("X-List : short\r\n {list}"));
    assert_eq!(folded, 1);
    assert!(out.starts_with("X-List : short\r\n a@x.org,a@"));
    assert_eq!(out.replace("\r\n ", ""), format!("X-List : short{list}"));
    assert!(
        out.split("\r\n").skip(1).all(|line| line.ends_with(',')),
        "{out}"
    );

    let (out, _) = field_of(&format!("X-A:{}", "x".repeat(2500)));
    assert_eq!(
        out.replace("\r\n ", ""),
        format!("X-A:{}", "x".repeat(2500))
    );
    let (out, _) = field_of(&format!("X-A: a{}b", " ".repeat(3000)));
    assert!(
        out.split("\r\n").all(|line| !line.trim().is_empty()),
        "{out:?}"
    );
}

#[test]
fn header_lines_are_folded_between_characters() {
    let rules = super::Rules {
        smtputf8: true,
        ..rules()
    };
    for begin in ["", "a", "ab", "abc"] {
        let field = format!("Subject:{begin}{}", "€".repeat(1000));
        let (out, _) = repair(&rules, headed(&format!("{field}\r\n"), "").as_bytes());
        let out = String::from_utf8(out).unwrap();
        assert!(out.replace("\r\n ", "").contains(&field), "{begin}");
    }
}

#[test]
fn received_is_short_lines_where_it_can_be() {
    let rules = super::Rules {
        received: format!(
            "from {}\r\n({}) by relay\u{fc}",
            "mfp ".repeat(40),
            "x".repeat(2000)
        ),
        ..rules()
    };
    let (out, seen) = repair(&rules, headed("", "x\r\n").as_bytes());
    assert_eq!(seen.repairs, []);
    let text = String::from_utf8(out).unwrap();
    let begin = text.find("\r\nFrom:").unwrap();
    let lines: Vec<_> = text.split_at(begin).0.split("\r\n").collect();
    assert!(lines[0].starts_with("Received: from mfp mfp") && lines[0].len() <= 78);
    assert!(
        lines[1..]
            .iter()
            .all(|line| line.starts_with(' ') && line.len() <= 998)
    );
}

#[test]
fn a_header_without_end_is_body_from_256_kib_on() {
    for line in [
        "X-A: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
        "X-A: b",
        " ",
        "a:\n",
        "\0",
    ] {
        let message = format!(
            "Subject: x\r\n{}\r\n\r\nbody\r\n",
            line.repeat(600_000 / line.len())
        );
        let (out, seen) = repair(&rules(), message.as_bytes());
        let ends = seen
            .repairs
            .iter()
            .filter(|(mend, _)| *mend == Mend::HeaderEnd);
        assert_eq!(ends.map(|(_, times)| *times).sum::<u64>(), 1, "{line:?}");
        assert!(out.ends_with(b"\r\nbody\r\n"), "{line:?}");
        let cut = out.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        assert!(cut < 600_000, "{line:?}: {cut}");
    }
}

#[test]
fn odd_headers_are_read_in_no_time() {
    let odd = [
        "(",
        "((a)",
        "\"",
        "<",
        ">",
        ",",
        ":",
        ";",
        "@",
        "a@:",
        "a:",
        "\\\"",
        "a@b,",
        "<a@b>",
        "[",
        "a <b",
        "a@b c",
        ".",
        "=?",
        "ü ",
        "ü",
        "ü,",
        " \r\n ",
        "a:;",
        "Doe, J <a@b>,",
        "\"a\" ",
        "()",
        "x=\"ü\";",
    ];
    for piece in odd {
        let text = piece.repeat(100_000 / piece.len());
        for name in [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "Content-Type",
            "Sender",
        ] {
            let message = format!("{name}: a{text}\r\n\r\n");
            let (out, _) = repair(&rules(), message.as_bytes());
            assert!(out.len() < 6_000_000, "{name} {piece}");
        }
    }
    let fields = "To: a\r\nFrom: b\r\nSubject: c\r\n".repeat(8000);
    let (out, seen) = repair(&rules(), fields.as_bytes());
    judge(b"many fields", &out, &rules());
    assert_eq!(seen.from.len(), 100);
}
