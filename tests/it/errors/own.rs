//! What mailsplice itself says: every sentence that stands in the sources of the rooms that talk to mail
//! programs, and every answer that the dialogues give, is known to `explain`.

use std::path::{Path, PathBuf};

use mailsplice::oauth::lookup;

/// Where the sentences are that a mail program or the log may get.
const ROOMS: [&str; 20] = [
    "proto/imap",
    "proto/pop3",
    "proto/smtp",
    "proto/client_side",
    "proto/sasl",
    "proto/patience.rs",
    "proto/dialogue.rs",
    "proto/any.rs",
    "session",
    "upstream/fault.rs",
    "upstream/verdict.rs",
    "net/tls/fault.rs",
    "net/dial.rs",
    "net/egress/mod.rs",
    "net/http/unreached.rs",
    "spool/error.rs",
    "spool/space.rs",
    "oauth/error.rs",
    "oauth/classify.rs",
    "oauth/engine",
];

/// Texts that are no refusal by themselves: parts of one, successes, and what is said at level debug.
const OTHERS: &[&str] = &[
    "{tag} NO [{}]",
    // Its words stand in proto/smtp/address.rs.
    "553 5.1.3 {why}",
    "{tag} BAD {text}",
    "{tag} OK CAPABILITY completed",
    "{tag} OK NOOP completed",
    "{tag} OK ID completed",
    "{tag} OK LOGOUT completed",
    "{tag} OK Begin TLS negotiation now",
    "SASL PLAIN LOGIN",
    "AUTH PLAIN LOGIN",
    "{error}: log in as the user whose password you have",
    "the authorization identity differs from the user",
    "the server closed the connection: {0}",
    "{} by {by} (mailsplice) with {} id {id}; {date}",
    "{} with {}",
    "from {} ({literal})",
    "Queued as {}",
    "not this protocol",
    "plain text behind STARTTLS",
    "a refused login",
    "ended before login",
    "line or literal too long",
    "too many bad commands",
    "too many refused logins",
    "that begins in plain text: set it to STARTTLS",
    "without TLS: set it to no encryption",
    "an accepted login",
    "TLS with the client",
    "TLS with the client failed",
    "from many addresses: {}",
    "mail trouble after the login: {sentence}",
    "(it would be {account})",
    "421 4.3.2 {text}",
    "it does not begin with a PROXY header ({error})",
    "no PROXY header",
    "it sends no PROXY header",
    "{text}; try again later",
    "servers.{protocol} of provider {provider}",
    "{host}: {fault}; perhaps tls of {place} should be implicit",
    "{host}: {fault}; check {}",
    "{host}: {fault}; try again later",
    "the egress proxy {proxy} {fault}",
    "{what} {host}:{port}: {reason}",
    "the envelope is not usable: {0}",
    "there is no message {0} in the spool",
    "Access was revoked. {}",
    "{}; try again later",
    "{UNKNOWN} (status {})",
    ", correlation id {id}",
    "A process may hang in a refresh: stop it and run this again",
    "the disk of {} is full",
    "Make room and run this again",
    "Mend that and run this again",
    "a token was asked for a catch-all",
    "noted in the record",
    "Settings changed, sign in again. {}",
];

/// The string literals of a source, without its tests, as they are when the program runs.
fn literals(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod ").next().unwrap();
    let mut found = Vec::new();
    for line in whole_literals(code) {
        let mut text = String::new();
        let mut rest = line.chars().peekable();
        while let Some(c) = rest.next() {
            match (c, rest.peek()) {
                ('\\', Some('\n')) => while rest.next_if(|c| c.is_whitespace()).is_some() {},
                ('\\', Some(_)) => text.extend(rest.next().map(|c| match c {
                    'r' | 'n' | 't' | '0' => ' ',
                    other => other,
                })),
                _ => text.push(c),
            }
        }
        found.push(text);
    }
    found
}

/// The insides of all string literals, escapes and all.
fn whole_literals(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (before, here) = rest.split_at(at);
        if let Some(comment) = here.strip_prefix("//") {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(quote) = ["'\"'", "'\\\"'", "'\\''"]
            .iter()
            .find(|q| here.starts_with(**q))
        {
            rest = &here[quote.len()..];
        } else if let Some(inside) = here.strip_prefix('"') {
            let raw = before.ends_with("r#") || before.ends_with('r') && !before.ends_with("er");
            let end = match raw {
                true => inside.find("\"#").or_else(|| inside.find('"')),
                false => end_of(inside),
            };
            let end = end.unwrap();
            found.push(inside[..end].to_owned());
            rest = &inside[end + 1..];
        } else {
            rest = &here[1..];
        }
    }
    found
}

fn end_of(inside: &str) -> Option<usize> {
    let mut escaped = false;
    inside.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })
}

/// The text with something in the place of each brace.
fn filled(text: &str) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        filled.push_str("x5");
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    filled + rest
}

fn sources(path: PathBuf, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            sources(entry.unwrap().path(), files);
        }
    } else if !["test", "play.rs"]
        .iter()
        .any(|part| path.to_string_lossy().contains(part))
    {
        files.push(path);
    }
}

/// Whoever writes a new sentence writes its row too.
#[test]
fn every_sentence_in_the_sources_is_explained() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for room in ROOMS {
        assert!(
            src.join(room).exists(),
            "{room} is gone: where do its sentences stand?"
        );
        sources(src.join(room), &mut files);
    }
    let (mut unknown, mut met) = (Vec::new(), 0);
    for file in files {
        let proxy = file.ends_with("net/egress/mod.rs");
        for text in literals(&std::fs::read_to_string(&file).unwrap()) {
            let text = text.trim();
            let is_success = text.starts_with(['2', '3', '+', '*']);
            if text.split(' ').count() < 3 || is_success || OTHERS.contains(&text) {
                continue;
            }
            let said = filled(text);
            let said = if proxy {
                format!("the egress proxy x {said}")
            } else {
                said
            };
            let found = lookup::find(&said);
            met += 1;
            if found.own.is_empty() && found.rows.is_empty() {
                let name = file.strip_prefix(&src).unwrap().display().to_string();
                unknown.push(format!("{name}: {text:?},"));
            }
        }
    }
    assert!(met > 100, "only {met}: the sources are not read");
    assert!(
        unknown.is_empty(),
        "without a row in own.json:\n{}",
        unknown.join("\n")
    );
}
