//! Moments as people and programs read them, in UTC.

/// Unix seconds as `2026-11-23 20:17 UTC`.
pub fn minutes(seconds: u64) -> String {
    let (year, month, day) = date(seconds);
    let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Unix seconds as their day, `2026-11-23`.
pub fn day(seconds: u64) -> String {
    let (year, month, day) = date(seconds);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Unix milliseconds as `2026-11-23T20:17:52.012Z` (RFC 3339).
pub fn rfc3339(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (year, month, day) = date(seconds);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let fraction = milliseconds % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

/// Howard Hinnant's days-to-civil, with years beginning in March.
fn date(seconds: u64) -> (i64, i64, i64) {
    let days = i64::try_from(seconds / 86_400).unwrap_or(i64::MAX / 2);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
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
    }
}
