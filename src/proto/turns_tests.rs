//! What holds for the dialogues of every protocol: turns, and text in the clear behind STARTTLS.

use super::dialogue::{
    Capabilities, ClientEnd, ClientSide, ClientStep, Fault, Protection, UpstreamSide, UpstreamStep,
    UpstreamTls,
};
use super::harness::{Input, at_every_split, hear, hear_at_every_split, play, success};
use super::sasl::Mechanism;
use super::{Limits, Refusal, imap, pop3, smtp};

/// What is said in a protocol.
struct Protocol {
    client: fn(Protection) -> ClientSide,
    upstream: fn(UpstreamTls) -> UpstreamSide,
    /// The command that starts TLS.
    starttls: &'static [u8],
    login: &'static [u8],
    /// What comes before a mechanism.
    auth: &'static str,
    /// A server's greeting, and its agreement to start TLS.
    agreed: [&'static [u8]; 2],
    /// What a server says over TLS: up to the success, and one line more.
    over_tls: &'static [u8],
}

const PROTOCOLS: [Protocol; 3] = [
    Protocol {
        client: |protection| {
            let list = imap::Capabilities::read(b"IMAP4rev1 IDLE");
            ClientSide::new(Capabilities::Imap(list), protection, Limits::default())
        },
        upstream: |tls| UpstreamSide::Imap(imap::UpstreamSide::new(tls)),
        starttls: b"a STARTTLS\r\n",
        login: b"a AUTHENTICATE PLAIN AGJvYgBwdw==\r\n",
        auth: "a AUTHENTICATE ",
        agreed: [b"* OK hi\r\n", b"S1 OK go\r\n"],
        over_tls: b"* CAPABILITY IMAP4rev1\r\nS2 OK done\r\n+ \r\nS3 OK in\r\n* 1 EXISTS\r\n",
    },
    Protocol {
        client: |protection| {
            let list = pop3::Capabilities::default();
            ClientSide::new(Capabilities::Pop3(list), protection, Limits::default())
        },
        upstream: |tls| UpstreamSide::Pop3(pop3::UpstreamSide::new(tls)),
        starttls: b"STLS\r\n",
        login: b"AUTH PLAIN AGJvYgBwdw==\r\n",
        auth: "AUTH ",
        agreed: [b"+OK hi\r\n", b"+OK go\r\n"],
        over_tls: b"+OK\r\nUIDL\r\n.\r\n+ \r\n+OK in\r\n+OK 1 2\r\n",
    },
    Protocol {
        client: |protection| {
            let list = smtp::Capabilities::default();
            ClientSide::new(Capabilities::Smtp(list), protection, Limits::default())
        },
        upstream: |tls| UpstreamSide::Smtp(smtp::UpstreamSide::new(tls)),
        starttls: b"STARTTLS\r\n",
        login: b"AUTH PLAIN AGJvYgBwdw==\r\n",
        auth: "AUTH ",
        agreed: [b"220 hi\r\n250-x\r\n250 STARTTLS\r\n", b"220 go\r\n"],
        over_tls: b"250-x\r\n250 SIZE\r\n334 \r\n235 in\r\n250 ok\r\n",
    },
];

/// The next step that is not to send.
fn step(dialogue: &mut ClientSide) -> ClientStep {
    loop {
        match dialogue.step() {
            ClientStep::Send(_) => {}
            other => return other,
        }
    }
}

#[test]
fn a_sasl_exchange_goes_the_same_way_in_every_protocol() {
    let rows = [
        ("UNKNOWN !!\r\n", "Unsupported mechanism"),
        ("PLAIN !!\r\n", "not valid base64"),
        ("PLAIN\r\n!!\r\n", "not valid base64"),
        ("LOGIN !!\r\n", "not valid base64"),
        ("LOGIN\r\nYm9i\r\n!!\r\n", "not valid base64"),
        ("PLAIN =\r\n", "not a valid PLAIN message"),
        ("PLAIN\r\n*\r\n", "cancelled"),
        ("LOGIN\r\n*\r\n", "cancelled"),
        ("LOGIN\r\nYm9i\r\n*\r\n", "cancelled"),
        ("PLAIN eABib2IAcHc=\r\n", "authorization identity differs"),
    ];
    for of in PROTOCOLS {
        for (exchange, answer) in rows {
            let input = format!("{}{exchange}", of.auth);
            let new = || (of.client)(Protection::LoginAllowed);
            let story = at_every_split(new, input.as_bytes(), None);
            let last = story.said.lines().last().unwrap();
            assert!(last.contains(answer), "{input:?}: {last}");
            assert!(story.logins.is_empty() && story.end.is_none());
        }
    }
}

#[test]
fn a_client_logs_in_over_tls_wherever_its_octets_are_cut() {
    for of in PROTOCOLS {
        let tls = [of.login, b"what follows\r\n\x00\xff"].concat();
        let input = Input {
            clear: of.starttls,
            tls: &tls,
        };
        let story = at_every_split(|| (of.client)(Protection::StartTlsFirst), input, None);
        assert!(story.tls && story.handshake.is_empty());
        assert_eq!(story.logins, [(b"bob".to_vec(), b"pw".to_vec())]);
        assert_eq!(story.unread, b"what follows\r\n\x00\xff");
    }
}

#[test]
fn text_in_the_clear_behind_starttls_ends_the_connection_wherever_it_is_cut() {
    for of in PROTOCOLS {
        for injected in [&b"x"[..], b"\n", of.login] {
            let new = || (of.client)(Protection::StartTlsFirst);
            let clear = [of.starttls, injected].concat();
            let end = of.starttls.len();
            for cut in 1..=clear.len() {
                let input = Input {
                    clear: &clear,
                    tls: of.login,
                };
                let story = play(new(), input, &[cut], None);
                assert!(story.logins.is_empty() && story.unread.is_empty());
                if cut == end {
                    // What comes once we have agreed goes to the handshake, which takes no text.
                    assert_eq!((story.tls, &story.handshake[..]), (true, injected));
                    continue;
                }
                let seen = if cut < end { injected.len() } else { cut - end };
                assert_eq!(story.end, Some(ClientEnd::Injected(seen)), "cut at {cut}");
                let said = story.said.lines().count();
                assert_eq!((story.tls, said), (false, 2), "greeting and goodbye");
                assert!(story.said.ends_with(", goodbye\r\n"), "{}", story.said);
            }
        }
    }
}

#[test]
fn text_that_comes_while_tls_is_being_agreed_upon_ends_the_connection_too() {
    for of in PROTOCOLS {
        // Between the agreement and the driver's beginning.
        let mut dialogue = (of.client)(Protection::StartTlsFirst);
        assert!(matches!(step(&mut dialogue), ClientStep::Read));
        dialogue.receive(of.starttls);
        assert!(matches!(dialogue.step(), ClientStep::Send(_)));
        dialogue.receive(of.login);
        let injected = ClientEnd::Injected(of.login.len());
        assert!(matches!(step(&mut dialogue), ClientStep::Close(end) if end == injected));

        // Before TLS is up.
        let mut dialogue = (of.client)(Protection::StartTlsFirst);
        dialogue.receive(of.starttls);
        assert!(matches!(step(&mut dialogue), ClientStep::StartTls));
        assert!(matches!(step(&mut dialogue), ClientStep::Read));
        dialogue.receive(of.login);
        dialogue.tls_started().unwrap();
        assert!(matches!(step(&mut dialogue), ClientStep::Close(end) if end == injected));

        let mut dialogue = (of.upstream)(UpstreamTls::StartTls);
        for said in of.agreed {
            dialogue.receive(said);
            while let UpstreamStep::Send(_) = dialogue.step() {}
        }
        dialogue.receive(of.over_tls);
        dialogue.tls_started().unwrap();
        let injected = Fault::Injected(of.over_tls.len());
        assert!(matches!(dialogue.step(), UpstreamStep::Failed(fault) if fault == injected));
    }
}

#[test]
fn a_server_is_logged_in_to_over_tls_wherever_its_octets_are_cut() {
    for of in PROTOCOLS {
        let [greeting, agreed] = of.agreed;
        let says = [greeting, agreed, of.over_tls];
        let new = || (of.upstream)(UpstreamTls::StartTls);
        let story = hear_at_every_split(new, Mechanism::Xoauth2, &says);
        assert!(story.tls && story.accepted.is_some());
        assert!(of.over_tls.ends_with(&story.unread) && !story.unread.is_empty());
    }
}

#[test]
fn text_in_the_clear_behind_a_servers_agreement_is_a_fault_wherever_it_is_cut() {
    for of in PROTOCOLS {
        let [greeting, agreed] = of.agreed;
        for injected in [&b"x"[..], of.over_tls] {
            let clear = [greeting, agreed, injected].concat();
            let end = greeting.len() + agreed.len();
            for cut in (1..=clear.len()).filter(|&cut| cut != end) {
                let dialogue = (of.upstream)(UpstreamTls::StartTls);
                let (first, rest) = clear.split_at(cut);
                let story = hear(dialogue, Mechanism::Xoauth2, [first, rest]);
                let seen = if cut < end { injected.len() } else { cut - end };
                assert_eq!(story.failed, Some(Fault::Injected(seen)), "cut at {cut}");
                assert!(!story.tls && !story.said.contains("TOKEN"));
            }
        }
    }
}

#[test]
fn a_client_sides_call_out_of_turn_is_a_fault_and_changes_nothing() {
    for of in PROTOCOLS {
        let refusal = Refusal::credentials();
        let mut dialogue = (of.client)(Protection::StartTlsFirst);
        // Before the greeting is sent, while a command is awaited, while TLS is to be started.
        for _ in 0..2 {
            assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));
            assert_eq!(dialogue.refuse(&refusal), Err(Fault::OutOfTurn));
            assert!(matches!(step(&mut dialogue), ClientStep::Read));
        }
        dialogue.receive(of.login);
        assert!(
            matches!(step(&mut dialogue), ClientStep::Read),
            "no TLS, no login"
        );
        dialogue.receive(of.starttls);
        assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));
        assert!(matches!(step(&mut dialogue), ClientStep::StartTls));
        assert_eq!(dialogue.refuse(&refusal), Err(Fault::OutOfTurn));
        dialogue.tls_started().unwrap();
        assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));

        dialogue.receive(of.login);
        assert_eq!(
            dialogue.refuse(&refusal),
            Err(Fault::OutOfTurn),
            "not taken yet"
        );
        assert!(matches!(step(&mut dialogue), ClientStep::Login(_)));
        assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));
        dialogue.refuse(&refusal).unwrap();
        assert_eq!(dialogue.refuse(&refusal), Err(Fault::OutOfTurn));
        let success = success(&dialogue);
        assert_eq!(dialogue.accept(&success), Err(Fault::OutOfTurn));
    }
}

#[test]
fn an_upstream_sides_call_out_of_turn_is_a_fault_and_the_end() {
    let failed = |dialogue: &mut UpstreamSide| {
        let step = dialogue.step();
        matches!(step, UpstreamStep::Failed(Fault::OutOfTurn))
    };
    for of in PROTOCOLS {
        let new = || (of.upstream)(UpstreamTls::StartTls);
        let mut dialogue = new();
        assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));
        assert!(failed(&mut dialogue));

        let mut dialogue = new();
        let asked = dialogue.authenticate(Mechanism::Xoauth2, "TOKEN".into());
        assert_eq!(asked, Err(Fault::OutOfTurn));
        assert!(failed(&mut dialogue) && failed(&mut dialogue));

        // Not even while STARTTLS awaits its reply.
        let mut dialogue = new();
        dialogue.receive(of.agreed[0]);
        while let UpstreamStep::Send(_) = dialogue.step() {}
        assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));
        assert!(failed(&mut dialogue));
    }
}
