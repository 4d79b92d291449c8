//! What an upstream says first after a login, looked at as it passes: Exchange Online takes a token
//! and then fails the first command ("User is authenticated but not connected").
//!
//! Nothing is delayed, altered or kept back. The look ends with the first trouble, after a few
//! answers or a kilobyte, whichever comes first.

use std::mem;

use super::verdict::trouble_of_sessions;
use crate::ground::text::printable_up_to;
use crate::oauth::table::Row;
use crate::proto::Protocol;

/// Octets looked at.
const MOST: usize = 1024;
/// Tagged answers looked at: clients ask for capabilities, identity and name space first, which may
/// succeed where the mailbox does not open.
const ANSWERS: u8 = 4;

/// The same for SMTP, whose replies are short: greetings, a sender and some recipients go before the end
/// of a message.
const MOST_SMTP: usize = 8192;
/// Replies looked at.
const ANSWERS_SMTP: u8 = 100;

/// What the words so far tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Not enough yet.
    More,
    /// A trouble of the table, and the server's words.
    Trouble(&'static Row, String),
    /// Some commands were answered well.
    Works,
    /// Nothing of note, and nothing more to be expected.
    Nothing,
}

/// Reads lines of a mail server, as long as they are surely the server's own words: it stops at an
/// IMAP literal and at the lines of a POP3 message, which may be anybody's.
pub(crate) struct FirstWords {
    protocol: Protocol,
    line: Vec<u8>,
    seen: usize,
    answers: u8,
    good: bool,
    /// SMTP: the lines so far of a reply of several.
    reply: String,
    /// SMTP: a message is being taken.
    in_message: bool,
}

impl FirstWords {
    /// Before the first octet.
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            line: Vec::new(),
            seen: 0,
            answers: 0,
            good: false,
            reply: String::new(),
            in_message: false,
        }
    }

    /// The next octets of the server.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Heard {
        let (most, answers) = match self.protocol {
            Protocol::Imap | Protocol::Pop3 => (MOST, ANSWERS),
            Protocol::Smtp => (MOST_SMTP, ANSWERS_SMTP),
        };
        let left = most.saturating_sub(self.seen);
        let looked = bytes.get(..left.min(bytes.len())).unwrap_or_default();
        self.seen += looked.len();
        for piece in looked.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if !piece.ends_with(b"\n") {
                break;
            }
            let line = mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            let heard = match self.protocol {
                Protocol::Imap => self.judge_imap(line),
                Protocol::Pop3 => self.judge_pop3(line),
                Protocol::Smtp => self.judge_smtp(line),
            };
            match heard {
                // Wherever the octets are cut: what comes behind the last answer is not looked at.
                Heard::More if self.answers >= answers => return self.end(),
                Heard::More => {}
                heard => return heard,
            }
        }
        if self.seen >= most {
            return self.end();
        }
        Heard::More
    }

    fn judge_imap(&mut self, line: &str) -> Heard {
        if line.ends_with('}') {
            return self.end();
        }
        let mut words = line.splitn(3, ' ');
        let (tag, status) = (words.next().unwrap_or_default(), words.next());
        let text = words.next().unwrap_or_default();
        let status = status.unwrap_or_default().to_ascii_uppercase();
        match (tag, &*status) {
            ("*", "BYE") => self.trouble(text).unwrap_or_else(|| self.end()),
            ("*" | "+", _) => Heard::More,
            (_, "OK") => {
                self.answers += 1;
                self.good = true;
                Heard::More
            }
            (_, "NO" | "BAD") => {
                self.answers += 1;
                self.trouble(text).unwrap_or(Heard::More)
            }
            // Not IMAP.
            _ => self.end(),
        }
    }

    fn judge_pop3(&mut self, line: &str) -> Heard {
        self.answers += 1;
        if line.starts_with("+OK") {
            self.good = true;
            return Heard::More;
        }
        match line.strip_prefix("-ERR") {
            Some(text) => self.trouble(text.trim_start()).unwrap_or(Heard::More),
            // A list or a message.
            None => self.end(),
        }
    }

    /// Replies (RFC 5321 §4.2): nothing but the server's own words. The end of the first message that
    /// is taken is the end of the look.
    fn judge_smtp(&mut self, line: &str) -> Heard {
        let code = line.get(..3).unwrap_or_default();
        if !code.bytes().all(|byte| byte.is_ascii_digit()) || code.is_empty() {
            return self.end();
        }
        let text = line.get(4..).unwrap_or_default();
        if self.reply.is_empty() {
            self.reply.push_str(code);
        }
        self.reply.push(' ');
        self.reply.push_str(text);
        if line.get(3..4) == Some("-") {
            return Heard::More;
        }
        self.answers += 1;
        let reply = mem::take(&mut self.reply);
        match code.as_bytes().first() {
            Some(b'4' | b'5') => self.trouble(&reply).unwrap_or(Heard::More),
            Some(b'3') => {
                self.in_message = true;
                Heard::More
            }
            Some(b'2') if self.in_message => {
                self.good = true;
                self.end()
            }
            _ => Heard::More,
        }
    }

    fn end(&self) -> Heard {
        if self.good {
            Heard::Works
        } else {
            Heard::Nothing
        }
    }

    /// The trouble that a refusal or a goodbye tells of, if it is one of sessions.
    fn trouble(&self, text: &str) -> Option<Heard> {
        let row = trouble_of_sessions(self.protocol, text)?;
        Some(Heard::Trouble(row, printable_up_to(200, text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::table::{self, When};

    fn heard(text: &str) -> Heard {
        FirstWords::new(Protocol::Imap).hear(text.as_bytes())
    }

    fn code(heard: &Heard) -> Option<String> {
        match heard {
            Heard::Trouble(row, _) => Some(row.code()),
            _ => None,
        }
    }

    /// What a server of the protocol says before and with the row's words.
    fn story(protocol: Protocol, example: &str) -> String {
        match protocol {
            Protocol::Imap => {
                let tag = if example.starts_with("BYE") {
                    "*"
                } else {
                    "A1"
                };
                format!("* OK something else\r\nC1 OK done\r\n{tag} {example}\r\n")
            }
            Protocol::Pop3 => {
                let text = example.trim_start_matches("-ERR ");
                format!("+OK 2 messages\r\n-ERR {text}\r\n")
            }
            Protocol::Smtp => {
                format!("250-host\r\n250 SIZE\r\n250 2.1.0 ok\r\n354 go on\r\n{example}\r\n")
            }
        }
    }

    #[test]
    fn every_trouble_of_sessions_is_recognised_however_it_is_cut() {
        let mut rows = 0;
        let protocols = [Protocol::Imap, Protocol::Pop3, Protocol::Smtp];
        for (row, protocol) in
            table::mail_rows().flat_map(|row| protocols.map(|protocol| (row, protocol)))
        {
            let reply = row.reply.as_ref().unwrap();
            if reply.when == When::Login || !reply.protocols.contains(&protocol) {
                continue;
            }
            let smtp = reply
                .example
                .get(..3)
                .is_some_and(|code| code.parse::<u16>().is_ok());
            if smtp != (protocol == Protocol::Smtp) {
                continue; // The example is of another protocol.
            }
            rows += 1;
            let text = story(protocol, &reply.example);
            for cut in 0..text.len() {
                let mut words = FirstWords::new(protocol);
                let first = words.hear(&text.as_bytes()[..cut]);
                assert_eq!(first, Heard::More, "{text} cut at {cut}");
                let found = words.hear(&text.as_bytes()[cut..]);
                assert_eq!(code(&found), Some(row.code()), "{text} cut at {cut}");
            }
        }
        assert!(rows >= 18, "{rows}");
    }

    #[test]
    fn the_look_ends_with_the_last_answer_however_it_is_cut() {
        let good = "1 OK done\r\n".repeat(usize::from(ANSWERS));
        let text = format!("{good}2 BAD User is authenticated but not connected.\r\n");
        assert_eq!(heard(&text), Heard::Works);
        let mut words = FirstWords::new(Protocol::Imap);
        assert_eq!(words.hear(good.as_bytes()), Heard::Works);
    }

    #[test]
    fn only_the_servers_own_words_count() {
        let hear = |protocol, text: &str| FirstWords::new(protocol).hear(text.as_bytes());
        // A message that quotes an error.
        let quoted =
            "+OK\r\n+OK 100 octets\r\nSubject: x\r\n-ERR Too many simultaneous connections\r\n";
        assert_eq!(hear(Protocol::Pop3, quoted), Heard::Works);
        let sent = "250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 queued\r\n";
        assert_eq!(hear(Protocol::Smtp, sent), Heard::Works);
        assert_eq!(
            hear(Protocol::Smtp, "550 5.1.1 no such user\r\n"),
            Heard::More
        );
        assert_eq!(hear(Protocol::Smtp, "hello\r\n"), Heard::Nothing);
    }

    #[test]
    fn the_look_ends_early() {
        let ok = "a OK done\r\n";
        assert_eq!(heard(ok), Heard::More);
        assert_eq!(heard(&ok.repeat(4)), Heard::Works);
        assert_eq!(heard(&"a NO no\r\n".repeat(4)), Heard::Nothing);
        assert_eq!(
            heard("* 1 FETCH (BODY[] {50}\r\nA1 BAD User is authenticated but not connected.\r\n"),
            Heard::Nothing
        );
        assert_eq!(heard("* BYE so long\r\n"), Heard::Nothing);
        assert_eq!(heard("x\r\n"), Heard::Nothing);
        assert_eq!(heard(&"x".repeat(5000)), Heard::Nothing);
        let late = format!(
            "a OK {}\r\nA1 BAD User is authenticated but not connected.\r\n",
            "x".repeat(MOST)
        );
        assert_eq!(heard(&late), Heard::Nothing);
        // What is asked of the client is not a trouble of the mailbox.
        assert_eq!(heard("a NO [AUTHENTICATIONFAILED] x\r\n"), Heard::More);
    }
}
