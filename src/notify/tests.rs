//! What is told, when, and to whom, with a clock that tests move.

mod commands;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use secrecy::SecretString;
use serde_json::Value;

use super::book::{Book, SendResult};
use super::hook::Target;
use super::*;
use crate::ground::BoxFuture;
use crate::net::http::{HttpRequest, HttpResponse, TransportError};
use crate::observe::Class;

const NOW: u64 = 1_800_000_000;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn needs_sign_in(account: &str) -> Event {
    Event::NeedsAttention {
        account: account.to_owned(),
        class: Class::SignIn,
        code: Some("AADSTS50173".to_owned()),
        sentence: "The password was changed: sign in again".to_owned(),
    }
}

fn recovered(account: &str) -> Event {
    Event::Recovered {
        account: account.to_owned(),
    }
}

fn expires(at: u64) -> Event {
    Event::WillExpire {
        what: "client secret",
        of: "contoso".to_owned(),
        at,
        sentence: "The client secret ends".to_owned(),
    }
}

fn brute_force(port: u16) -> Event {
    Event::BruteForce {
        client: SocketAddr::from(([192, 0, 2, 7], port)),
        account: Some("alice@x.test".to_owned()),
        listener: "imap".to_owned(),
    }
}

fn notice(event: &Event) -> Notice {
    Notice::of(NOW * 1000, event).unwrap()
}

/// Claims at `now`, and settles as told when that was granted.
fn told(book: &mut Book, event: &Event, now: u64) -> bool {
    let notice = notice(event);
    let granted = book.claim("hook", &notice, now, DAY, now + 60);
    if granted {
        book.settle("hook", &notice, SendResult::Told, now);
    }
    granted
}

#[test]
fn trouble_is_told_once_until_the_reminder() {
    let mut book = Book::default();
    let event = needs_sign_in("alice@x.test");
    assert!(told(&mut book, &event, NOW));
    for later in [0, 1, HOUR, DAY - 1] {
        assert!(!told(&mut book, &event, NOW + later), "{later}");
    }
    assert!(told(&mut book, &event, NOW + DAY));
    assert!(!told(&mut book, &event, NOW + DAY + 1));
    assert!(told(&mut book, &needs_sign_in("bob@x.test"), NOW));
    let mut other = needs_sign_in("alice@x.test");
    if let Event::NeedsAttention { code, .. } = &mut other {
        *code = Some("AADSTS70043".to_owned());
    }
    assert!(told(&mut book, &other, NOW + DAY + 2), "another cause");
}

#[test]
fn what_another_is_telling_is_left_to_it_for_a_while() {
    let mut book = Book::default();
    let notice = notice(&needs_sign_in("alice@x.test"));
    assert!(book.claim("hook", &notice, NOW, DAY, NOW + 60));
    assert!(!book.claim("hook", &notice, NOW + 59, DAY, NOW + 119));
    assert!(book.claim("other hook", &notice, NOW, DAY, NOW + 60));
    // It died without an answer.
    assert!(book.claim("hook", &notice, NOW + 61, DAY, NOW + 121));
    book.settle("hook", &notice, SendResult::NotTold, NOW + 62);
    assert!(book.claim("hook", &notice, NOW + 62, DAY, NOW + 122));
    // The clock was set back by years: what it said then silences nobody.
    let past = NOW - 900 * DAY;
    assert!(book.claim("hook", &notice, past, DAY, past + 60));
    book.settle("hook", &notice, SendResult::Told, NOW);
    assert!(book.claim("hook", &notice, past, DAY, past + 60));
}

#[test]
fn the_command_of_a_notice_can_be_run_as_it_stands() {
    let revoked = Event::Revoked {
        account: "o'neil $(id)@x.test".to_owned(),
        sessions: 1,
    };
    for event in [needs_sign_in("o'neil $(id)@x.test"), revoked] {
        assert_eq!(
            notice(&event).command.as_deref(),
            Some(r"mailsplice login 'o'\''neil $(id)@x.test'")
        );
    }
}

#[test]
fn recovery_is_told_to_who_was_told_the_trouble() {
    let mut book = Book::default();
    let alice = "alice@x.test";
    assert!(!told(&mut book, &recovered(alice), NOW));
    assert!(told(&mut book, &needs_sign_in(alice), NOW));
    assert_eq!(book.open().into_iter().collect::<Vec<_>>(), [alice]);
    assert!(!told(&mut book, &recovered("bob@x.test"), NOW + 1));
    assert!(told(&mut book, &recovered(alice), NOW + 2));
    assert!(!told(&mut book, &recovered(alice), NOW + 3));
    assert!(book.open().is_empty());
    assert!(told(&mut book, &needs_sign_in(alice), NOW + 4), "anew");
}

#[test]
fn an_end_is_told_at_each_stage_and_daily_in_the_last_week() {
    let mut book = Book::default();
    let end = NOW + 40 * DAY;
    let mut days = Vec::new();
    // Looked at hourly; what is not near is never emitted.
    for hour in 0..42 * 24 {
        let now = NOW + hour * HOUR;
        if stage(end, now).is_some() && told(&mut book, &expires(end), now) {
            days.push((end.cast_signed() - now.cast_signed()) / DAY.cast_signed());
        }
    }
    assert_eq!(days, [30, 14, 7, 6, 5, 4, 3, 2, 1, 0, -1]);
    assert!(told(&mut book, &expires(end + 365 * DAY), end), "a new one");
}

#[test]
fn an_end_without_a_date_is_told_once() {
    let mut book = Book::default();
    assert!(told(&mut book, &expires(0), NOW));
    assert!(!told(&mut book, &expires(0), NOW + 50 * DAY));
}

#[test]
fn attackers_are_told_of_once_however_many_addresses_they_have() {
    let mut book = Book::default();
    assert!(told(&mut book, &brute_force(1), NOW));
    let mut other = brute_force(2);
    if let Event::BruteForce { client, .. } = &mut other {
        *client = SocketAddr::from(([198, 51, 100, 1], 9));
    }
    assert!(!told(&mut book, &other, NOW + 1));
    assert!(told(&mut book, &other, NOW + DAY));
}

#[test]
fn revocations_are_all_told_but_each_once() {
    let mut book = Book::default();
    let revoked = Event::Revoked {
        account: "alice@x.test".to_owned(),
        sessions: 20,
    };
    assert!(told(&mut book, &revoked, NOW));
    assert!(!told(&mut book, &revoked, NOW + 1), "the other process");
    assert!(told(&mut book, &revoked, NOW + HOUR));
}

#[test]
fn the_book_outlives_a_restart_and_bad_luck_and_stays_small() {
    let mut book = Book::default();
    assert!(told(&mut book, &needs_sign_in("alice@x.test"), NOW));
    let mut read = Book::from_json(&book.to_json());
    assert_eq!(read, book);
    assert!(!told(&mut read, &needs_sign_in("alice@x.test"), NOW + 1));
    for bad in ["", "{", "[]", "{\"version\":1,\"hooks\":7}"] {
        assert_eq!(Book::from_json(bad.as_bytes()), Book::default(), "{bad}");
    }
    for number in 0..30_000 {
        let at = NOW + number;
        told(
            &mut book,
            &needs_sign_in(&format!("user{number}@x.test")),
            at,
        );
    }
    book.prune(NOW + 30_000, DAY);
    assert!(book.open().len() <= 20_000);
    assert!(book.open().contains("user29999@x.test"));
    assert!(book.to_json().len() < 8 * 1024 * 1024);
    book.prune(NOW + 200 * DAY, DAY);
    assert!(book.open().is_empty());
}

#[test]
fn the_json_is_what_the_document_says() {
    let json = |event: &Event| -> Value {
        let line = notice(event).json();
        assert!(line.ends_with(b"}\n"));
        serde_json::from_slice(&line).unwrap()
    };
    assert_eq!(
        json(&needs_sign_in("alice@x.test")),
        serde_json::json!({
            "version": 1,
            "type": "needs_sign_in",
            "time": NOW,
            "account": "alice@x.test",
            "class": "sign-in",
            "code": "AADSTS50173",
            "sentence": "The password was changed: sign in again",
            "command": "mailsplice login alice@x.test",
        })
    );
    let misconfigured = Event::NeedsAttention {
        account: "a".to_owned(),
        class: Class::Configuration,
        code: None,
        sentence: "line\nbreak".repeat(200),
    };
    let told = json(&misconfigured);
    assert_eq!(told["type"], "misconfigured");
    assert_eq!(told["sentence"].as_str().unwrap().len(), 600);
    assert!(!told["sentence"].as_str().unwrap().contains('\n'));
    let told = json(&expires(NOW + DAY));
    assert_eq!(
        (&told["what"], &told["of"]),
        (&"client secret".into(), &"contoso".into())
    );
    assert_eq!(told["expires_at"], NOW + DAY);
    assert_eq!(told["account"], Value::Null);
    let consent = Event::WillExpire {
        what: "consent",
        of: "alice@x.test".to_owned(),
        at: 0,
        sentence: String::new(),
    };
    assert_eq!(json(&consent)["account"], "alice@x.test");
    assert_eq!(json(&brute_force(1))["client"], "192.0.2.7");
    for kind in NoticeKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
    let login = Event::MailTrouble {
        account: String::new(),
        code: String::new(),
        text: String::new(),
    };
    assert_eq!(Notice::of(0, &login), None);
}

struct FixedClock(AtomicU64);

impl Clock for FixedClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed) * 1000
    }
}

/// Takes requests; answers with the scripted statuses, then 204.
#[derive(Default)]
struct Receiver {
    seen: Mutex<Vec<(Value, Option<String>)>>,
    statuses: Mutex<VecDeque<u16>>,
    silent: bool,
    news: tokio::sync::Notify,
}

impl Http for Arc<Receiver> {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let bearer = request.headers().get("authorization");
        let bearer = bearer.map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(request.method().as_str(), "POST");
        assert_eq!(request.headers()["content-type"], "application/json");
        let body = serde_json::from_slice(request.body()).unwrap();
        self.seen.lock().push((body, bearer));
        self.news.notify_one();
        let status = self.statuses.lock().pop_front().unwrap_or(204);
        Box::pin(async move {
            if self.silent {
                std::future::pending::<()>().await;
            }
            let mut answer = HttpResponse::new(Vec::new());
            *answer.status_mut() = status.try_into().unwrap();
            Ok(answer)
        })
    }
}

impl Receiver {
    /// The requests, as soon as there are so many.
    async fn until(&self, count: usize) -> Vec<(Value, Option<String>)> {
        loop {
            {
                let seen = self.seen.lock();
                if seen.len() >= count {
                    return seen.clone();
                }
            }
            self.news.notified().await;
        }
    }
}

fn webhook(url: &str) -> Hook {
    Hook {
        target: Target::Webhook {
            url: url.parse().unwrap(),
            token: Some(Arc::new(|| Ok(SecretString::from("hook-token")))),
        },
        kinds: Vec::new(),
        timeout: Duration::from_secs(10),
    }
}

fn notifier(dir: &Path, http: &Arc<Receiver>, hooks: Vec<Hook>) -> Notifier {
    let facts: FindFacts = Arc::new(|account| Facts {
        provider: Some("contoso".to_owned()),
        hint: Some(format!("{account} has a hint")),
    });
    let clock = Arc::new(FixedClock(AtomicU64::new(NOW)));
    let notifier = Notifier::new(dir, Arc::new(http.clone()), clock, facts);
    notifier.set(Settings {
        hooks,
        reminder: Duration::from_secs(DAY),
    });
    notifier
}

#[tokio::test]
async fn a_webhook_gets_the_notice_with_its_token_and_facts() {
    let dir = tempfile::tempdir().unwrap();
    let http = Arc::new(Receiver::default());
    let notifier = notifier(dir.path(), &http, vec![webhook("https://h.test/x")]);
    notifier.take(NOW * 1000, &needs_sign_in("alice@x.test"));
    let seen = http.until(1).await;
    assert_eq!(seen[0].1.as_deref(), Some("Bearer hook-token"));
    assert_eq!(seen[0].0["provider"], "contoso");
    assert_eq!(seen[0].0["hint"], "alice@x.test has a hint");
    assert!(seen[0].0["host"].is_string());
    notifier.stop().await;
    let file = dir.path().join("notices.json");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(!kept.contains("hook-token") && !kept.contains("h.test"));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn two_processes_and_a_restart_tell_once() {
    let dir = tempfile::tempdir().unwrap();
    let http = Arc::new(Receiver::default());
    let hooks = || vec![webhook("https://h.test/x")];
    let accounts = ["alice@x.test", "bob@x.test", "carol@x.test"];
    // Each sees all that the former ones saw, and one thing more.
    for (number, fence) in accounts.iter().enumerate() {
        let process = notifier(dir.path(), &http, hooks());
        for account in accounts.iter().take(number + 1) {
            process.take(NOW * 1000, &needs_sign_in(account));
        }
        let seen = http.until(number + 1).await;
        assert_eq!(seen.len(), number + 1);
        assert_eq!(seen[number].0["account"], *fence);
        process.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_and_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let http = Arc::new(Receiver::default());
    http.statuses.lock().extend([500, 302]);
    let notifier = notifier(dir.path(), &http, vec![webhook("https://h.test/x")]);
    notifier.take(NOW * 1000, &needs_sign_in("alice@x.test"));
    http.until(1).await;
    notifier.take(NOW * 1000, &needs_sign_in("bob@x.test"));
    let seen = http.until(4).await;
    let accounts: Vec<_> = seen.iter().map(|(body, _)| &body["account"]).collect();
    assert_eq!(accounts.len(), 4);
    let count = |name: &str| accounts.iter().filter(|account| **account == name).count();
    assert_eq!((count("alice@x.test"), count("bob@x.test")), (2, 2));
    assert_eq!(accounts[1], "bob@x.test", "not behind the one that waits");
}

#[tokio::test(start_paused = true)]
async fn trouble_that_has_passed_before_it_could_be_told_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let http = Arc::new(Receiver::default());
    http.statuses.lock().extend([500]);
    let notifier = notifier(dir.path(), &http, vec![webhook("https://h.test/x")]);
    notifier.take(NOW * 1000, &needs_sign_in("alice@x.test"));
    http.until(1).await;
    notifier.take(NOW * 1000, &recovered("alice@x.test"));
    notifier.take(NOW * 1000, &needs_sign_in("bob@x.test"));
    let seen = http.until(2).await;
    assert_eq!(seen[1].0["account"], "bob@x.test");
    notifier.take(NOW * 1000, &recovered("bob@x.test"));
    let seen = http.until(3).await;
    assert_eq!(seen[2].0["type"], "recovered");
    assert_eq!(seen[2].0["account"], "bob@x.test");
}

#[tokio::test]
async fn ten_thousand_events_wait_in_bounded_room() {
    let dir = tempfile::tempdir().unwrap();
    let http = Arc::new(Receiver {
        silent: true,
        ..Receiver::default()
    });
    let mut hook = webhook("https://h.test/x");
    hook.timeout = Duration::from_secs(3600);
    let mut only_revoked = webhook("https://h.test/y");
    only_revoked.kinds = vec![NoticeKind::Revoked];
    let notifier = notifier(dir.path(), &http, vec![hook, only_revoked]);
    for number in 0..10_000 {
        notifier.take(NOW * 1000, &needs_sign_in(&format!("user{number}@x.test")));
        notifier.take(NOW * 1000, &brute_force(1));
    }
    assert!(notifier.waiting() <= queue::MOST, "{}", notifier.waiting());
    notifier.stop().await;
}

#[tokio::test]
async fn a_reload_keeps_what_waits_and_ends_what_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let http = Arc::new(Receiver::default());
    let notifier = notifier(dir.path(), &http, vec![webhook("https://h.test/x")]);
    notifier.take(NOW * 1000, &needs_sign_in("alice@x.test"));
    let settings = |hooks| Settings {
        hooks,
        reminder: Duration::from_secs(DAY),
    };
    notifier.set(settings(vec![
        webhook("https://h.test/x"),
        webhook("https://h.test/x"),
    ]));
    http.until(1).await;
    notifier.take(NOW * 1000, &needs_sign_in("bob@x.test"));
    // The same target twice is two hooks.
    http.until(3).await;
    notifier.set(settings(Vec::new()));
    assert!(!notifier.has_hooks());
    notifier.take(NOW * 1000, &needs_sign_in("carol@x.test"));
    notifier.workers.close();
    notifier.workers.wait().await;
    assert_eq!(http.until(3).await.len(), 3);
}

fn shell(script: &str) -> Hook {
    Hook {
        target: Target::Command(["sh", "-c", script].map(str::to_owned).to_vec()),
        kinds: Vec::new(),
        timeout: Duration::from_secs(60),
    }
}

async fn tell(hook: &Hook) -> Result<(), String> {
    let http = Arc::new(Receiver::default());
    hook.tell(&notice(&needs_sign_in("alice@x.test")), &http)
        .await
}
