//! Clocks that jump, and what the background does in the course of time.

use super::*;

#[test]
fn after_a_suspend_or_a_clock_jump_the_token_is_refreshed_first() {
    let mut rig = Rig::valid(3600);
    rig.pass(100_000);
    assert_eq!(rig.started().mode, Mode::Request);
    let mut rig = Rig::valid(3600);
    rig.ms -= 7200 * 1000;
    assert_eq!(
        rig.started().mode,
        Mode::Request,
        "the clock went back: the end is unknown"
    );
}

#[test]
fn a_token_ends_in_time_behind_a_clock_that_was_set_back() {
    let mut rig = Rig::valid(3600);
    rig.pass(2000);
    rig.ms -= 1500 * 1000;
    rig.pass(1000);
    assert_eq!(rig.served(), "t1", "ten minutes left in truth");
    rig.pass(1);
    let job = rig.started();
    assert_eq!(job.mode, Mode::Request);
    assert!(job.refused.is_some(), "the same token is not good enough");
    rig.refuse(&job, 503, "");
    assert_eq!(rig.after(&job).unwrap(), "t1", "while it lives");
    rig.pass(569);
    let job = rig.started();
    rig.refuse(&job, 503, "");
    assert!(rig.after(&job).is_err(), "though its time says 1530 s more");
    rig.pass(1);
    let job = rig.started();
    rig.grant(&job, "t2", 3600);
    assert_eq!(rig.served(), "t2");
}

#[test]
fn a_token_of_unknown_age_is_not_served_in_trouble() {
    let mut rig = Rig::valid(3600);
    rig.ms -= 7200 * 1000;
    let job = rig.started();
    rig.refuse(&job, 503, "");
    assert!(rig.after(&job).is_err());
}

#[test]
fn a_clock_that_ran_ahead_by_years_does_not_stop_idle_refreshes() {
    let mut rig = Rig::valid(3600);
    rig.ms -= 5 * 365 * 24 * 3600 * 1000;
    assert!(rig.core.background(rig.ms).is_some());
}

#[test]
fn the_background_refreshes_accounts_in_use_and_idle_ones() {
    let mut rig = Rig::valid(3600);
    assert!(rig.core.background(rig.ms).is_none());
    rig.pass(2000);
    rig.served();
    rig.pass(900);
    let job = rig.core.background(rig.ms).unwrap();
    assert_eq!(job.mode, Mode::Renew);
    rig.refuse(&job, 503, "");
    rig.pass(29);
    assert!(
        rig.core.background(rig.ms).is_none(),
        "more patient than clients"
    );
    rig.pass(1);
    let job = rig.core.background(rig.ms).unwrap();
    rig.grant(&job, "t2", 3600);
    // Nobody asks any more.
    rig.pass(4000);
    assert!(rig.core.background(rig.ms).is_none());
    rig.pass(14 * 24 * 3600);
    assert!(rig.core.background(rig.ms).is_some(), "idle for two weeks");
}

#[test]
fn idle_refreshes_are_spread_over_the_last_two_days() {
    const DAY: u64 = 24 * 3600;
    let mut days = Vec::new();
    for luck in [0, 1 << 10, 1 << 16, 86_400, 172_799, u32::MAX] {
        let mut rig = Rig::valid(3600);
        rig.core = Core::new(luck);
        rig.core.adopted(&rig.record("t1", 3600), 1);
        rig.pass(12 * DAY);
        let mut hours = 12 * 24;
        while rig.core.background(rig.ms).is_none() {
            rig.pass(3600);
            hours += 1;
        }
        assert!((12 * 24..=14 * 24).contains(&hours), "{luck}: {hours}");
        days.push(hours);
    }
    days.dedup();
    assert!(days.len() > 3, "{days:?}");
}

#[test]
fn an_idle_account_is_kept_alive_once_its_configuration_is_mended() {
    let mut rig = Rig::valid(3600);
    rig.pass(14 * 24 * 3600);
    let job = rig.core.background(rig.ms).unwrap();
    rig.refuse(
        &job,
        401,
        r#"{"error":"invalid_client","error_codes":[7000222]}"#,
    );
    rig.pass(3599);
    assert!(rig.core.background(rig.ms).is_none());
    rig.pass(1);
    let job = rig.core.background(rig.ms).unwrap();
    rig.refuse(&job, 401, r#"{"error":"invalid_client"}"#);
    rig.core.reconfigured();
    let job = rig.core.background(rig.ms).unwrap();
    rig.grant(&job, "t2", 3600);
    assert!(rig.core.background(rig.ms).is_none());
    // A sign-in that is needed is not asked for in silence.
    rig.pass(15 * 24 * 3600);
    let job = rig.core.background(rig.ms).unwrap();
    rig.refuse(&job, 400, GONE);
    rig.pass(24 * 3600);
    assert!(rig.core.background(rig.ms).is_none());
}
