//! What is kept while nothing can be saved, and over a restart.

use super::*;

#[test]
fn unsaved_tokens_are_kept_and_saved_later() {
    let mut rig = Rig::valid(3600);
    rig.pass(3500);
    let job = rig.started();
    let record = rig.record("t2", 3600);
    rig.done(
        &job,
        Report::Granted {
            record,
            kept: Kept::InMemory { over: None },
        },
    );
    assert_eq!(rig.served(), "t2");
    assert!(rig.core.unsaved());
    let save = rig.core.background(rig.ms).unwrap();
    assert_eq!(save.mode, Mode::Save);
    assert!(save.unsaved.is_some());
    rig.done(&save, Report::Same);
    assert!(rig.core.unsaved(), "the disk is still full");
    let save = rig.core.background(rig.ms).unwrap();
    let record = rig.record("t2", 3600);
    rig.done(&save, Report::Record(record));
    assert!(!rig.core.unsaved());
    assert_eq!(rig.served(), "t2");
}

#[test]
fn unsaved_tokens_survive_an_invalidate() {
    let mut rig = Rig::valid(3600);
    rig.pass(3500);
    let job = rig.started();
    rig.core.invalidate();
    let record = rig.record("t2", 3600);
    rig.done(
        &job,
        Report::Granted {
            record,
            kept: Kept::InMemory { over: None },
        },
    );
    assert!(rig.started().unsaved.is_some());
}

#[test]
fn other_settings_are_said_and_seen_once() {
    let mut rig = Rig::new(Flow::AuthorizationCode);
    let job = rig.started();
    let digest = record::digest(&rig.record("old", 3600));
    rig.done(&job, Report::Foreign(digest));
    let error = rig.after(&job).unwrap_err();
    assert!(
        error
            .sentence
            .starts_with("Settings changed, sign in again."),
        "{}",
        error.sentence
    );
    assert!(
        error
            .sentence
            .contains("mailsplice login alice@contoso.example")
    );
    assert_eq!(rig.started().seen, Some(digest));
}

#[test]
fn a_verdict_noted_before_a_restart_still_counts() {
    let mut rig = Rig::new(Flow::AuthorizationCode);
    let mut record = rig.record("t1", 0);
    record.trouble = Some(Trouble {
        at: START - 60,
        class: "sign-in".into(),
        code: Some("AADSTS50173".into()),
        text: "revoked".into(),
        dead: false,
    });
    let job = rig.core.background(rig.ms).unwrap();
    assert_eq!(job.mode, Mode::Read);
    rig.done(&job, Report::Record(record));
    assert!(matches!(rig.core.standing(), Standing::NeedsSignIn { .. }));
    let look = rig.started();
    assert_eq!(look.mode, Mode::Look);
    rig.done(&look, Report::Same);
    assert_eq!(
        rig.after(&look).unwrap_err().code.as_deref(),
        Some("AADSTS50173")
    );
    rig.pass(15 * 60 - 60);
    assert_eq!(rig.started().mode, Mode::Request);
}

#[test]
fn a_lost_job_is_passing_trouble() {
    let mut rig = Rig::new(Flow::AuthorizationCode);
    let job = rig.started();
    rig.done(&job, Report::Lost);
    assert!(matches!(
        rig.after(&job).unwrap_err().class,
        Class::Temporary
    ));
    assert!(matches!(rig.need(), Verdict::Pause(_)));
}

#[test]
fn a_token_without_refresh_token_ends_in_signed_out() {
    let mut rig = Rig::new(Flow::DeviceCode);
    let mut record = rig.record("t1", 3600);
    record.refresh_token = None;
    rig.core.adopted(&record, 1);
    rig.pass(3300);
    let job = rig.started();
    rig.done(&job, Report::Record(record.clone()));
    assert_eq!(rig.after(&job).unwrap(), "t1", "good for five more minutes");
    rig.pass(301);
    let job = rig.started();
    rig.done(&job, Report::Record(record));
    assert_eq!(rig.after(&job).unwrap_err().class, Class::SignIn);
}

#[test]
fn who_waits_for_a_job_that_only_reads_asks_afterwards() {
    let mut rig = Rig::new(Flow::AuthorizationCode);
    let ended = rig.record("t1", 0);
    let read = rig.core.background(rig.ms).unwrap();
    assert_eq!(read.mode, Mode::Read);
    assert!(matches!(rig.need(), Verdict::Wait(id) if id == read.id));
    rig.done(&read, Report::Record(ended));
    assert!(
        rig.core.after(rig.ms, read.id, None).is_none(),
        "not refused"
    );
    let job = rig.started();
    assert_eq!(job.mode, Mode::Request);
    rig.grant(&job, "t2", 3600);
    assert_eq!(rig.after(&job).unwrap(), "t2");
}
