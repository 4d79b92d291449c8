//! Every event is documented.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn client() -> Client {
    Client {
        client: SocketAddr::from(([192, 0, 2, 7], 50_123)),
        listener: String::new(),
        protocol: "imap",
    }
}

fn login() -> Login {
    Login {
        session: 1,
        client: client(),
        account: String::new(),
        label: String::new(),
        token_age: 1,
    }
}

fn told() -> MailTold {
    MailTold {
        account: String::new(),
        listener: String::new(),
        device: String::new(),
        message: String::new(),
        class: Class::Admin,
        code: None,
        sentence: String::new(),
    }
}

/// One event of each kind.
fn samples() -> Vec<Event> {
    let text = String::new;
    vec![
        Event::SignIn(SignIn {
            account: text(),
            provider: text(),
            flow: "".into(),
            identity: None,
        }),
        Event::PasswordAdded(PasswordAdded {
            account: text(),
            label: text(),
            kind: "".into(),
            protocols: Vec::new(),
            networks: Vec::new(),
        }),
        Event::PasswordRemoved(PasswordRemoved {
            account: text(),
            label: text(),
            sessions: 1,
        }),
        Event::Refresh(Refresh {
            account: text(),
            provider: text(),
            flow: "",
            outcome: "ok",
            code: None,
            correlation_id: None,
            milliseconds: 1,
            expires_in: None,
            rotated: false,
        }),
        Event::Refusal(Refusal {
            client: client(),
            account: None,
            label: None,
            reason: "",
            code: None,
            text: text(),
            count: 1,
        }),
        Event::Login(login()),
        Event::SessionEnd(SessionEnd {
            login: login(),
            to_client: 1,
            to_upstream: 1,
            seconds: 1.25,
            reason: "idle",
        }),
        Event::MailTrouble {
            account: text(),
            code: text(),
            text: text(),
        },
        Event::NeedsAttention {
            account: text(),
            class: Class::Admin,
            code: None,
            sentence: text(),
        },
        Event::Recovered { account: text() },
        Event::Revoked {
            account: text(),
            sessions: 1,
        },
        Event::WillExpire {
            what: "CA",
            of: text(),
            at: 1,
            sentence: text(),
        },
        Event::BruteForce {
            client: client().client,
            account: None,
            listener: text(),
        },
        Event::MailAccepted(MailAccepted {
            session: 1,
            client: client(),
            account: text(),
            device: text(),
            message: text(),
            size: 1,
            recipients: 1,
            repairs: BTreeMap::new(),
        }),
        Event::MailDelivered {
            account: text(),
            message: text(),
            device: text(),
            recipients: 1,
            attempts: 1,
            seconds: 1,
        },
        Event::MailDeferred {
            account: text(),
            message: None,
            class: Class::Temporary,
            code: None,
            sentence: text(),
        },
        Event::MailFailed(told()),
        Event::MailDelayed(told()),
        Event::MailNotice(MailNotice {
            failed: true,
            messages: 1,
            kept: true,
            last: told(),
        }),
    ]
}

/// Who adds an event meets this, and then adds a sample and a section of the document.
fn number(event: &Event) -> usize {
    match event {
        Event::SignIn(_) => 0,
        Event::PasswordAdded(_) => 1,
        Event::PasswordRemoved(_) => 2,
        Event::Refresh(_) => 3,
        Event::Refusal(_) => 4,
        Event::Login(_) => 5,
        Event::SessionEnd(_) => 6,
        Event::MailTrouble { .. } => 7,
        Event::NeedsAttention { .. } => 8,
        Event::Recovered { .. } => 9,
        Event::Revoked { .. } => 10,
        Event::WillExpire { .. } => 11,
        Event::BruteForce { .. } => 12,
        Event::MailAccepted(_) => 13,
        Event::MailDelivered { .. } => 14,
        Event::MailDeferred { .. } => 15,
        Event::MailFailed(_) => 16,
        Event::MailDelayed(_) => 17,
        Event::MailNotice(_) => 18,
    }
}

/// Names in backquotes in the first column of the tables headed `| field |`, by section.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/audit.md");
    let text = std::fs::read_to_string(file).unwrap();
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut section, mut in_table) = (String::new(), false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("### `") {
            section = name.trim_end_matches('`').to_owned();
            sections.entry(section.clone()).or_default();
        } else if line.starts_with("| field |") {
            in_table = true;
        } else if !line.starts_with('|') {
            in_table = false;
        } else if in_table && !section.is_empty() {
            let column = line.split('|').nth(1).unwrap();
            let names = column.split('`').skip(1).step_by(2).map(str::to_owned);
            sections.get_mut(&section).unwrap().extend(names);
        }
    }
    sections
}

#[test]
fn every_event_and_field_is_documented_and_none_is_renamed() {
    let mut told = BTreeMap::new();
    for (index, event) in samples().iter().enumerate() {
        assert_eq!(number(event), index);
        let serde_json::Value::Object(mut fields) = serde_json::to_value(event).unwrap() else {
            panic!("{event:?}");
        };
        let name = fields.remove("event").unwrap();
        let names = fields.keys().cloned().collect();
        told.insert(name.as_str().unwrap().to_owned(), names);
    }
    assert_eq!(told.len(), samples().len());
    assert_eq!(documented(), told);
}
