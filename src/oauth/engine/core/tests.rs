mod restarts;

use std::sync::Arc;

use super::super::event::Kept;
use super::*;
use crate::input::words::Flow;
use crate::oauth::classify::{Classified, Received, classify};
use crate::oauth::provider::Account;
use crate::oauth::provider::tests::sample;
use crate::store::Trouble;

mod time;

const START: u64 = 1_800_000_000;
const PATIENCE: u64 = 3000;

/// A core with a clock and an account; times in seconds since [`START`].
struct Rig {
    core: Core,
    account: Account,
    ms: u64,
    steady: u64,
    ids: u64,
}

impl Rig {
    fn new(flow: Flow) -> Self {
        Self {
            core: Core::new(0),
            account: Account::new("alice@contoso.example", Arc::new(sample(flow))),
            ms: START * 1000,
            steady: 0,
            ids: 0,
        }
    }

    /// With a token of `life` seconds just refreshed.
    fn valid(life: u64) -> Self {
        let mut rig = Self::new(Flow::AuthorizationCode);
        rig.tell_time();
        rig.core.adopted(&rig.record("t1", life), 1);
        rig.ids = 1;
        rig
    }

    fn record(&self, token: &str, life: u64) -> TokenRecord {
        let now = self.ms / 1000;
        TokenRecord {
            binding: self.account.binding(),
            refresh_token: Some(format!("refresh-{token}").into()),
            access_token: Some(token.into()),
            expires_at: now + life,
            issued_at: now,
            signed_in_at: START,
            refreshed_at: now,
            ..TokenRecord::default()
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.ms += seconds * 1000;
        self.steady += seconds * 1000;
        self.tell_time();
    }

    fn tell_time(&mut self) {
        self.core.tell_time(Time {
            wall: self.ms,
            steady: self.steady,
        });
    }

    fn need(&mut self) -> Verdict {
        self.tell_time();
        self.core.need(self.ms, None, PATIENCE)
    }

    fn done(&mut self, job: &Job, report: Report) -> bool {
        self.tell_time();
        self.ids += 1;
        self.core
            .done(self.ms, &self.account, job, report, (self.ids, 0))
    }

    fn grant(&mut self, job: &Job, token: &str, life: u64) {
        let record = self.record(token, life);
        assert!(self.done(
            job,
            Report::Granted {
                record,
                kept: Kept::Safe
            }
        ));
    }

    fn refuse(&mut self, job: &Job, status: u16, body: &str) {
        let report = refused(status, body);
        assert!(self.done(job, report));
    }

    fn started(&mut self) -> Box<Job> {
        match self.need() {
            Verdict::Start(job) => job,
            other => panic!("{}", name(&other)),
        }
    }

    fn served(&mut self) -> String {
        match self.need() {
            Verdict::Serve(token) => token.expose().to_owned(),
            other => panic!("{}", name(&other)),
        }
    }

    fn after(&self, job: &Job) -> Result<String, TokenError> {
        let end = self.core.after(self.ms, job.id, None).expect("ended");
        end.map(|token| token.expose().to_owned())
    }
}

fn refused(status: u16, body: &str) -> Report {
    let received = Received {
        status,
        retry_after: None,
        content_type: None,
        body: body.as_bytes(),
    };
    match classify(&received, START) {
        Classified::Refused(refusal) => Report::Refused {
            refusal,
            record: None,
        },
        Classified::Good => panic!("good"),
    }
}

fn name(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Serve(token) => format!("serve {}", token.id),
        Verdict::Wait(job) => format!("wait {job}"),
        Verdict::Start(job) => format!("start {:?}", job.mode),
        Verdict::Pause(wait) => format!("pause {wait}"),
        Verdict::Refuse(error) => format!("refuse {:?}", error.class),
    }
}

const GONE: &str = r#"{"error":"invalid_grant"}"#;

#[test]
fn cold_all_wait_for_one_job() {
    let mut rig = Rig::new(Flow::AuthorizationCode);
    let job = rig.started();
    assert_eq!(job.mode, Mode::Request);
    for _ in 0..3 {
        assert!(matches!(rig.need(), Verdict::Wait(id) if id == job.id));
    }
    rig.grant(&job, "t1", 3600);
    assert_eq!(rig.after(&job).unwrap(), "t1");
    assert_eq!(rig.served(), "t1");
}

#[test]
fn a_token_is_served_until_ten_minutes_before_its_end() {
    let mut rig = Rig::valid(3600);
    rig.pass(3000);
    assert_eq!(rig.served(), "t1");
    rig.pass(1);
    assert_eq!(rig.started().mode, Mode::Request);
}

#[test]
fn a_short_lived_token_is_served_for_half_its_life() {
    let mut rig = Rig::valid(60);
    rig.pass(30);
    assert_eq!(rig.served(), "t1");
    rig.pass(1);
    assert_eq!(rig.started().mode, Mode::Request);
}

#[test]
fn passing_trouble_serves_the_old_token_while_it_lives() {
    let mut rig = Rig::valid(3600);
    rig.pass(3300);
    let job = rig.started();
    rig.refuse(&job, 503, "");
    assert!(matches!(rig.core.standing(), Standing::Degraded(_)));
    assert_eq!(rig.after(&job).unwrap(), "t1");
    assert_eq!(rig.served(), "t1", "within the pause, without waiting");
    rig.pass(270);
    let job = rig.started();
    rig.refuse(&job, 503, "");
    let error = rig.after(&job).unwrap_err();
    assert!(error.class == Class::Temporary && error.retry_at.is_some());
    rig.pass(2);
    let job = rig.started();
    rig.grant(&job, "t2", 3600);
    assert_eq!(rig.served(), "t2");
    assert!(matches!(rig.core.standing(), Standing::Valid));
}

#[test]
fn near_attempts_are_waited_for_and_far_ones_refused() {
    let mut rig = Rig::new(Flow::AuthorizationCode);
    let job = rig.started();
    rig.refuse(&job, 503, "");
    assert!(matches!(rig.need(), Verdict::Pause(1000)));
    rig.ms += 1000;
    let job = rig.started();
    let report = match classify(
        &Received {
            status: 429,
            retry_after: Some("60"),
            content_type: None,
            body: b"",
        },
        START,
    ) {
        Classified::Refused(refusal) => Report::Refused {
            refusal,
            record: None,
        },
        Classified::Good => panic!("good"),
    };
    rig.done(&job, report);
    let look = rig.started();
    assert_eq!(
        look.mode,
        Mode::Look,
        "another process may have had more luck"
    );
    rig.done(&look, Report::Same);
    let error = rig.after(&look).unwrap_err();
    assert_eq!(
        (error.class, error.retry_at),
        (Class::Temporary, Some(rig.ms / 1000 + 60))
    );
    rig.pass(58);
    assert!(matches!(rig.need(), Verdict::Pause(2000)));
    rig.pass(2);
    assert_eq!(rig.started().mode, Mode::Request);
}

#[test]
fn a_needed_sign_in_is_not_hammered() {
    let mut rig = Rig::valid(3600);
    rig.pass(3500);
    let job = rig.started();
    rig.refuse(&job, 400, GONE);
    let error = rig.after(&job).unwrap_err();
    assert_eq!(
        (error.class, error.code.as_deref()),
        (Class::SignIn, Some("invalid_grant"))
    );
    for _ in 0..14 {
        let look = rig.started();
        assert_eq!(look.mode, Mode::Look);
        rig.done(&look, Report::Same);
        assert_eq!(rig.after(&look).unwrap_err().class, Class::SignIn);
        rig.pass(60);
    }
    rig.pass(60);
    assert_eq!(rig.started().mode, Mode::Request);
}

#[test]
fn a_dead_refresh_token_is_never_sent_again() {
    let mut rig = Rig::new(Flow::AuthorizationCode);
    let job = rig.started();
    rig.refuse(
        &job,
        400,
        r#"{"error":"invalid_grant","suberror":"bad_token"}"#,
    );
    rig.pass(30 * 24 * 3600);
    assert_eq!(rig.started().mode, Mode::Look);
    assert_eq!(rig.core.retry_at(rig.ms), None);
}

#[test]
fn another_record_on_disk_ends_the_wait() {
    let mut rig = Rig::new(Flow::AuthorizationCode);
    let job = rig.started();
    rig.refuse(&job, 400, GONE);
    let look = rig.started();
    let record = rig.record("t2", 3600);
    rig.done(&look, Report::Record(record));
    assert_eq!(rig.after(&look).unwrap(), "t2");
    assert_eq!(rig.served(), "t2");
}

#[test]
fn a_wrong_configuration_is_tried_again_after_five_minutes_or_a_reload() {
    let mut rig = Rig::new(Flow::ClientCredentials);
    let wrong = r#"{"error":"invalid_client","error_codes":[7000222]}"#;
    let job = rig.started();
    rig.refuse(&job, 401, wrong);
    let error = rig.after(&job).unwrap_err();
    assert_eq!(
        (error.class, error.code.as_deref()),
        (Class::Configuration, Some("AADSTS7000222"))
    );
    rig.pass(299);
    let look = rig.started();
    assert_eq!(look.mode, Mode::Look);
    rig.done(&look, Report::Same);
    rig.pass(1);
    let job = rig.started();
    assert_eq!(job.mode, Mode::Request);
    rig.refuse(&job, 401, wrong);
    rig.core.reconfigured();
    assert_eq!(rig.started().mode, Mode::Request);
}

#[test]
fn a_refused_token_is_replaced_once_for_all() {
    let mut rig = Rig::valid(3600);
    let Verdict::Start(job) = rig.core.need(rig.ms, Some(1), PATIENCE) else {
        panic!("not replaced");
    };
    assert!(job.refused.is_some());
    assert!(matches!(
        rig.core.need(rig.ms, Some(1), PATIENCE),
        Verdict::Wait(_)
    ));
    rig.grant(&job, "t2", 3600);
    for _ in 0..3 {
        assert!(
            matches!(rig.core.need(rig.ms, Some(1), PATIENCE), Verdict::Serve(t) if t.expose() == "t2")
        );
    }
}

#[test]
fn a_refused_token_is_not_served_in_trouble() {
    let mut rig = Rig::valid(3600);
    let Verdict::Start(job) = rig.core.need(rig.ms, Some(1), PATIENCE) else {
        panic!("not replaced");
    };
    rig.refuse(&job, 503, "");
    assert!(rig.core.after(rig.ms, job.id, Some(1)).unwrap().is_err());
    assert!(matches!(rig.need(), Verdict::Pause(_)));
}

#[test]
fn a_mail_server_that_refuses_every_token_makes_no_storm() {
    let mut rig = Rig::valid(3600);
    let mut requests = 0;
    for round in 0..100 {
        let id = match rig.need() {
            Verdict::Serve(token) => token.id,
            other => {
                assert!(
                    name(&other).starts_with("refuse Temporary"),
                    "{}",
                    name(&other)
                );
                continue;
            }
        };
        if let Verdict::Start(job) = rig.core.need(rig.ms, Some(id), PATIENCE) {
            requests += 1;
            rig.grant(&job, &format!("new-{round}"), 3600);
        }
    }
    assert_eq!(requests, 3);
    rig.pass(30);
    assert!(matches!(rig.need(), Verdict::Start(_)));
}

#[test]
fn late_results_do_not_overwrite_newer_state() {
    let mut rig = Rig::valid(3600);
    rig.pass(3500);
    let late = rig.started();
    let newer = rig.record("signed-in", 3600);
    rig.core.adopted(&newer, 50);
    assert!(!rig.core.is_running(late.id));
    let record = rig.record("late", 3600);
    assert!(!rig.done(
        &late,
        Report::Granted {
            record,
            kept: Kept::Safe
        }
    ));
    assert!(rig.core.after(rig.ms, late.id, None).is_none(), "ask again");
    assert_eq!(rig.served(), "signed-in");
    let report = refused(400, GONE);
    assert!(!rig.done(&late, report));
    assert_eq!(rig.served(), "signed-in");
}

#[test]
fn invalidate_forgets_the_token_and_ignores_noted_trouble() {
    let mut rig = Rig::valid(3600);
    rig.core.invalidate();
    let job = rig.started();
    assert_eq!((job.mode, job.heed_trouble), (Mode::Request, false));
    rig.done(&job, Report::NoRecord);
    let error = rig.after(&job).unwrap_err();
    assert_eq!(error.class, Class::SignIn);
    assert!(rig.started().heed_trouble);
}
