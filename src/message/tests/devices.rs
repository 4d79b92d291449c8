//! What printers, scanners, boxes and scripts are reported to send, and what becomes of it.
//!
//! `|` is CRLF; a line of one letter stands for a good field: see [`message`].

use super::{Rules, repair, rules};
use crate::message::Charset;

/// Writes a template out.
fn message(template: &[u8]) -> Vec<u8> {
    let lines = template.split(|octet| *octet == b'|');
    let lines = lines.map(|line| match line {
        b"F" => b"From: scan@contoso.com".as_slice(),
        b"T" => b"To: it@contoso.com",
        b"D" => b"Date: Sat, 28 Nov 2026 10:59:58 +0100",
        b"I" => b"Message-ID: <1@mfp.contoso.com>",
        b"U" => b"To: undisclosed-recipients:;",
        b"N" => b"Date: Sat, 28 Nov 2026 11:00:00 +0000",
        b"M" => b"Message-ID: <20261128.1@relay>",
        line => line,
    });
    lines.collect::<Vec<_>>().join(b"\r\n".as_slice())
}

/// Name, what came, what goes on behind Received, what was mended.
type Case<'a> = (&'a str, &'a [u8], &'a [u8], &'a str);

pub(super) fn check(rules: &Rules, cases: &[Case<'_>]) {
    for (name, came, goes, mends) in cases {
        let came = message(came);
        let (out, seen) = repair(rules, &came);
        let out = out
            .strip_prefix(b"Received: by relay; Sat, 28 Nov 2026 11:00:00 +0000\r\n")
            .expect(name);
        let goes = message(goes);
        assert_eq!(
            out.escape_ascii().to_string().replace("\\r\\n", "|\n"),
            goes.escape_ascii().to_string().replace("\\r\\n", "|\n"),
            "{name}"
        );
        let words = seen.repairs.iter().map(|(mend, times)| match times {
            1 => mend.word().to_owned(),
            times => format!("{}*{times}", mend.word()),
        });
        let words: Vec<_> = words.collect();
        assert_eq!(words.join(" "), *mends, "{name}");
        super::props::judge(&came, &super::repair(rules, &came).0, rules);
    }
}

#[test]
fn line_ends() {
    check(
        &rules(),
        &[
            ("all good", b"F|T|D|I|Subject: x||Hello|", b"F|T|D|I|Subject: x||Hello|", ""),
            (
                "a UPS that knows LF only",
                b"From: scan@contoso.com\nTo: it@contoso.com\nDate: Sat, 28 Nov 2026 10:59:58 +0100\nMessage-ID: <1@mfp.contoso.com>\n\non battery\n",
                b"F|T|D|I||on battery|",
                "bare-lf*6",
            ),
            (
                "LF in the body of a CRLF message",
                b"F|T|D|I||one\ntwo|three\n",
                b"F|T|D|I||one|two|three|",
                "bare-lf*2",
            ),
            (
                "CR in the body, two of them at the end",
                b"F|T|D|I||one\rtwo|three\r\r",
                b"F|T|D|I||one|two|three||",
                "bare-cr*3",
            ),
            (
                "CR in a header",
                b"F|T|D|I|Subject: a\rBcc: x@example.org||b|",
                b"F|T|D|I|Subject: a Bcc: x@example.org||b|",
                "bare-cr",
            ),
            (
                "CRCRLF of a script in text mode",
                b"From: scan@contoso.com\r|To: it@contoso.com\r|D|I\
                  |\r|one\r|\r|two\r|",
                b"F|T|D|I||one||two|",
                "bare-cr*6",
            ),
            ("no end of the last line", b"F|T|D|I||end", b"F|T|D|I||end|", "unended-line"),
            ("no body", b"F|T|D|I|Subject: x|", b"F|T|D|I|Subject: x|", ""),
            (
                "no body, no end",
                b"F|T|D|I|Subject: x",
                b"F|T|D|I|Subject: x|",
                "unended-line",
            ),
            (
                "NUL in header, body and line end",
                b"F|T|D|I|Subject: a\0b||c\0\0d\r\0\n\0|",
                b"F|T|D|I|Subject: ab||cd||",
                "nul*5",
            ),
        ],
    );
}

#[test]
fn missing_fields() {
    check(
        &rules(),
        &[
            (
                "nothing at all",
                b"",
                b"F|U|N|M|",
                "from-added to-added date-added message-id-added",
            ),
            (
                "an empty line first",
                b"|All is well|",
                b"F|U|N|M||All is well|",
                "from-added to-added date-added message-id-added",
            ),
            (
                "text only",
                b"Toner low|Tray 2 empty|",
                b"F|U|N|M||Toner low|Tray 2 empty|",
                "header-end from-added to-added date-added message-id-added",
            ),
            (
                "a printer without Date",
                b"F|T|I|Subject: Scan||see file|",
                b"F|T|I|Subject: Scan|N||see file|",
                "date-added",
            ),
            (
                "a router without From and To",
                b"D|I|Subject: Anruf||0171|",
                b"D|I|Subject: Anruf|F|U||0171|",
                "from-added to-added",
            ),
            (
                "no Message-ID",
                b"F|T|D||x|",
                b"F|T|D|M||x|",
                "message-id-added",
            ),
            (
                "Bcc alone",
                b"F|D|I|Bcc: boss@contoso.com,| secret@contoso.com||x|",
                b"F|D|I|U||x|",
                "to-added bcc-removed",
            ),
            (
                "Cc alone",
                b"F|D|I|Cc: it@contoso.com||x|",
                b"F|D|I|Cc: it@contoso.com||x|",
                "",
            ),
            (
                "empty To",
                b"F|D|I|To: ||x|",
                b"F|D|I|U||x|",
                "to-added empty-field",
            ),
            (
                "empty From",
                b"From:|T|D|I||x|",
                b"F|T|D|I||x|",
                "from-replaced",
            ),
            (
                "From <>",
                b"From: <>|T|D|I||x|",
                b"F|T|D|I||x|",
                "from-replaced",
            ),
            (
                "empty Message-ID",
                b"F|T|D|Message-Id:||x|",
                b"F|T|D|Message-Id: <20261128.1@relay>||x|",
                "message-id-replaced",
            ),
            (
                "a Message-ID without brackets",
                b"F|T|D|Message-ID: 4711||x|",
                b"F|T|D|M||x|",
                "message-id-replaced",
            ),
            (
                "a German date",
                b"F|T|Date: Sa, 28. Nov 2026 10:59:58|I||x|",
                b"F|T|N|I|X-Original-Date: Sa, 28. Nov 2026 10:59:58||x|",
                "date-replaced",
            ),
            (
                "an ISO date",
                b"F|T|Date: 2026-11-28T10:59:58Z|I||x|",
                b"F|T|N|I|X-Original-Date: 2026-11-28T10:59:58Z||x|",
                "date-replaced",
            ),
            (
                "a date that isn't set",
                b"F|T|Date: |I||x|",
                b"F|T|N|I||x|",
                "date-replaced",
            ),
            (
                "an old date with a comment",
                b"F|T|Date: 28 Nov 26 10:59 GMT (summer)|I||x|",
                b"F|T|Date: 28 Nov 26 10:59 GMT (summer)|I||x|",
                "",
            ),
            (
                "text instead of the empty line",
                b"F|T|D|I|Subject: Scan|Please see the file.|Bye: me|",
                b"F|T|D|I|Subject: Scan||Please see the file.|Bye: me|",
                "header-end",
            ),
            (
                "a line of a mailbox file",
                b"From root Sat Nov 28 10:59:58 2026|F|T|D|I||x|",
                b"F|T|D|I||x|",
                "mbox-line",
            ),
            (
                "white space before the colon, odd names and case stay",
                b"from : scan@contoso.com|TO:it@contoso.com|D|I|X-MFP.1:  a||x|",
                b"from : scan@contoso.com|TO:it@contoso.com|D|I|X-MFP.1:  a||x|",
                "",
            ),
        ],
    );
}

#[test]
fn fields_that_come_twice() {
    check(
        &rules(),
        &[
            (
                "Subject",
                b"F|T|D|I|Subject: one|Subject: two||x|",
                b"F|T|D|I|Subject: one||x|",
                "second-subject",
            ),
            (
                "Message-ID and Date",
                b"F|T|D|I|Message-Id: <2@x>|Date: Sat, 28 Nov 2026 12:00:00 +0000||x|",
                b"F|T|D|I||x|",
                "second-message-id second-date",
            ),
            (
                "To, Cc and Reply-To",
                b"F|T|To: b@contoso.com|D|I|Cc: c@x.org|Reply-To: r@x.org|Cc: d@x.org|Reply-To: s@x.org|T||x|",
                b"F|To: it@contoso.com, b@contoso.com, it@contoso.com|D|I|Cc: c@x.org, d@x.org|Reply-To: r@x.org, s@x.org||x|",
                "second-reply-to second-to*3",
            ),
            (
                "Sender",
                b"F|Sender: a@x.org|Sender: b@x.org|T|D|I||x|",
                b"F|Sender: a@x.org|T|D|I||x|",
                "second-sender",
            ),
            (
                "From",
                b"From: Scan <a@x.org>|From: b@x.org|T|D|I||x|",
                b"From: Scan <a@x.org>|T|D|I|X-Original-From: b@x.org||x|",
                "second-from",
            ),
            (
                "addresses in From",
                b"From: a@x.org, B <b@x.org>,c@x.org|T|D|I||x|",
                b"From: a@x.org|T|D|I|X-Original-From: B <b@x.org>, c@x.org||x|",
                "second-from*2",
            ),
        ],
    );
}

#[test]
fn addresses() {
    check(
        &rules(),
        &[
            (
                "an address as a name",
                b"From: scan@contoso.com <scan@contoso.com>|T|D|I||x|",
                b"From: \"scan@contoso.com\" <scan@contoso.com>|T|D|I||x|",
                "unquoted-at",
            ),
            (
                "the same in To, others stay as they are",
                b"F|To: A.B. <a@x.org>,it@x.org <it@x.org>, \"C, D\" <c@x.org>|D|I||x|",
                b"F|To: A.B. <a@x.org>, \"it@x.org\" <it@x.org>, \"C, D\" <c@x.org>|D|I||x|",
                "unquoted-at",
            ),
            (
                "a name without brackets",
                b"From: Scanner 3rd floor scan@contoso.com|T|D|I||x|",
                b"From: Scanner 3rd floor <scan@contoso.com>|T|D|I||x|",
                "address-form",
            ),
            (
                "a name only",
                b"From: Lobby MFP|T|D|I||x|",
                b"From: Lobby MFP <scan@contoso.com>|T|D|I|X-Original-From: Lobby MFP||x|",
                "from-replaced",
            ),
            (
                "spaces in brackets, no end of them",
                b"From: MFP < scan@contoso.com|T|D|I||x|",
                b"From: MFP <scan@contoso.com>|T|D|I||x|",
                "address-form",
            ),
            (
                "a comma in a name",
                b"From: Doe, John <j@contoso.com>|T|D|I||x|",
                b"From: \"Doe, John\" <j@contoso.com>|T|D|I||x|",
                "address-form",
            ),
            (
                "a quote that stays open",
                b"From: \"MFP <scan@contoso.com>|T|D|I||x|",
                b"From: MFP <scan@contoso.com>|T|D|I||x|",
                "address-form*2",
            ),
            (
                "semicolons between",
                b"F|To: a@x.org;b@x.org;|D|I||x|",
                b"F|To: a@x.org, b@x.org|D|I||x|",
                "address-form",
            ),
            (
                "groups, routes, comments and literals stay",
                b"F|To: team: a@x.org, b@x.org;, (see) c@[192.0.2.1],| \"x y\"@x.org|D|I||x|",
                b"F|To: team: a@x.org, b@x.org;, (see) c@[192.0.2.1],| \"x y\"@x.org|D|I||x|",
                "",
            ),
            (
                "no address in To",
                b"F|To: Office, it@x.org|D|I||x|",
                b"F|To: Office:;, it@x.org|D|I||x|",
                "address-form",
            ),
            (
                "two dots",
                b"F|To: a..b@x.org|D|I||x|",
                b"F|To: \"a..b\"@x.org|D|I||x|",
                "address-form",
            ),
        ],
    );
}

#[test]
fn raw_octets() {
    check(
        &rules(),
        &[
            (
                "UTF-8 in Subject",
                b"F|T|D|I|Subject: Scan f\xc3\xbcr alle||x|",
                b"F|T|D|I|Subject: Scan =?UTF-8?B?ZsO8cg==?= alle||x|",
                "8bit-header",
            ),
            (
                "Latin-1 in Subject",
                b"F|T|D|I|Subject: f\xfcr \x80 5||x|",
                b"F|T|D|I|Subject: =?UTF-8?B?ZsO8ciDigqw=?= 5||x|",
                "8bit-header",
            ),
            (
                "in a name",
                b"From: B\xfcro <scan@contoso.com>|T|D|I||x|",
                b"From: =?UTF-8?B?QsO8cm8=?= <scan@contoso.com>|T|D|I||x|",
                "8bit-header",
            ),
            (
                "in a comment",
                b"F|To: it@contoso.com (B\xfcro)|D|I||x|",
                b"F|To: =?UTF-8?B?QsO8cm8=?= <it@contoso.com>|D|I||x|",
                "8bit-header",
            ),
            (
                "in a file name of a message that is one file",
                b"F|T|D|I|Content-Type: application/pdf; name=\"B\xfcro;1.pdf\"||x|",
                b"F|T|D|I|Content-Type: application/pdf; name*=UTF-8''B%C3%BCro%3B1.pdf||x|",
                "8bit-header",
            ),
            (
                "beside an encoded word",
                b"F|T|D|I|Subject: =?utf-8?Q?=C3=BC?= \xc3\xbc =?utf-8?Q?=C3=BC?=||x|",
                b"F|T|D|I|Subject: =?utf-8?Q?=C3=BC?= =?UTF-8?B?IMO8IA==?= =?utf-8?Q?=C3=BC?=||x|",
                "8bit-header",
            ),
            (
                "encoded words in a file name, a bad disposition and an 8-bit body stay",
                b"F|T|D|I|Content-Disposition: attachment filename==?utf-8?Q?a?=||\xfc\xff|",
                b"F|T|D|I|Content-Disposition: attachment filename==?utf-8?Q?a?=||\xfc\xff|",
                "",
            ),
        ],
    );
    let japanese = Rules {
        charset: Charset::of("shift_jis").unwrap(),
        ..rules()
    };
    check(
        &japanese,
        &[(
            "Shift_JIS",
            b"F|T|D|I|Subject: \x83X\x83L\x83\x83\x83\x93||x|",
            b"F|T|D|I|Subject: =?UTF-8?B?44K544Kt44Oj44Oz?=||x|",
            "8bit-header",
        )],
    );
    let utf8 = Rules {
        smtputf8: true,
        ..rules()
    };
    check(
        &utf8,
        &[(
            "UTF-8 may stay, the rest not",
            b"F|To: \xc3\xbc@x.org|D|I|Subject: \xc3\xbc|X-A: \xfc||x|",
            b"F|To: \xc3\xbc@x.org|D|I|Subject: \xc3\xbc|X-A: =?UTF-8?B?w7w=?=||x|",
            "8bit-header",
        )],
    );
}
