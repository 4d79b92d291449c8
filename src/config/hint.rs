//! "Did you mean": the nearest of the words that are allowed.

/// The end of a message that names the nearest word; empty when none is near.
pub fn did_you_mean<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> String {
    nearest(text, words).map_or_else(String::new, |word| format!(" (did you mean {word}?)"))
}

/// Whether an unknown key may be shown, and what to say about it.
///
/// A line that slipped out of its place can turn a secret into a key, so a key is shown only when
/// it is near a known one, or looks like a plain word.
pub(super) fn unknown_key<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> (bool, String) {
    let hint = did_you_mean(key, names);
    let short = !key.is_empty() && key.len() <= 40;
    let word = key
        .chars()
        .all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '-'));
    let near = key
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if short && (word || near && !hint.is_empty()) {
        (true, format!("unknown key{hint}"))
    } else {
        (
            false,
            format!("unknown key (not shown: it doesn't look like a key){hint}"),
        )
    }
}

fn nearest<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > 64 {
        return None;
    }
    let folded = fold(text);
    words
        .map(|word| (strsim::levenshtein(&folded, &fold(word)), word))
        .filter(|(distance, word)| *distance <= word.len().div_ceil(4).min(3))
        .min()
        .map(|(_, word)| word)
}

/// Without case and the signs between words: `clientId` is `client_id`.
fn fold(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["client_id", "client_secret", "tls", "pop3"];

    #[test]
    fn near_words_are_found() {
        for (text, word) in [
            ("clientId", "client_id"),
            ("cleint_id", "client_id"),
            ("client-secret", "client_secret"),
            ("tsl", ""),
            ("TLS", "tls"),
            ("pop", "pop3"),
            ("elephant", ""),
        ] {
            let hint = did_you_mean(text, NAMES.into_iter());
            assert!(hint.contains(word), "{text}: {hint}");
            assert_eq!(hint.is_empty(), word.is_empty(), "{text}: {hint}");
        }
    }

    #[test]
    fn a_key_that_may_be_a_secret_is_not_shown() {
        for (key, shown) in [
            ("password", true),
            ("clientId", true),
            ("hunter2", false),
            ("Xq8~kd", false),
            ("correct horse battery", false),
            ("", false),
        ] {
            let (is_shown, message) = unknown_key(key, NAMES.into_iter());
            assert_eq!(is_shown, shown, "{key}");
            assert!(key.is_empty() || !message.contains(key));
        }
    }
}
