//! What people hear of messages that were given up: what is put into the queue for them, and what hooks get.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use tempfile::tempdir;
use tokio::time::Instant;

use super::rig::{ACCOUNT, Rig, all, refused};
use crate::delivery::{About, Addressee, Herald, Settings, Told};
use crate::observe::event::{MailNotice, Sink};
use crate::observe::{Class, Event, Events};
use crate::spool::{Address, Entry, Envelope, Fate, Header, Limits, Opened, Recipient, Spool};

const IT: &str = "it@contoso.com";
const MAILBOX: &str = "scans@contoso.com";
const QUARTER: Duration = Duration::from_secs(15 * 60);

/// Keeps what was told, in order.
#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Sink for Heard {
    fn take(&self, _: u64, event: &Event) {
        self.0.lock().push(event.clone());
    }
}

impl Heard {
    /// The notices: whether given up, how many messages, the id of the last one.
    fn notices(&self) -> Vec<(bool, usize, String)> {
        let heard = self.0.lock();
        let notices = heard.iter().filter_map(|event| match event {
            Event::MailNotice(MailNotice {
                failed,
                messages,
                last,
                ..
            }) => Some((*failed, *messages, last.message.clone())),
            _ => None,
        });
        notices.collect()
    }
}

/// A herald with a spool that nobody delivers from.
struct House {
    opened: Opened,
    herald: Herald,
    heard: Arc<Heard>,
}

fn herald(spool: &Spool, to: &'static str, mailbox: &'static str) -> (Herald, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let events = Events::default();
    events.set_sinks(vec![heard.clone()]);
    let find = move |listener: &str, account: &str| {
        assert!(account == ACCOUNT || listener.is_empty(), "{account:?}");
        (listener == "scanners").then(|| Addressee {
            to: to.to_owned(),
            mailbox: mailbox.to_owned(),
        })
    };
    (Herald::new(events, spool.clone(), Arc::new(find)), heard)
}

impl House {
    async fn new(dir: &Path) -> Self {
        Self::with(dir, Limits::default(), (IT, MAILBOX)).await
    }

    async fn with(dir: &Path, limits: Limits, (to, mailbox): (&'static str, &'static str)) -> Self {
        let limits = Limits {
            reserve_bytes: 0,
            reserve_inodes: 0,
            ..limits
        };
        let opened = Spool::open(dir, limits).await.unwrap();
        let (herald, heard) = herald(&opened.spool, to, mailbox);
        Self {
            opened,
            herald,
            heard,
        }
    }

    /// A message of a device that has failed.
    async fn failed(&mut self, text: &[u8]) -> Entry {
        let envelope = Envelope {
            account: ACCOUNT.into(),
            listener: "scanners".into(),
            device: "hall".into(),
            sender: Address::new(ACCOUNT),
            recipients: vec![Address::new("a@x.test")],
            ..Envelope::default()
        };
        let mut incoming = self.opened.spool.receive(envelope, None).await.unwrap();
        incoming.write(text).await.unwrap();
        let entry = incoming.commit().await.unwrap();
        self.opened.spool.fail(entry.id).await.unwrap();
        assert_eq!(self.opened.arrivals.recv().await.unwrap().id, entry.id);
        entry
    }

    fn tell(&self, entry: &Entry, sentence: &str) {
        self.herald.tell(failure(entry, sentence));
    }

    /// The next mail that was put into the queue.
    async fn mail(&mut self) -> (Header, String) {
        let entry = self.opened.arrivals.recv().await.unwrap();
        let mut message = self.opened.spool.read(entry.id).await.unwrap();
        let mut octets = Vec::new();
        while let Some(piece) = message.next().await.unwrap() {
            octets.extend(piece);
        }
        let text = String::from_utf8(octets).unwrap();
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text}");
        assert!(text.lines().all(|line| line.len() <= 998), "{text}");
        let text = text.replace("\r\n", "\n");
        (message.header().clone(), text)
    }

    fn no_mail(&mut self) {
        assert!(self.opened.arrivals.try_recv().is_err());
    }
}

fn failure(entry: &Entry, sentence: &str) -> Told {
    let one = |address, state, reply: &str| Recipient {
        address: Address::new(address),
        state,
        reply: reply.to_owned(),
    };
    Told::Failed {
        about: About::of(entry),
        sentence: sentence.to_owned(),
        code: Some("550 5.1.1".into()),
        expired: false,
        recipients: vec![
            one("a@x.test", Fate::Failed, "550 5.1.1 unknown user"),
            one("b@x.test", Fate::Delivered, "250 ok"),
        ],
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_is_told_at_once_with_all_that_a_person_needs() {
    let dir = tempdir().unwrap();
    let mut house = House::new(dir.path()).await;
    let entry = house
        .failed(b"Subject: scan 1\r\n\r\nsecret body\r\n")
        .await;
    let began = Instant::now();
    house.tell(&entry, "smtp.contoso.com answered: 550 5.1.1 unknown user");
    let (header, text) = house.mail().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    let envelope = &header.envelope;
    assert_eq!((&*envelope.account, &*envelope.listener), (ACCOUNT, ""));
    assert_eq!(envelope.sender, Address::new(MAILBOX));
    assert_eq!(envelope.recipients, [Address::new(IT)]);
    let (head, body) = text.split_once("\n\n").unwrap();
    for line in [
        "From: mailsplice <scans@contoso.com>",
        "To: <it@contoso.com>",
        "Subject: A message of a device was not delivered",
        "Auto-Submitted: auto-generated",
        "Content-Transfer-Encoding: 7bit",
        &format!("Message-ID: <{}@contoso.com>", header.id),
    ] {
        assert!(head.lines().any(|one| one == line), "{line}: {head}");
    }
    let id = entry.id;
    for words in [
        "Device:    hall (listener scanners)\n",
        "Reason:    smtp.contoso.com answered: 550 5.1.1 unknown user\n",
        "Recipient: a@x.test (not delivered: 550 5.1.1 unknown user)\n",
        "Recipient: b@x.test (delivered: 250 ok)\n",
        &format!("  mailsplice queue retry {id}\n"),
        "  mailsplice explain '550 5.1.1'\n",
        "  Subject: scan 1\n",
    ] {
        assert!(body.contains(words), "{words}: {body}");
    }
    assert!(!body.contains("secret body"), "{body}");
    house.herald.stop().await;
    assert_eq!(house.heard.notices(), [(true, 1, id.to_string())]);
    let heard = house.heard.0.lock();
    assert!(matches!(&heard[0], Event::MailFailed(mail) if mail.message == id.to_string()));
}

#[tokio::test(start_paused = true)]
async fn those_that_follow_within_a_quarter_of_an_hour_come_together() {
    let dir = tempdir().unwrap();
    let mut house = House::new(dir.path()).await;
    let entry = house.failed(b"Subject: x\r\n\r\n").await;
    let began = Instant::now();
    house.tell(&entry, "first");
    house.mail().await;
    let mut last = entry.clone();
    for number in 1..=25 {
        last = house.failed(b"Subject: x\r\n\r\n").await;
        house.tell(&last, &format!("number {number}."));
    }
    let (_, text) = house.mail().await;
    assert_eq!(began.elapsed().as_secs(), QUARTER.as_secs());
    assert!(text.contains("Subject: 25 messages of devices were not delivered\n"));
    assert_eq!(text.matches("could not deliver a message").count(), 20);
    assert!(text.contains("number 1.\n") && text.contains("number 25.\n"));
    assert!(!text.contains("number 20.\n"), "{text}");
    assert!(text.contains("And 5 more: mailsplice queue list shows all."));

    // Nothing came since: the next one is a first one again.
    tokio::time::sleep(4 * QUARTER).await;
    house.no_mail();
    let began = Instant::now();
    house.tell(&entry, "much later");
    let (_, text) = house.mail().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(text.contains("much later"));
    house.herald.stop().await;
    house.no_mail();
    let own = entry.id.to_string();
    let told = [
        (true, 1, own.clone()),
        (true, 25, last.id.to_string()),
        (true, 1, own),
    ];
    assert_eq!(house.heard.notices(), told);
}

#[tokio::test(start_paused = true)]
async fn a_stop_tells_what_is_gathered() {
    let dir = tempdir().unwrap();
    let mut house = House::new(dir.path()).await;
    let entry = house.failed(b"Subject: x\r\n\r\n").await;
    house.tell(&entry, "first");
    house.mail().await;
    house.tell(&entry, "second");
    let began = Instant::now();
    house.herald.stop().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(house.mail().await.1.contains("second"));
    house.no_mail();
    assert_eq!(house.heard.notices().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_mail_about_a_notice_a_delay_or_for_nobody() {
    let dir = tempdir().unwrap();
    let mut house = House::new(dir.path()).await;
    let mut entry = house.failed(b"Subject: x\r\n\r\n").await;
    house.herald.tell(Told::Delayed {
        class: Class::Temporary,
        code: None,
        about: About::of(&entry),
        why: "450 later".into(),
    });
    entry.listener = "without-addressee".into();
    house.tell(&entry, "nobody is named");
    entry.listener = String::new();
    house.tell(&entry, "a notice");
    house.herald.tell(Told::Delayed {
        class: Class::Temporary,
        code: None,
        about: About::of(&entry),
        why: "a notice".into(),
    });
    house.herald.stop().await;
    house.no_mail();
    let mut notices = house.heard.notices();
    notices.sort();
    let id = entry.id.to_string();
    assert_eq!(notices, [(false, 1, id.clone()), (true, 1, id)]);
    // Yet each is in the record.
    assert_eq!(house.heard.0.lock().len(), 2 + 4);
}

#[tokio::test(start_paused = true)]
async fn words_in_other_scripts_and_odd_headers_make_a_whole_mail() {
    let long = "y".repeat(20_000);
    for (header, sentence, shown) in [
        (
            b"Subject: x\r\n\r\n".to_vec(),
            "550 такого користувача немає",
            "550 такого користувача немає",
        ),
        (
            b"Subject: \xff\xfe\r\nX: a\x00b\x1b[31m\r\n\r\n".to_vec(),
            "no",
            "  Subject: \u{fffd}\u{fffd}\n  X: a b [31m\n",
        ),
        (format!("X: {long}").into_bytes(), "no", "  X: yyyy"),
        (
            b"Subject: x\r\n\r\n".to_vec(),
            "a\r\n.\r\nQUIT\r\nb",
            "a  .  QUIT  b\n",
        ),
        (b"\r\nno header".to_vec(), "no", "Reason:    no\n"),
    ] {
        let dir = tempdir().unwrap();
        let mut house = House::new(dir.path()).await;
        let entry = house.failed(&header).await;
        house.tell(&entry, sentence);
        let (_, text) = house.mail().await;
        let (head, body) = text.split_once("\n\n").unwrap();
        let body = match head.ends_with("base64") {
            true => {
                assert!(body.lines().all(|line| line.len() <= 76), "{body}");
                let octets = STANDARD.decode(body.replace('\n', "")).unwrap();
                let decoded = String::from_utf8(octets).unwrap();
                assert!(!decoded.replace("\r\n", "").contains('\n'));
                decoded.replace("\r\n", "\n")
            }
            false => body.to_owned(),
        };
        assert!(head.is_ascii() && body.contains(shown), "{body}");
        house.herald.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_beyond_ascii_ask_for_a_server_that_takes_them() {
    for (to, needed) in [("інфо@contoso.com", true), (IT, false)] {
        let dir = tempdir().unwrap();
        let mut house = House::with(dir.path(), Limits::default(), (to, MAILBOX)).await;
        let entry = house.failed(b"Subject: x\r\n\r\n").await;
        house.tell(&entry, "no");
        let (header, text) = house.mail().await;
        assert_eq!(header.envelope.smtputf8, needed);
        assert!(text.contains(&format!("To: <{to}>\n")));
        house.herald.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_costs_the_mail_and_nothing_else() {
    let dir = tempdir().unwrap();
    let limits = Limits {
        messages: 1,
        ..Limits::default()
    };
    let mut house = House::with(dir.path(), limits, (IT, MAILBOX)).await;
    let entry = house.failed(b"Subject: x\r\n\r\n").await;
    house.tell(&entry, "no");
    house.herald.stop().await;
    house.no_mail();
    assert_eq!(house.heard.notices(), [(true, 1, entry.id.to_string())]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_message_is_told_without_a_command_that_could_not_work() {
    let dir = tempdir().unwrap();
    let mut house = House::new(dir.path()).await;
    let entry = house.failed(b"Subject: x\r\n\r\n").await;
    let moved = house.opened.spool.set_aside(entry.id).await.unwrap();
    house.herald.tell(Told::SetAside {
        about: About::of(&entry),
        to: Some(moved.clone()),
        why: "its checksum differs".into(),
    });
    let (_, text) = house.mail().await;
    assert!(text.contains(&moved.display().to_string()), "{text}");
    assert!(text.contains("its checksum differs"), "{text}");
    assert!(!text.contains("queue retry"), "{text}");
    assert!(text.contains("let the device send it once more"), "{text}");
    house.herald.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_is_refused_itself_ends_there() {
    let dir = tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), Settings::default()).await;
    rig.post
        .answers(|seen| all(seen, &refused("550 5.1.1 unknown user")));
    let (herald, heard) = herald(&rig.spool, IT, ACCOUNT);
    herald.follow(&rig.delivery);
    rig.put("hall", "Subject: x\r\n\r\n").await;
    herald.tell(rig.next().await);
    let notice = rig.next().await;
    assert!(matches!(&notice, Told::Failed { about, .. } if about.listener.is_empty()));
    herald.tell(notice);
    tokio::time::sleep(4 * QUARTER).await;
    assert_eq!((rig.post.count(), heard.notices().len()), (2, 1));
    assert_eq!(rig.post.seen.lock()[1].recipients, [IT]);
    assert!(rig.told.try_recv().is_err());
}
