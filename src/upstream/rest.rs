//! How long a mail server wants to be left alone: some name the time when they throttle.

use std::time::Duration;

/// The longest pause that is kept, whatever a server says.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The pause that the words of a refusal name, at most [`LONGEST`]: `Suggested Backoff Time: 299962
/// milliseconds` (Exchange Online), `Retry after 30 seconds`, `try again in 5 minutes`.
pub(crate) fn suggested(text: &str) -> Option<Duration> {
    const BEFORE: [&str; 5] = [
        "backoff time:",
        "retry after",
        "retry in",
        "try again in",
        "try again after",
    ];
    let text = text.to_lowercase();
    let behind = BEFORE
        .iter()
        .find_map(|words| text.split_once(words))
        .map(|(_, behind)| behind.trim_start_matches([' ', ':', '=']))?;
    let end = behind.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = behind.split_at_checked(end)?;
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start();
    let pause = if unit.starts_with("ms") || unit.starts_with("milli") {
        Duration::from_millis(number)
    } else if unit.starts_with("min") {
        Duration::from_secs(number.saturating_mul(60))
    } else if unit.starts_with('s') {
        Duration::from_secs(number)
    } else {
        return None;
    };
    Some(pause.min(LONGEST)).filter(|pause| !pause.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_read_and_bounded() {
        for (text, seconds) in [
            (
                "Request is throttled. Suggested Backoff Time: 299962 milliseconds",
                Some(299.962),
            ),
            ("[LIMIT] Rate limit hit. Retry after 30 seconds", Some(30.0)),
            ("421 4.7.0 try again in 5 minutes", Some(300.0)),
            ("Retry after 99999999999 s", Some(900.0)),
            ("Retry after 99999999999999999999999 s", None),
            ("Retry after 0 s", None),
            ("Retry after lunch", None),
            ("Retry after 30", None),
            ("try again later", None),
        ] {
            let found = suggested(text).map(|pause| pause.as_secs_f64());
            assert_eq!(found, seconds, "{text}");
        }
    }
}
