//! What holds for the dialogues of every protocol: turns, and text in the clear behind STARTTLS.

use super::Refusal;
use super::dialogue::{
    ClientEnd, ClientSide, ClientStep, Fault, Protection, UpstreamSide, UpstreamStep, UpstreamTls,
};
use super::harness::{
    Input, at_every_split, clients, hear, hear_at_every_split, play, success, upstreams,
};
use super::sasl::Mechanism;

/// What starts TLS, and a login, of IMAP, POP3 and SMTP.
const STARTTLS: [&[u8]; 3] = [b"a STARTTLS\r\n", b"STLS\r\n", b"STARTTLS\r\n"];
const LOGIN: [&[u8]; 3] = [
    b"a AUTHENTICATE PLAIN AGJvYgBwdw==\r\n",
    b"AUTH PLAIN AGJvYgBwdw==\r\n",
    b"AUTH PLAIN AGJvYgBwdw==\r\n",
];
/// Greetings and agreements to start TLS, and what servers say over TLS up to the success.
const AGREED: [[&[u8]; 2]; 3] = [
    [b"* OK hi\r\n", b"S1 OK go\r\n"],
    [b"+OK hi\r\n", b"+OK go\r\n"],
    [b"220 hi\r\n250-x\r\n250 STARTTLS\r\n", b"220 go\r\n"],
];
const OVER_TLS: [&[u8]; 3] = [
    b"* CAPABILITY IMAP4rev1\r\nS2 OK done\r\n+ \r\nS3 OK in\r\n* 1 EXISTS\r\n",
    b"+OK\r\nUIDL\r\n.\r\n+ \r\n+OK in\r\n+OK 1 2\r\n",
    b"250-x\r\n250 SIZE\r\n334 \r\n235 in\r\n250 ok\r\n",
];

/// A fresh dialogue with a client of the protocol `at`.
fn client(at: usize, protection: Protection) -> ClientSide {
    clients(protection).into_iter().nth(at).unwrap()
}

fn upstream(at: usize, tls: UpstreamTls) -> UpstreamSide {
    upstreams(tls).into_iter().nth(at).unwrap()
}

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
fn a_client_logs_in_over_tls_wherever_its_octets_are_cut() {
    for at in 0..3 {
        let tls = [LOGIN[at], b"what follows\r\n\x00\xff"].concat();
        let input = Input {
            clear: STARTTLS[at],
            tls: &tls,
        };
        let story = at_every_split(|| client(at, Protection::StartTlsFirst), input, None);
        assert!(story.tls && story.handshake.is_empty());
        assert_eq!(story.logins, [(b"bob".to_vec(), b"pw".to_vec())]);
        assert_eq!(story.unread, b"what follows\r\n\x00\xff");
    }
}

#[test]
fn text_in_the_clear_behind_starttls_ends_the_connection_wherever_it_is_cut() {
    for at in 0..3 {
        for injected in [&b"x"[..], b"\n", LOGIN[at]] {
            let new = || client(at, Protection::StartTlsFirst);
            let clear = [STARTTLS[at], injected].concat();
            let end = STARTTLS[at].len();
            for cut in 1..=clear.len() {
                let input = Input {
                    clear: &clear,
                    tls: LOGIN[at],
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
                assert!(!story.tls, "nobody agreed to start TLS");
                assert!(story.said.ends_with(", goodbye\r\n"), "{}", story.said);
            }
        }
    }
}

#[test]
fn text_that_comes_while_tls_is_being_agreed_upon_ends_the_connection_too() {
    for at in 0..3 {
        // Between the agreement and the driver's beginning.
        let mut dialogue = client(at, Protection::StartTlsFirst);
        assert!(matches!(step(&mut dialogue), ClientStep::Read));
        dialogue.receive(STARTTLS[at]);
        assert!(matches!(dialogue.step(), ClientStep::Send(_)));
        dialogue.receive(LOGIN[at]);
        let injected = ClientEnd::Injected(LOGIN[at].len());
        assert!(matches!(step(&mut dialogue), ClientStep::Close(end) if end == injected));

        // Before TLS is up.
        let mut dialogue = client(at, Protection::StartTlsFirst);
        dialogue.receive(STARTTLS[at]);
        assert!(matches!(step(&mut dialogue), ClientStep::StartTls));
        assert!(matches!(step(&mut dialogue), ClientStep::Read));
        dialogue.receive(LOGIN[at]);
        dialogue.tls_started().unwrap();
        assert!(matches!(step(&mut dialogue), ClientStep::Close(end) if end == injected));

        let mut dialogue = upstream(at, UpstreamTls::StartTls);
        for said in AGREED[at] {
            dialogue.receive(said);
            while let UpstreamStep::Send(_) = dialogue.step() {}
        }
        dialogue.receive(OVER_TLS[at]);
        dialogue.tls_started().unwrap();
        let injected = Fault::Injected(OVER_TLS[at].len());
        assert!(matches!(dialogue.step(), UpstreamStep::Failed(fault) if fault == injected));
    }
}

#[test]
fn a_server_is_logged_in_to_over_tls_wherever_its_octets_are_cut() {
    for at in 0..3 {
        let [greeting, agreed] = AGREED[at];
        let says = [greeting, agreed, OVER_TLS[at]];
        let new = || upstream(at, UpstreamTls::StartTls);
        let story = hear_at_every_split(new, Mechanism::Xoauth2, &says);
        assert!(story.tls && story.accepted.is_some());
        assert!(OVER_TLS[at].ends_with(&story.unread) && !story.unread.is_empty());
    }
}

#[test]
fn text_in_the_clear_behind_a_servers_agreement_is_a_fault_wherever_it_is_cut() {
    for at in 0..3 {
        let [greeting, agreed] = AGREED[at];
        for injected in [&b"x"[..], OVER_TLS[at]] {
            let clear = [greeting, agreed, injected].concat();
            let end = greeting.len() + agreed.len();
            for cut in (1..=clear.len()).filter(|&cut| cut != end) {
                let dialogue = upstream(at, UpstreamTls::StartTls);
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
    for at in 0..3 {
        let refusal = Refusal::credentials();
        let mut dialogue = client(at, Protection::StartTlsFirst);
        // Before the greeting is sent, while a command is awaited, while TLS is to be started.
        for _ in 0..2 {
            assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));
            assert_eq!(dialogue.refuse(&refusal), Err(Fault::OutOfTurn));
            assert!(matches!(step(&mut dialogue), ClientStep::Read));
        }
        dialogue.receive(LOGIN[at]);
        assert!(
            matches!(step(&mut dialogue), ClientStep::Read),
            "no TLS, no login"
        );
        dialogue.receive(STARTTLS[at]);
        assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));
        assert!(matches!(step(&mut dialogue), ClientStep::StartTls));
        assert_eq!(dialogue.refuse(&refusal), Err(Fault::OutOfTurn));
        dialogue.tls_started().unwrap();
        assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));

        dialogue.receive(LOGIN[at]);
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
    for at in 0..3 {
        let new = || upstream(at, UpstreamTls::StartTls);
        let mut dialogue = new();
        assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));
        assert!(failed(&mut dialogue));

        let mut dialogue = new();
        let asked = dialogue.authenticate(Mechanism::Xoauth2, "TOKEN".into());
        assert_eq!(asked, Err(Fault::OutOfTurn));
        assert!(failed(&mut dialogue) && failed(&mut dialogue));

        // Not even while STARTTLS awaits its reply.
        let mut dialogue = new();
        dialogue.receive(AGREED[at][0]);
        while let UpstreamStep::Send(_) = dialogue.step() {}
        assert_eq!(dialogue.tls_started(), Err(Fault::OutOfTurn));
        assert!(failed(&mut dialogue));
    }
}
