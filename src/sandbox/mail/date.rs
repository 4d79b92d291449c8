//! Dates as IMAP writes them, in UTC.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, UtcDateTime};

/// `17-Jul-1996 02:44:25 +0000`, the day padded by a blank (`date-time` of RFC 3501 §9).
pub(super) fn internal(unix: i64) -> String {
    const FORM: &[BorrowedFormatItem<'_>] = format_description!(
        "[day padding:space]-[month repr:short]-[year] [hour]:[minute]:[second] +0000"
    );
    let at = UtcDateTime::from_unix_timestamp(unix).unwrap_or(UtcDateTime::UNIX_EPOCH);
    at.format(FORM).unwrap_or_default()
}

/// `17 Jul 1996 02:44:25 +0000`, as in a message's header.
pub(super) fn header(unix: i64) -> String {
    internal(unix).trim_start().replacen('-', " ", 2)
}

/// The day (since 1970) of a `Date:` field, as written there, without regard to its zone
/// (`SENTSINCE` and its kin, RFC 3501 §6.4.4).
pub(super) fn day_of_header(value: &str) -> Option<i64> {
    const FORM: &[BorrowedFormatItem<'_>] =
        format_description!("[day padding:none] [month repr:short case_sensitive:false] [year]");
    let value = value.split_once(',').map_or(value, |(_, rest)| rest);
    let words: Vec<_> = value.split_ascii_whitespace().take(3).collect();
    let date = Date::parse(&words.join(" "), FORM).ok()?;
    Some(
        date.midnight()
            .assume_utc()
            .unix_timestamp()
            .div_euclid(86_400),
    )
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
