//! Every refusal that a dialogue gives, in the line as it is sent: `explain` knows it as ours.

use mailsplice::oauth::{lookup, own, table};
use mailsplice::proto::dialogue::{Capabilities, ClientSide, ClientStep, Protection};
use mailsplice::proto::smtp::Hello;
use mailsplice::proto::smtp::reception::{Answer, Reception, Step, Terms};
use mailsplice::proto::{Limits, Protocol, Refusal, RefusalKind};

/// What a client may do wrong, by protocol. Lines without an end are as long as it takes.
const IMAP: &[&str] = &[
    "a\r\n",
    "a nonsense\r\n",
    "a select inbox\r\n",
    "a noop x\r\n",
    "a login\r\n",
    "a login x\r\n",
    "a login x y z\r\n",
    "a authenticate\r\n",
    "a authenticate ntlm\r\n",
    "a authenticate plain\r\n*\r\n",
    "a authenticate plain ???\r\n",
    "a authenticate plain AAAA\r\n",
    "a authenticate plain eABhAGI=\r\n",
    "a starttls\r\n",
    "a login {99999}\r\n",
    "a starttls\r\nb noop\r\n",
    "a login x y\r\n",
];
const POP3: &[&str] = &[
    "nonsense\r\n",
    "stat\r\n",
    "user\r\n",
    "pass x\r\n",
    "apop x y\r\n",
    "stls\r\n",
    "stls\r\nnoop\r\n",
    "auth ntlm\r\n",
    "auth plain\r\n*\r\n",
    "auth plain ???\r\n",
    "auth plain AAAA\r\n",
    "auth plain eABhAGI=\r\n",
    "user x\r\npass y\r\n",
];
const SMTP: &[&str] = &[
    "nonsense\r\n",
    "ehlo\r\n",
    "lhlo x\r\n",
    "auth\r\n",
    "auth ntlm\r\n",
    "auth plain\r\n*\r\n",
    "auth plain ???\r\n",
    "auth plain AAAA\r\n",
    "auth plain eABhAGI=\r\n",
    "starttls\r\n",
    "starttls x\r\n",
    "starttls\r\nnoop\r\n",
    "mail from:<a@b.c>\r\n",
    "rcpt to:<a@b.c>\r\n",
    "data\r\n",
    "bdat x\r\n",
    "bdat 5\r\n12345",
    "bdat 99999999999\r\n",
    "GET / HTTP/1.1\r\n",
    "auth plain AGEAYg==\r\n",
];
/// Behind the login, where we take the mail ourselves. A message of 9 octets is too long, and so are two
/// recipients.
const RECEPTION: &[&str] = &[
    "nonsense\r\n",
    "auth plain\r\n",
    "starttls\r\n",
    "mail from a\r\n",
    "mail from:<a b>\r\n",
    "mail from:<a@b.c> size=x\r\n",
    "mail from:<a@b.c> size=99\r\n",
    "mail from:<a@b.c> body=x\r\n",
    "mail from:<a@b.c>\r\nmail from:<a@b.c>\r\n",
    "rcpt to:<a@b.c>\r\n",
    "mail from:<a@b.c>\r\nrcpt to\r\nrcpt to:<a>\r\nrcpt to:<a@b.c> x=y\r\ndata\r\nbdat 1\r\n1",
    "mail from:<a@b.c>\r\nrcpt to:<a@b.c>\r\nrcpt to:<a@b.c>\r\ndata x\r\n",
    "mail from:<a@b.c>\r\nrcpt to:<a@b.c>\r\ndata\r\n0123456789\r\n.\r\n",
    "mail from:<a@b.c>\r\nrcpt to:<a@b.c>\r\nbdat 1\r\n1rcpt to:<a@b.c>\r\ndata\r\n",
    "mail from:<a@b.c>\r\nrcpt to:<a@b.c>\r\nbdat 10 last\r\n0123456789",
    "data\r\n",
    "bdat x\r\n",
    "bdat 99999999999\r\n",
    "Subject: x\r\n",
];

/// Lines that end the dialogue by their number or length.
fn endless(protocol: Protocol) -> Vec<String> {
    let (tag, line) = match protocol {
        Protocol::Imap => ("a ", "a nonsense\r\n"),
        Protocol::Pop3 | Protocol::Smtp => ("", "nonsense\r\n"),
    };
    let long = format!("{tag}{}\r\n", "x".repeat(40_000));
    let noop = format!("{tag}noop\r\n");
    vec![
        line.repeat(40),
        noop.repeat(300),
        long.clone(),
        long.repeat(2),
    ]
}

/// What is said to a client that sends `input`; each login is answered by `refusal`.
fn said(protocol: Protocol, protection: Protection, input: &str, refusal: &Refusal) -> String {
    let capabilities = Capabilities::conservative(protocol);
    let mut dialogue = ClientSide::new(capabilities, protection, Limits::default());
    dialogue.receive(input.as_bytes());
    let mut said = String::new();
    let (mut waits, mut tls) = (false, false);
    loop {
        match dialogue.step() {
            ClientStep::Send(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
            ClientStep::Login(_) | ClientStep::LoginAs => dialogue.refuse(refusal).unwrap(),
            ClientStep::StartTls if !tls => {
                tls = true;
                dialogue.tls_started().unwrap();
            }
            ClientStep::Read if !waits => {
                waits = true;
                dialogue.bye("Too slow to log in, goodbye");
            }
            _ => return said,
        }
    }
}

/// What is said behind the login; `refused`: nothing is taken, and why.
fn received(input: &str, refused: Option<&Answer>) -> String {
    let terms = Terms {
        name: "mailsplice".into(),
        max_size: 9,
        max_recipients: 1,
        limits: Limits::default(),
    };
    let mut dialogue = Reception::new(terms, Hello::default(), input.as_bytes());
    let verdict = || refused.cloned().map_or(Ok(()), Err);
    let mut said = String::new();
    loop {
        match dialogue.step() {
            Step::Send(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
            Step::Mail(_) | Step::Recipient(_) | Step::Begin => dialogue.decide(verdict()).unwrap(),
            Step::Whole => dialogue
                .finish(&Answer::new("250 2.0.0", "Queued as 1"))
                .unwrap(),
            Step::Content(_) | Step::Forget => {}
            Step::Read | Step::Close(_) => return said,
        }
    }
}

fn is_refusal(protocol: Protocol, line: &str) -> bool {
    match protocol {
        Protocol::Imap => ["* BYE", "a BAD", "a NO", "b BAD", "BAD"]
            .iter()
            .any(|start| line.starts_with(start)),
        Protocol::Pop3 => line.starts_with("-ERR"),
        Protocol::Smtp => line.starts_with(['4', '5']),
    }
}

/// Collects the refusals of `said` that `explain` does not take for ours.
fn judge(protocol: Protocol, said: &str, met: &mut usize, unknown: &mut Vec<String>) {
    for line in said.lines().filter(|line| is_refusal(protocol, line)) {
        *met += 1;
        let found = lookup::find(line);
        // A sentence of the table comes without a row of ours.
        let of_table = |row: &&'static table::Row| {
            let parts = row.sentence.split(['{', '}']).step_by(2);
            line.contains(parts.max_by_key(|part| part.len()).unwrap())
        };
        let ours = !found.own.is_empty() || found.rows.iter().any(of_table);
        if !(ours && found.unknown.is_empty()) {
            unknown.push(format!("{}: {line}", protocol.name()));
        }
    }
}

#[test]
fn every_refusal_of_the_dialogues_is_explained() {
    let (mut met, mut unknown) = (0, Vec::new());
    let refusal = Refusal::credentials();
    for (protocol, inputs) in [
        (Protocol::Imap, IMAP),
        (Protocol::Pop3, POP3),
        (Protocol::Smtp, SMTP),
    ] {
        let inputs = inputs
            .iter()
            .map(|input| (*input).to_owned())
            .chain(endless(protocol));
        for input in inputs {
            for protection in [Protection::LoginAllowed, Protection::StartTlsFirst] {
                let said = said(protocol, protection, &input, &refusal);
                let before = met;
                judge(protocol, &said, &mut met, &mut unknown);
                assert!(
                    met > before,
                    "{input:.40}: nothing was refused: {said:.200}"
                );
            }
        }
    }
    for input in RECEPTION
        .iter()
        .map(|input| (*input).to_owned())
        .chain(endless(Protocol::Smtp))
    {
        let said = received(&input, None);
        let before = met;
        judge(Protocol::Smtp, &said, &mut met, &mut unknown);
        let noops = input.starts_with("noop");
        assert!(
            met > before || noops,
            "{input:.40}: nothing was refused: {said:.200}"
        );
    }
    unknown.dedup();
    assert!(
        met > 100 && unknown.is_empty(),
        "{met} met, without a row:\n{}",
        unknown.join("\n")
    );
}

/// Every sentence with which a login can be refused, as each protocol says it.
#[test]
fn every_refused_login_is_explained_in_all_protocols() {
    use RefusalKind::{InUse, Person, Temporary};
    let ours = own::rows()
        .iter()
        .filter(|own| !own.log && own.codes.is_empty());
    let ours = ours.flat_map(own::Own::names);
    let table = table::rows().map(|row| table::general(&row.sentence));
    let texts = ours.chain(table);
    let mut refusals = vec![Refusal::credentials()];
    for text in texts {
        refusals.extend([Temporary, Person, InUse].map(|kind| Refusal::new(kind, text.clone())));
    }
    let (mut met, mut unknown) = (0, Vec::new());
    for refusal in &refusals {
        for (protocol, login) in [
            (Protocol::Imap, "a login x y\r\n"),
            (Protocol::Pop3, "user x\r\npass y\r\n"),
            (Protocol::Smtp, "auth plain AGEAYg==\r\n"),
        ] {
            let said = said(protocol, Protection::LoginAllowed, login, refusal);
            judge(protocol, &said, &mut met, &mut unknown);
        }
    }
    assert!(
        met > 1000 && unknown.is_empty(),
        "{met} met, without a row:\n{}",
        unknown.join("\n")
    );
}

/// What the queue refuses reaches the device in these words.
#[test]
fn every_sentence_of_the_reception_keeps_its_codes() {
    let mut met = 0;
    for own in own::rows()
        .iter()
        .filter(|own| !own.log && !own.says.is_empty())
    {
        for (name, code) in own.names().iter().zip(own.codes.iter().cycle()) {
            let Some(("4" | "5", _)) = code.split_at_checked(1) else {
                continue;
            };
            met += 1;
            let line = format!("{code} {name}");
            assert!(lookup::find(&line).own.contains(&own), "{line}");
        }
    }
    assert!(met > 40, "{met}");
}
