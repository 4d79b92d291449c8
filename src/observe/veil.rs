//! Takes secrets out of the words of others before anybody reads them: servers quote what they were
//! sent, in part and in base64 too.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// A run of so many octets of a secret is taken out; shorter ones tell nothing and stand in plain words.
const RUN: usize = 8;
/// What stands in their place.
pub const HIDDEN: &str = "[hidden]";

type Gram = [u8; RUN];

/// Secrets that a peer has seen, to be taken out of all that it says from then on.
#[derive(Debug, Default, Clone)]
pub struct Veil {
    secrets: Vec<SecretString>,
}

impl Veil {
    /// Hides `secret` from now on; shorter ones than a run are hidden whole.
    pub fn add(&mut self, secret: &str) {
        let known = |one: &SecretString| one.expose_secret() == secret;
        if !secret.is_empty() && !self.secrets.iter().any(known) {
            self.secrets.push(SecretString::from(secret.to_owned()));
        }
    }

    /// Hides `secret` and its base64, wherever in a longer message it stood.
    pub fn add_encoded(&mut self, secret: &str) {
        if secret.is_empty() {
            return;
        }
        self.add(secret);
        for before in 0..3 {
            let mut moved = Zeroizing::new(vec![0; before]);
            moved.extend_from_slice(secret.as_bytes());
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let encoded = Zeroizing::new(engine.encode(&*moved));
                // Of the first characters only a part is the secret's.
                let own = encoded.get(before + usize::from(before > 0)..);
                self.add(own.unwrap_or_default());
            }
        }
    }

    /// `text` with [`HIDDEN`] in the place of the secrets and of all runs of eight octets and more of
    /// them, in capitals or not.
    pub fn hide(&self, text: &str) -> String {
        match self.hide_octets(text.as_bytes()) {
            Some(hidden) => String::from_utf8_lossy(&hidden).into_owned(),
            None => text.to_owned(),
        }
    }

    /// The same for octets; `None` when there is nothing to hide.
    pub fn hide_octets(&self, text: &[u8]) -> Option<Vec<u8>> {
        let covered = self.covered(text)?;
        let mut out = Vec::with_capacity(text.len());
        let mut before = false;
        for (octet, hidden) in text.iter().zip(covered) {
            if !hidden {
                out.push(*octet);
            } else if !before {
                out.extend_from_slice(HIDDEN.as_bytes());
            }
            before = hidden;
        }
        Some(out)
    }

    /// Whether there is something to hide in `text`.
    pub fn touches(&self, text: &str) -> bool {
        self.covered(text.as_bytes()).is_some()
    }

    /// Which octets are a secret's; `None` for none.
    fn covered(&self, text: &[u8]) -> Option<Vec<bool>> {
        if self.secrets.is_empty() || text.is_empty() {
            return None;
        }
        let text = text.to_ascii_lowercase();
        let mut covered = vec![false; text.len()];
        let mut cover = |from: usize, count: usize| {
            let run = covered.get_mut(from..from.saturating_add(count));
            run.unwrap_or_default().fill(true);
        };
        let mut grams: HashSet<Gram> = HashSet::new();
        for secret in &self.secrets {
            let secret = Zeroizing::new(secret.expose_secret().to_ascii_lowercase());
            if secret.len() < RUN {
                for at in memchr::memmem::find_iter(&text, secret.as_bytes()) {
                    cover(at, secret.len());
                }
            } else if text.len() >= RUN {
                grams.extend(windows(secret.as_bytes()));
            }
        }
        for (at, gram) in windows(&text).enumerate() {
            if grams.contains(&gram) {
                cover(at, RUN);
            }
        }
        covered.contains(&true).then_some(covered)
    }
}

fn windows(text: &[u8]) -> impl Iterator<Item = Gram> {
    let runs = text.windows(RUN);
    runs.map(|run| Gram::try_from(run).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn veil(secrets: &[&str]) -> Veil {
        let mut veil = Veil::default();
        for secret in secrets {
            veil.add_encoded(secret);
        }
        veil
    }

    #[test]
    fn secrets_are_hidden_whole_in_part_and_in_capitals() {
        let veil = veil(&["abcdefgh.ijklmnop", "T-1"]);
        for (text, expected) in [
            ("no echo", "no echo"),
            ("token abcdefgh.ijklmnop refused", "token [hidden] refused"),
            ("cut abcdefgh.ij", "cut [hidden]"),
            ("the end: gh.ijklmnop", "the end: [hidden]"),
            ("the middle: efgh.ijk!", "the middle: [hidden]!"),
            ("ABCDEFGH.IJKLMNOP?", "[hidden]?"),
            ("twice abcdefgh.ij abcdefgh", "twice [hidden] [hidden]"),
            (
                "abcdefg is too short to tell",
                "abcdefg is too short to tell",
            ),
            ("a T-1 b", "a [hidden] b"),
            ("\u{e9}abcdefgh.ijklmnop\u{e9}", "\u{e9}[hidden]\u{e9}"),
        ] {
            assert_eq!(veil.hide(text), expected, "{text}");
            assert_eq!(veil.touches(text), text != expected, "{text}");
        }
        assert_eq!(Veil::default().hide("a"), "a");
    }

    #[test]
    fn base64_is_hidden_wherever_the_secret_stood_in_the_message() {
        let secret = "S3CRET-tokens?>~0123456789";
        let veil = veil(&[secret]);
        for before in ["", "u", "us", "user=", "user=a@b.c\x01auth=Bearer "] {
            let message = format!("{before}{secret}\x01\x01");
            for text in [STANDARD.encode(&message), URL_SAFE_NO_PAD.encode(&message)] {
                let hidden = veil.hide(&format!("unknown {text} command"));
                assert!(hidden.contains(HIDDEN), "{hidden}");
                // The characters that are of the secret alone.
                let from = (before.len() * 4).div_ceil(3);
                let to = (before.len() + secret.len()) * 4 / 3;
                for run in text.as_bytes()[from..to].windows(RUN) {
                    let run = std::str::from_utf8(run).unwrap();
                    assert!(!hidden.contains(run), "{run} in {hidden}");
                }
            }
        }
    }

    #[test]
    fn nothing_of_it_can_be_printed() {
        let veil = veil(&["abcdefgh.ijklmnop"]);
        assert!(!format!("{veil:?}").contains("abcdef"));
    }
}
