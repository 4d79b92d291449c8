//! Commands and their parameters.

use super::content::{Asked, ExpectRest, MOST_THROWN_AWAY, begin_chunk, refuse_chunk, too_large};
use super::states::{ExpectCommand, State};
use super::{Answer, Dialogue, End, Hello, Mail, Recipient, Step};
use crate::proto::line::split;
use crate::proto::smtp::address;
use crate::proto::smtp::client_side::{is_foreign, say_lines};
use crate::proto::smtp::mail::{path, sound};

/// Pipelined behind a MAIL that was refused, all of these come.
const MAIL_FIRST: &str = "503 5.5.1 Send MAIL first";

pub(super) fn obey(dialogue: &mut Dialogue, line: &[u8]) -> State {
    let (verb, rest) = split(line);
    let argument = rest.trim_ascii();
    match verb.to_ascii_uppercase().as_slice() {
        b"EHLO" => hello(dialogue, argument, true),
        b"HELO" => hello(dialogue, argument, false),
        b"MAIL" => or_bad(dialogue, |dialogue| mail(dialogue, argument)),
        b"RCPT" => or_bad(dialogue, |dialogue| recipient(dialogue, argument)),
        b"DATA" => data(dialogue, argument),
        b"BDAT" => chunk(dialogue, argument),
        b"RSET" => {
            let next = dialogue.answer("250 2.0.0 OK");
            dialogue.forget(next)
        }
        b"NOOP" => dialogue.answer("250 2.0.0 OK"),
        b"VRFY" => dialogue.answer("252 2.5.0 Send mail there and see"),
        b"HELP" => dialogue.answer("214 2.0.0 Send MAIL FROM, RCPT TO, DATA"),
        b"AUTH" => dialogue.answer("503 5.5.1 You have logged in already"),
        b"STARTTLS" => dialogue.answer("503 5.5.1 TLS can't be started behind the login"),
        b"QUIT" => dialogue.ended(End::Quit, "221 2.0.0 Goodbye"),
        // A message that does not wait for 354, or not for its refusal: no line of it may be a command.
        other if is_foreign(other) => {
            let text = "421 4.7.0 This is an SMTP server, and that no command: goodbye";
            dialogue.ended(End::TooManyBadCommands, text)
        }
        _ => dialogue.bad("500 5.5.1 Unknown command"),
    }
}

/// What a command comes to, or why it is not understood.
fn or_bad(
    dialogue: &mut Dialogue,
    obey: impl FnOnce(&mut Dialogue) -> Result<State, Answer>,
) -> State {
    match obey(dialogue) {
        Ok(state) => state,
        Err(answer) => dialogue.bad(&answer.line()),
    }
}

/// A client that introduces itself begins anew (RFC 5321 §4.1.4).
fn hello(dialogue: &mut Dialogue, name: &[u8], extended: bool) -> State {
    let Some(hello) = Hello::read(name, extended) else {
        return dialogue.bad("501 5.5.4 The name is longer than 255 octets");
    };
    dialogue.hello = hello;
    if extended {
        let own = std::iter::once(&*dialogue.terms.name);
        let lines = own.chain(dialogue.capabilities.announced(&[]));
        say_lines(&mut dialogue.outbox, lines);
    } else {
        let line = format!("250 {}", dialogue.terms.name);
        dialogue.outbox.say(&line);
    }
    dialogue.forget(State::Command(ExpectCommand))
}

fn mail(dialogue: &mut Dialogue, argument: &[u8]) -> Result<State, Answer> {
    if dialogue.transaction.is_some() {
        return Ok(dialogue.answer("503 5.5.1 There is a sender already: RSET begins anew"));
    }
    let path = path(argument, b"FROM")
        .ok_or_else(|| Answer::new("501 5.5.4", "It has to be MAIL FROM:<address>"))?;
    let address = sound(path.address)
        .ok_or_else(|| Answer::new("501 5.1.7", "This is no possible sender address"))?;
    let mut mail = Mail {
        address: address.to_owned(),
        size: None,
        smtputf8: false,
        eight_bit: false,
    };
    for (name, value) in parameters(path.parameters) {
        match (name.as_slice(), value) {
            (b"SIZE", value) => mail.size = Some(size(value)?),
            (b"BODY", body) if body.eq_ignore_ascii_case(b"7BIT") => {}
            (b"BODY", body) if body.eq_ignore_ascii_case(b"8BITMIME") => mail.eight_bit = true,
            (b"SMTPUTF8", b"") => mail.smtputf8 = true,
            (b"AUTH" | b"RET" | b"ENVID", _) => {}
            (other, _) => return Err(unknown(other)),
        }
    }
    if mail.size.is_some_and(|size| size > dialogue.terms.max_size) {
        let answer = too_large(dialogue);
        return Ok(dialogue.answer(&answer.line()));
    }
    Ok(State::Ask(Asked::Mail, Box::new(Step::Mail(mail))))
}

fn recipient(dialogue: &mut Dialogue, argument: &[u8]) -> Result<State, Answer> {
    let most = dialogue.terms.max_recipients;
    match &dialogue.transaction {
        None => return Ok(dialogue.answer(MAIL_FIRST)),
        Some(transaction) if transaction.chunks.is_some() || transaction.broken.is_some() => {
            let text = "503 5.5.1 The message has begun: no recipients behind BDAT";
            return Ok(dialogue.answer(text));
        }
        Some(transaction) if transaction.recipients >= most => {
            let text = format!("452 4.5.3 No more than {most} recipients (max_recipients)");
            return Ok(dialogue.answer(&text));
        }
        Some(_) => {}
    }
    let path = path(argument, b"TO")
        .ok_or_else(|| Answer::new("501 5.5.4", "It has to be RCPT TO:<address>"))?;
    let address = match address::recipient(path.address) {
        Ok(address) => address.to_owned(),
        // In a long list some may be wrong: that costs a client nothing but them.
        Err(why) => return Ok(dialogue.answer(&format!("553 5.1.3 {why}"))),
    };
    for (name, _) in parameters(path.parameters) {
        if !matches!(name.as_slice(), b"NOTIFY" | b"ORCPT") {
            return Err(unknown(&name));
        }
    }
    let step = Step::Recipient(Recipient { address });
    Ok(State::Ask(Asked::Recipient, Box::new(step)))
}

/// Parameters: the name in upper case, and the value.
fn parameters(text: &[u8]) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
    let words = text.split(u8::is_ascii_whitespace);
    words.filter(|word| !word.is_empty()).map(|word| {
        let end = memchr::memchr(b'=', word).unwrap_or(word.len());
        let (name, value) = word.split_at_checked(end).unwrap_or((word, b""));
        let value = value.strip_prefix(b"=").unwrap_or(value);
        (name.to_ascii_uppercase(), value)
    })
}

/// RFC 1870 §3: at most 20 digits.
fn size(value: &[u8]) -> Result<u64, Answer> {
    let wrong = || Answer::new("501 5.5.4", "SIZE needs a number of octets");
    match number(value).filter(|_| value.len() <= 20) {
        Some(size) => Ok(size),
        // It is one, and has no place in ours.
        None if !value.is_empty() && value.len() <= 20 && value.iter().all(u8::is_ascii_digit) => {
            Ok(u64::MAX)
        }
        None => Err(wrong()),
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok()?;
    let plain = digits.bytes().all(|octet| octet.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

fn unknown(name: &[u8]) -> Answer {
    let name = String::from_utf8_lossy(name.get(..name.len().min(40)).unwrap_or_default());
    let text = format!("The parameter {name}, or its value, is not known here");
    Answer::new("555 5.5.4", text)
}

/// RFC 5321 §4.1.1.4.
fn data(dialogue: &mut Dialogue, argument: &[u8]) -> State {
    let crlf = dialogue.inbox.ended_with_crlf();
    match &dialogue.transaction {
        _ if !argument.is_empty() => dialogue.bad("501 5.5.4 DATA takes no argument"),
        None => dialogue.answer(MAIL_FIRST),
        Some(transaction) if transaction.chunks.is_some() || transaction.broken.is_some() => {
            dialogue.answer("503 5.5.1 The message has begun with BDAT: go on so, or RSET")
        }
        Some(transaction) if transaction.recipients == 0 => {
            dialogue.answer("503 5.5.1 No recipient was taken: send RCPT first")
        }
        Some(_) => State::Ask(Asked::Data { crlf }, Box::new(Step::Begin)),
    }
}

/// The octets of a chunk follow without waiting (RFC 3030 §2): whatever the answer, they are no commands.
fn chunk(dialogue: &mut Dialogue, argument: &[u8]) -> State {
    let (count, mark) = split(argument);
    let mark = mark.trim_ascii();
    let last = mark.eq_ignore_ascii_case(b"LAST");
    let known = last || mark.is_empty();
    let Some(octets) = number(count).filter(|_| known) else {
        // Where the next command begins, nobody can tell.
        let text = "501 5.5.4 It has to be BDAT and a number of octets, goodbye";
        return dialogue.ended(End::TooManyBadCommands, text);
    };
    if octets > MOST_THROWN_AWAY.saturating_add(dialogue.terms.max_size) {
        let text = "552 5.3.4 The chunk is longer than anything that is taken, goodbye";
        return dialogue.ended(End::TooLong, text);
    }
    let skipped = State::Rest(ExpectRest(octets));
    let Some(transaction) = &dialogue.transaction else {
        dialogue.outbox.say(MAIL_FIRST);
        return skipped;
    };
    if let Some(answer) = transaction.broken.clone() {
        return refuse_chunk(dialogue, octets, last, answer);
    }
    if transaction.recipients == 0 {
        dialogue
            .outbox
            .say("503 5.5.1 No recipient was taken: send RCPT first");
        return skipped;
    }
    let begun = transaction.chunks;
    let whole = begun.unwrap_or(0).saturating_add(octets);
    if whole > dialogue.terms.max_size {
        let answer = too_large(dialogue);
        let next = refuse_chunk(dialogue, octets, last, answer);
        return State::Forget(Box::new(next));
    }
    match begun {
        Some(_) => begin_chunk(dialogue, octets, last),
        None => State::Ask(Asked::Chunk { octets, last }, Box::new(Step::Begin)),
    }
}
