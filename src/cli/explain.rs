//! `mailsplice explain`.

use std::io::{self, Read};

use serde_json::{Value, json};

use super::{DONE, FAILED, USAGE, say, word};
use crate::oauth::Class;
use crate::oauth::lookup::{self, Found};
use crate::oauth::own::{self, Own};
use crate::oauth::table::{self, Row, When};
use crate::proto::{Protocol, RefusalKind};

/// Width of explanations on a terminal.
const WIDTH: usize = 100;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A sentence of mailsplice, a code (AADSTS50076, 50076, invalid_grant, 5.7.139,
    /// [AUTHENTICATIONFAILED]) or a whole error text; "-" reads it from stdin.
    #[arg(
        value_name = "CODE",
        required_unless_present = "list",
        conflicts_with = "list",
        allow_hyphen_values = true
    )]
    code: Option<String>,
    /// More words of the text, where it is not quoted.
    #[arg(value_name = "WORD")]
    more: Vec<String>,
    /// Print all codes, a line each.
    #[arg(long)]
    list: bool,
    /// Print JSON (`version` tells its form).
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    if arguments.list {
        list(arguments.json)?;
        return Ok(DONE);
    }
    let code = arguments.code.as_deref().unwrap_or_default();
    // POP3 servers say -ERR, so a hyphen may come first; two are a mistyped option.
    if code.starts_with("--") {
        word(format_args!("mailsplice: explain has no option {code}"));
        return Ok(USAGE);
    }
    let text = if code == "-" && arguments.more.is_empty() {
        let mut text = Vec::new();
        io::stdin()
            .take(lookup::LONGEST as u64)
            .read_to_end(&mut text)?;
        String::from_utf8_lossy(&text).into_owned()
    } else {
        format!("{code} {}", arguments.more.join(" "))
    };
    let found = lookup::find(&text);
    if arguments.json {
        say(serde_json::to_string_pretty(&report(&found))?);
    } else {
        print(&found);
    }
    let some = !found.own.is_empty() || !found.rows.is_empty();
    let known = some && found.unknown.is_empty();
    Ok(if known { DONE } else { FAILED })
}

fn list(as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let rows: Vec<Value> = table::rows().map(object).collect();
        let own: Vec<Value> = own::rows().iter().map(own_object).collect();
        let all = json!({ "version": 1, "own": own, "rows": rows });
        say(serde_json::to_string_pretty(&all)?);
    } else {
        for own in own::rows() {
            for name in own.names() {
                say(format_args!("{:<14} {name}", "mailsplice"));
            }
        }
        for row in table::rows() {
            let names = row.names().join(" ");
            let sentence = table::general(&row.sentence);
            say(format_args!("{:<14} {names}: {sentence}", row.class.name()));
        }
    }
    Ok(())
}

fn report(found: &Found) -> Value {
    let rows: Vec<Value> = found.rows.iter().map(|row| object(row)).collect();
    let traces: serde_json::Map<String, Value> = found
        .traces
        .iter()
        .map(|(name, value)| (name.replace(' ', "_"), json!(value)))
        .collect();
    json!({
        "version": 1,
        "own": found.own.iter().map(|own| own_object(own)).collect::<Vec<_>>(),
        "rows": rows,
        "unknown": found.unknown,
        "fallback": found.fallback.map(object),
        "for_administrator": traces,
    })
}

fn own_object(own: &Own) -> Value {
    json!({
        "says": own.names(),
        "codes": own.codes,
        "where": if own.log { "log" } else { "client" },
        "whose_move": own.whose.words(),
        "meaning": table::general(&own.meaning),
        "steps": table::Values::default().steps(&own.steps),
    })
}

fn object(row: &Row) -> Value {
    let steps = table::Values::default().steps(&row.steps);
    let protocols: Vec<&str> = row.reply.iter().flat_map(protocols).collect();
    json!({
        "code": row.code(),
        "codes": row.names(),
        "protocols": protocols,
        "class": row.class.name(),
        "whose_move": row.whose(),
        "sentence": table::general(&row.sentence),
        "passed_on": passed_on(row),
        "response_code": response_code(row),
        "meaning": table::general(&row.explanation),
        "steps": steps,
        "source": row.source,
    })
}

fn protocols(reply: &table::Reply) -> impl Iterator<Item = &'static str> {
    reply.protocols.iter().map(|protocol| protocol.acronym())
}

/// Whether mail programs get the server's own words, because they come after the login.
fn passed_on(row: &Row) -> bool {
    row.reply
        .as_ref()
        .is_some_and(|reply| reply.when == When::Session)
}

/// The IMAP response code (RFC 5530) that goes with the sentence.
fn response_code(row: &Row) -> &'static str {
    let kind = match row.class {
        _ if row.is_in_use() => RefusalKind::InUse,
        Class::Temporary => RefusalKind::Temporary,
        _ => RefusalKind::Person,
    };
    kind.imap_code()
}

/// What the sentence follows in the answer to a client (RFC 5530 §3, RFC 3206, RFC 4954 §6): that of
/// IMAP where the row is not of another protocol alone.
fn answer(row: &Row) -> String {
    let passes = row.class == Class::Temporary;
    match row.reply.as_ref().map(|reply| reply.protocols.as_slice()) {
        Some([Protocol::Pop3]) if row.is_in_use() => "-ERR [IN-USE]".to_owned(),
        Some([Protocol::Pop3]) if passes => "-ERR [SYS/TEMP]".to_owned(),
        Some([Protocol::Pop3]) => "-ERR [SYS/PERM]".to_owned(),
        Some([Protocol::Smtp]) => "454 4.7.0".to_owned(),
        _ => format!("NO [{}]", response_code(row)),
    }
}

fn print(found: &Found) {
    for (number, own) in found.own.iter().enumerate() {
        if number > 0 {
            say("");
        }
        print_own(own);
    }
    if !found.own.is_empty() && !found.rows.is_empty() {
        say(
            "\nWhere the words came from the mail server instead (in the log or \"mailsplice status\"):\n",
        );
    }
    for (number, row) in found.rows.iter().enumerate() {
        if number > 0 {
            say("");
        }
        print_row(row);
    }
    if !found.unknown.is_empty() {
        let codes = found.unknown.join(", ");
        say(format_args!(
            "{codes}: not in the table of this version, so not known."
        ));
        if let Some(row) = found.fallback {
            say(format_args!(
                "What mailsplice goes by instead is {}:\n",
                row.names().join(", ")
            ));
            print_row(row);
        }
    } else if found.rows.is_empty() && found.own.is_empty() {
        say(
            "Not known: neither a sentence of mailsplice nor a code in the table (\"mailsplice explain --list\" \
             shows all).",
        );
    }
    let nothing = found.rows.is_empty() && found.own.is_empty();
    let unknown = !found.unknown.is_empty() || nothing;
    if unknown && found.fallback.is_none() {
        say(
            "mailsplice then goes by what stands beside it. Of a sign-in service: transient values of \
             \"error\" are tried\nagain, invalid_grant and similar values ask for a new sign-in, all others \
             for the administrator. Of a mail server:\nthe response code; without one the token is \
             renewed once.",
        );
    }
    print_traces(found, unknown);
}

/// What the administrator needs to find the event.
fn print_traces(found: &Found, unknown: bool) {
    if !found.traces.is_empty() {
        say("\nFor the administrator:");
        for (name, value) in &found.traces {
            say(format_args!("  {name:<15}{value}"));
        }
    } else if unknown {
        say(
            "\nThe administrator needs the correlation id and the time: both stand in the log of \
             mailsplice and in\nthe error text. Microsoft's own page: \
             https://login.microsoftonline.com/error?code=NUMBER",
        );
    }
}

fn print_own(own: &Own) {
    own.names().iter().for_each(say);
    field("Said by", own.place());
    field("Meaning", &table::general(&own.meaning));
    field("Who must act", own.whose.words());
    print_steps(&own.steps);
}

fn print_steps(steps: &[table::Step]) {
    let steps = table::Values::default().steps(steps);
    for (number, step) in steps.iter().enumerate() {
        let name = if number == 0 { "What to do" } else { "" };
        field(name, &format!("{}. {step}", number + 1));
    }
}

fn print_row(row: &Row) {
    say(row.names().join(", "));
    if let Some(reply) = &row.reply {
        let protocols: Vec<&str> = protocols(reply).collect();
        field("Said by", &format!("{} servers", protocols.join(", ")));
    }
    field("Meaning", &table::general(&row.explanation));
    let class = row.class;
    field(
        "Class",
        &format!("{}; who must act: {}", class.name(), row.whose()),
    );
    let sentence = table::general(&row.sentence);
    if passed_on(row) {
        field(
            "Client gets",
            "the server's own words: after the login all bytes are passed on unchanged",
        );
        field("Status says", &sentence);
    } else {
        field("Client gets", &format!("{} {sentence}", answer(row)));
    }
    print_steps(&row.steps);
    field("Source", &row.source);
}

/// A named text, wrapped and indented.
fn field(name: &str, text: &str) {
    const INDENT: usize = 14;
    let mut line = format!("  {name:<12}");
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.len() + 1 + word.len() > WIDTH {
            say(&line);
            line = " ".repeat(INDENT);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    say(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_as_json_are_complete() {
        for row in table::rows() {
            let object = object(row);
            for key in [
                "code",
                "class",
                "whose_move",
                "sentence",
                "meaning",
                "source",
            ] {
                let text = object[key].as_str().unwrap();
                assert!(!text.is_empty() && !text.contains('{'), "{object}");
            }
            let code = if row.is_in_use() {
                "INUSE"
            } else if object["class"] == "temporary" {
                "UNAVAILABLE"
            } else {
                "CONTACTADMIN"
            };
            assert_eq!(object["response_code"], code);
        }
    }
}
