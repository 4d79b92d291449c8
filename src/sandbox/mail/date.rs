//! Dates as IMAP writes them, in UTC.

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `17-Jul-1996 02:44:25 +0000`, the day padded by a blank (`date-time` of RFC 3501 §9).
pub(super) fn internal(unix: i64) -> String {
    let (day, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let (year, month, date) = civil(day);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{date:2}-{month}-{year:04} {h:02}:{m:02}:{s:02} +0000")
}

/// `17 Jul 1996 02:44:25 +0000`, as in a message's header.
pub(super) fn header(unix: i64) -> String {
    internal(unix).trim_start().replacen('-', " ", 2)
}

/// The day (since 1970) of a `Date:` field, as written there, without regard to its zone
/// (`SENTSINCE` and its kin, RFC 3501 §6.4.4).
pub(super) fn day_of_header(value: &str) -> Option<i64> {
    let value = value.split_once(',').map_or(value, |(_, rest)| rest);
    let mut words = value.split_ascii_whitespace();
    let date: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(month))?;
    let year: i64 = words.next()?.parse().ok()?;
    let sane = (1..=31).contains(&date) && (1900..10_000).contains(&year);
    sane.then(|| days(year, i64::try_from(month).unwrap_or(0) + 1, date))
}

/// Days since 1970 of a date of the Gregorian calendar (years begin in March here, so that the leap
/// day comes last).
fn days(year: i64, month: i64, date: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + date - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(day: i64) -> (i64, &'static str, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let index = (5 * of_year + 2) / 153;
    let date = of_year - (153 * index + 2) / 5 + 1;
    let month = (index + 2) % 12;
    let year = era * 400 + year + i64::from(month < 2);
    let name = usize::try_from(month)
        .ok()
        .and_then(|m| MONTHS.get(m))
        .copied();
    (year, name.unwrap_or("Jan"), date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (unix, text) in [
            (0, " 1-Jan-1970 00:00:00 +0000"),
            (837_571_465, "17-Jul-1996 02:44:25 +0000"),
            (951_782_400, "29-Feb-2000 00:00:00 +0000"),
            (1_709_251_199, "29-Feb-2024 23:59:59 +0000"),
            (4_102_444_800, " 1-Jan-2100 00:00:00 +0000"),
            (-1, "31-Dec-1969 23:59:59 +0000"),
        ] {
            assert_eq!(internal(unix), text);
            assert_eq!(
                day_of_header(&header(unix)),
                Some(unix.div_euclid(86_400)),
                "{text}"
            );
        }
        assert_eq!(header(0), "1 Jan 1970 00:00:00 +0000");
        assert_eq!(day_of_header("Wed, 17 jul 1996 02:44:25 -0700"), Some(9694));
        for bad in [
            "",
            "x",
            "1 Foo 2020",
            "99 Jan 2020",
            "1 Jan",
            "1 Jan 999999999999",
        ] {
            assert_eq!(day_of_header(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_day_goes_there_and_back() {
        for day in -30_000..60_000 {
            assert_eq!(day_of_header(&header(day * 86_400)).unwrap_or(day), day);
        }
    }
}
