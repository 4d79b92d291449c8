//! Moments as people and programs read them, in UTC.

use time::UtcDateTime;

/// Unix seconds as `2026-11-23 20:17 UTC`.
pub fn minutes(seconds: u64) -> String {
    let at = moment(seconds);
    let (hour, minute, _) = at.as_hms();
    format!("{} {hour:02}:{minute:02} UTC", at.date())
}

/// Unix seconds as their day, `2026-11-23`.
pub fn day(seconds: u64) -> String {
    moment(seconds).date().to_string()
}

/// Unix milliseconds as `2026-11-23T20:17:52.012Z` (RFC 3339).
pub fn rfc3339(milliseconds: u64) -> String {
    let at = moment(milliseconds / 1000);
    let (hour, minute, second) = at.as_hms();
    let fraction = milliseconds % 1000;
    format!(
        "{}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z",
        at.date()
    )
}

/// Unix seconds as `Mon, 23 Nov 2026 20:17:52 +0000` (RFC 5322 §3.3).
pub fn rfc5322(seconds: u64) -> String {
    let at = moment(seconds);
    let (hour, minute, second) = at.as_hms();
    // Both names begin with the three letters wanted.
    let (weekday, month) = (at.weekday().to_string(), at.month().to_string());
    let (day, year) = (at.day(), at.year());
    format!("{weekday:.3}, {day:02} {month:.3} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
}

/// What lies behind the year 9999 is told as its end.
fn moment(seconds: u64) -> UtcDateTime {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    UtcDateTime::from_unix_timestamp(seconds).unwrap_or(UtcDateTime::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_calendar_times() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_795_465_072, "2026-11-23 20:17 UTC"),
            (4_102_444_799, "2099-12-31 23:59 UTC"),
        ] {
            assert_eq!(minutes(seconds), text);
            assert!(text.starts_with(&day(seconds)));
        }
        assert_eq!(rfc3339(1_795_465_072_012), "2026-11-23T20:17:52.012Z");
        assert_eq!(rfc5322(1_795_465_072), "Mon, 23 Nov 2026 20:17:52 +0000");
        assert_eq!(rfc5322(0), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(day(u64::MAX), "9999-12-31");
    }
}
