//! Questions about a token record that need no state.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};

use super::core::SIGN_IN_HOLD;
use crate::oauth::token::Grant;
use crate::observe::Class;
use crate::store::{TokenRecord, Trouble};

/// Fingerprint of the tokens in a record: tells whether somebody changed them, not whether they noted
/// trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

/// Seconds of life below which a token is refreshed before it is used.
const MARGIN: u64 = 600;

/// What a sign-in brought, as it is stored.
pub(super) fn granted(grant: Grant, binding: &str, generation: u64, now: u64) -> TokenRecord {
    let identity = grant.identity.as_ref().and_then(|one| one.name());
    TokenRecord {
        binding: binding.to_owned(),
        identity: identity.map(str::to_owned),
        refresh_token: grant.refresh_token,
        access_token: Some(grant.access_token),
        expires_at: now.saturating_add(grant.expires_in),
        issued_at: now,
        signed_in_at: now,
        refreshed_at: now,
        scopes: grant.scopes,
        generation,
        trouble: None,
        revoked_at: 0,
    }
}

pub(super) fn digest(record: &TokenRecord) -> Digest {
    let mut hash = Sha256::new();
    let secret = |secret: &Option<SecretString>| {
        secret
            .as_ref()
            .map(|secret| secret.expose_secret().to_owned())
            .unwrap_or_default()
    };
    let parts = [
        zeroize::Zeroizing::new(secret(&record.refresh_token)),
        zeroize::Zeroizing::new(secret(&record.access_token)),
    ];
    hash.update(record.binding.as_bytes());
    hash.update(record.signed_in_at.to_be_bytes());
    hash.update(record.refreshed_at.to_be_bytes());
    for part in &parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    Digest(hash.finalize().into())
}

/// How much life, in seconds, a token must have left: ten minutes, or half its life where that whole
/// life is shorter than twice as much.
pub(super) fn margin(issued_at: u64, expires_at: u64) -> u64 {
    let life = expires_at.saturating_sub(issued_at);
    if life >= 2 * MARGIN { MARGIN } else { life / 2 }
}

/// Whether a token has enough life at `now` (Unix seconds). One from the future is not trusted: the
/// clock was set back since, so its end is unknown.
pub(super) fn is_fresh(issued_at: u64, expires_at: u64, now: u64) -> bool {
    let left = expires_at.saturating_sub(now);
    left > 0 && left >= margin(issued_at, expires_at) && is_past(issued_at, now)
}

/// Whether a token's time of issue is not in the future, give or take.
pub(super) fn is_past(issued_at: u64, now: u64) -> bool {
    const CLOCKS_DIFFER: u64 = 300;
    issued_at <= now.saturating_add(CLOCKS_DIFFER)
}

/// Whether the record holds a token with enough life that is not the refused one.
pub(super) fn is_good(record: &TokenRecord, refused: Option<&SecretString>, now: u64) -> bool {
    let Some(token) = &record.access_token else {
        return false;
    };
    let other = refused.is_none_or(|refused| refused.expose_secret() != token.expose_secret());
    other && is_fresh(record.issued_at, record.expires_at, now)
}

/// The class of a noted trouble; only lasting ones are noted.
pub(super) fn class(trouble: &Trouble) -> Option<Class> {
    Class::parse(&trouble.class).filter(|class| class.lasts())
}

/// Whether the provider asked for a sign-in so short a time ago that it is not asked again.
pub(super) fn is_troubled(record: &TokenRecord, now: u64) -> bool {
    record.trouble.as_ref().is_some_and(|trouble| {
        class(trouble) == Some(Class::SignIn) && now.abs_diff(trouble.at) < SIGN_IN_HOLD
    })
}

/// Whether the provider said that this refresh token will never work again.
pub(super) fn is_dead(record: &TokenRecord) -> bool {
    record.trouble.as_ref().is_some_and(|trouble| trouble.dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margin_is_ten_minutes_or_half_the_life() {
        for (life, expected) in [(3600, 600), (1200, 600), (1199, 599), (60, 30), (0, 0)] {
            assert_eq!(margin(1000, 1000 + life), expected);
        }
        assert!(is_fresh(1000, 4600, 4000));
        assert!(!is_fresh(1000, 4600, 4001));
        assert!(is_fresh(1000, 1060, 1030));
        assert!(!is_fresh(1000, 1060, 1031));
        assert!(!is_fresh(1000, 1000, 1000));
        assert!(
            !is_fresh(10_000, 13_600, 1000),
            "the clock went back by hours"
        );
    }

    #[test]
    fn trouble_noted_by_a_former_version_is_understood() {
        let noted = |class: &str| Trouble {
            at: 1000,
            class: class.to_owned(),
            code: None,
            text: "x".to_owned(),
            dead: false,
        };
        for (word, meant) in [
            ("sign-in", Some(Class::SignIn)),
            ("sign_in", Some(Class::SignIn)),
            ("config", Some(Class::Configuration)),
            ("temporary", None),
            ("retry", None),
            ("needs sign-in", None),
        ] {
            assert_eq!(class(&noted(word)), meant, "{word}");
            let trouble = Some(noted(word));
            let record = TokenRecord {
                trouble,
                ..TokenRecord::default()
            };
            assert_eq!(is_troubled(&record, 1001), meant == Some(Class::SignIn));
        }
    }

    #[test]
    fn the_digest_sees_tokens_but_not_trouble() {
        let mut record = TokenRecord {
            refresh_token: Some("r".into()),
            ..TokenRecord::default()
        };
        let first = digest(&record);
        record.generation = 9;
        assert_eq!(digest(&record), first);
        record.refresh_token = None;
        record.access_token = Some("r".into());
        assert_ne!(digest(&record), first);
    }
}
