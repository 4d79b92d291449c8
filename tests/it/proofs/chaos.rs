//! Two serving processes, one state folder, a provider in every kind of trouble.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::rig::{Dice, Rig, log_in, must_log_in, now};
use crate::support::Proxy;
use crate::support::rotation::Act;
use crate::support::upstream::Judge;

/// Meets every trouble, half of all logins are its own.
const BUSY: &str = "busy@contoso.test";
const USERS: [&str; 5] = [
    BUSY,
    "ann@contoso.test",
    "bob@contoso.test",
    LOOPED,
    THROTTLED,
];
/// Microsoft takes it for a loop now and then, and asks for minutes of pause.
const LOOPED: &str = "looped@contoso.test";
/// Microsoft takes it for a loop always; the token at hand lives for minutes.
const THROTTLED: &str = "throttled@contoso.test";

const LOGINS: usize = 200;
/// From one bunch of logins to the next.
const PACE: Duration = Duration::from_millis(1100);

const LOOP_DETECTED: &str = r#"{"error":"invalid_grant","error_description":"AADSTS50196: loop",
    "error_codes":[50196],"correlation_id":"c-1"}"#;

fn trouble(dice: &mut Dice, user: &str) -> Act {
    if user == THROTTLED || (user == LOOPED && dice.under(6) == 0) {
        return Act::json("400 Bad Request", "", LOOP_DETECTED);
    }
    match dice.under(20) {
        0 => Act::json("503 Service Unavailable", "", "busy"),
        1 => Act::json("429 Too Many Requests", "Retry-After: 1\r\n", "{}"),
        2 => {
            let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
            let header = format!("Retry-After: {date}\r\n");
            Act::json("429 Too Many Requests", &header, "{}")
        }
        3 => {
            let html = "Content-Type: text/html\r\n".to_owned();
            Act::Say("200 OK", html, "<html>log in to the wifi</html>".into())
        }
        4 => Act::Break { rotated: false },
        5 | 6 => Act::Break { rotated: true },
        7 => Act::Silence {
            rotated: dice.under(2) == 0,
        },
        _ => Act::Grant,
    }
}

#[tokio::test]
async fn two_processes_in_trouble_lose_no_sign_in() {
    let mut dice = Dice::new();
    let rig = Rig::new(&USERS, "2s").await;
    // Ended tokens are good enough here, forgotten ones are not: a slow machine changes nothing.
    let judge: Judge = rig.provider.judging(false);
    rig.lab.upstream.set(|manners| manners.judge = Some(judge));
    for (user, life) in USERS.into_iter().zip([1, 1, 2, 2, 3600]) {
        rig.sign_in(user, Duration::from_secs(life)).await;
    }
    rig.change_record(THROTTLED, |record| {
        record.issued_at = now() - 3300;
        record.expires_at = now() + 300;
    })
    .await;
    let proxies = [Arc::new(rig.serve().await), Arc::new(rig.serve().await)];
    let mut chance = dice.split();
    rig.provider.plan(move |user| trouble(&mut chance, user));

    let (refused, reloads) = load(&rig, &proxies, &mut dice).await;

    rig.provider.plan(|_| Act::Grant);
    for (proxy, before) in proxies.iter().zip(reloads) {
        // Ends the pause of minutes that was asked for.
        reload(proxy, before).await;
        for user in USERS {
            must_log_in(proxy, user).await;
        }
    }
    rig.nothing_was_lost(&USERS);
    let seen = USERS.map(|user| rig.provider.seen(user));
    let rotations: usize = seen.iter().map(|seen| seen.rotations).sum();
    eprintln!("{refused} of {LOGINS} logins refused for a while; {seen:?}");
    assert!(rotations >= 40, "hardly anything was tried: {seen:?}");
    for user in USERS {
        let status = rig.status(user);
        assert!(
            status["state"] == "valid" || status["state"] == "refreshing",
            "{status}"
        );
    }

    // And if the provider takes a sign-in back, that is said.
    rig.provider.revoke(BUSY);
    let answer = log_in(&proxies[0], BUSY).await;
    assert!(answer.starts_with("a NO [CONTACTADMIN]"), "{answer}");
    assert!(
        answer.contains("mailsplice login busy@contoso.test"),
        "{answer}"
    );
    for proxy in &proxies {
        must_log_in(proxy, "ann@contoso.test").await;
    }
}

/// [`LOGINS`] logins for about a minute, in bunches, with reloads and forgotten tokens in between. Gives
/// the number of honest refusals and of each process's reloads.
async fn load(rig: &Rig, proxies: &[Arc<Proxy>; 2], dice: &mut Dice) -> (usize, [usize; 2]) {
    let mut logins = JoinSet::new();
    let (mut made, mut bunch, mut reloads) = (0, 0, [0, 0]);
    let began = Instant::now();
    while made < LOGINS {
        sleep_until(began + PACE * bunch).await;
        bunch += 1;
        // Three times in the minute each account's token is refused all at once.
        if bunch % 15 == 0 {
            let user = USERS[dice.under(4) as usize];
            rig.provider.forget_access_tokens(user);
        }
        if bunch % 7 == 0 {
            let which = dice.under(2) as usize;
            reload(&proxies[which], reloads[which]).await;
            reloads[which] += 1;
        }
        let crowd = dice.under(3) == 0;
        for place in 0..4 {
            let user = match (crowd || place < 2, dice.one_of(&USERS)) {
                (true, _) => BUSY,
                (false, user) => user,
            };
            let proxy = proxies[place % 2].clone();
            logins.spawn(async move { (user, log_in(&proxy, user).await) });
            made += 1;
        }
    }
    let mut refused = 0;
    for (user, answer) in logins.join_all().await {
        let honest = answer.starts_with("a NO [UNAVAILABLE] ") && user != THROTTLED;
        assert!(answer.starts_with("a OK") || honest, "{user}: {answer}");
        refused += usize::from(honest);
    }
    (refused, reloads)
}

/// Reads the configuration again and waits for it; `before`: how often that was done already.
async fn reload(proxy: &Proxy, before: usize) {
    proxy.signal("-HUP");
    proxy
        .logged_times("configuration reloaded", before + 1)
        .await;
}
