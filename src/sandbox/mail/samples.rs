//! What the practice INBOX holds at the start.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::date;

/// The messages with their arrival (seconds since 1970), oldest first.
pub(super) fn messages(user: &str, now: i64) -> Vec<(Vec<u8>, i64)> {
    let days_ago = |n: i64| now - n * 86_400;
    // The oldest is number 1.
    let head = |n: i64, from: &str, subject: &str, rest: &str| {
        format!(
            "From: {from}\nTo: <{user}>\nSubject: {subject}\nDate: {}\n\
             Message-ID: <sample-{}@sandbox.test>\nMIME-Version: 1.0\n{rest}\n",
            date::header(days_ago(n)),
            4 - n,
        )
    };
    let welcome = head(
        3,
        "mailsplice sandbox <hello@sandbox.test>",
        "Welcome to the practice mailbox",
        "Content-Type: text/plain; charset=us-ascii\n",
    ) + "This mailbox opens only for an OAuth access token.\n\n\
         If you read this in a mail program that knows nothing but user name and\n\
         password, the proxy in front has signed in for it.\n\n\
         .\nThe line above is a single dot, as some programs trip over it.\n";
    let greetings = head(
        2,
        "=?utf-8?Q?B=C3=BCro_am_S=C3=BCdtor?= <buero@sandbox.test>",
        "=?utf-8?Q?Gr=C3=BC=C3=9Fe_aus_=C3=96sterreich?=",
        "Content-Type: multipart/alternative; boundary=\"=_alt;1\"\n",
    ) + "Both parts are 8-bit UTF-8.\n\
         --=_alt;1\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\n\
         Schöne Grüße! Zażółć gęślą jaźń. Καλημέρα. 日本語。\n\
         --=_alt;1\nContent-Type: text/html; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\n\
         <p>Schöne <b>Grüße</b>! Zażółć gęślą jaźń. Καλημέρα. 日本語。</p>\n\
         --=_alt;1--\n";
    let attachment = head(
        1,
        "\"Scanner, second floor\" <scanner@sandbox.test>",
        "Scan with an attachment",
        "Content-Type: multipart/mixed; boundary=mixed\n",
    ) + "--mixed\nContent-Type: text/plain; charset=utf-8\n\nThe attachment is a small picture.\n\
         --mixed\nContent-Type: image/bmp; name=\"square.bmp\"\n\
         Content-Disposition: attachment; filename=\"square.bmp\"\n\
         Content-Transfer-Encoding: base64\n\n"
        + &wrapped(&STANDARD.encode(picture()))
        + "--mixed--\n";
    [(welcome, 3), (greetings, 2), (attachment, 1)]
        .into_iter()
        .map(|(text, n)| (text.replace('\n', "\r\n").into_bytes(), days_ago(n)))
        .collect()
}

fn wrapped(base64: &str) -> String {
    let mut out = String::new();
    for (i, c) in base64.chars().enumerate() {
        if i > 0 && i % 76 == 0 {
            out.push('\n');
        }
        out.push(c);
    }
    out + "\n"
}

/// 16 by 16 pixels, 24 bits each, blue.
fn picture() -> Vec<u8> {
    const PIXELS: u32 = 16 * 16 * 3;
    let mut bmp = b"BM".to_vec();
    for word in [
        54 + PIXELS,
        0,
        54,
        40,
        16,
        16,
        24 << 16 | 1,
        0,
        PIXELS,
        2835,
        2835,
        0,
        0,
    ] {
        bmp.extend_from_slice(&word.to_le_bytes());
    }
    bmp.extend([0xca, 0x58, 0x0a].repeat(16 * 16));
    bmp
}
