//! SASL messages: those a legacy client sends to us (PLAIN, LOGIN) and those we send upstream
//! (XOAUTH2, OAUTHBEARER).

pub(super) mod exchange;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{SecretSlice, SecretString};
use thiserror::Error;
use zeroize::Zeroizing;

use super::Credentials;

/// `Username:` in base64, the first prompt of SASL LOGIN (draft-murchison-sasl-login).
///
/// Exactly these octets: some devices give up at any other prompt.
pub const LOGIN_USERNAME_PROMPT: &str = "VXNlcm5hbWU6";
/// `Password:` in base64, the second prompt of SASL LOGIN.
pub const LOGIN_PASSWORD_PROMPT: &str = "UGFzc3dvcmQ6";

/// Devices forget the padding or set stray bits in the last character; nothing is gained by
/// refusing them.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What is wrong with a SASL message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SaslError {
    /// Not base64.
    #[error("not valid base64")]
    Base64,
    /// PLAIN without its two NULs, or with an empty user name (RFC 4616 §2).
    #[error("not a valid PLAIN message")]
    Plain,
    /// The authorization identity differs from the user (RFC 4616 §2).
    #[error("the authorization identity differs from the user")]
    Authorization,
    /// A user name or token with an octet that would break out of the message.
    #[error("the user name or token contains a control character")]
    Control,
}

/// The mechanisms we authenticate with upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Google's and Microsoft's `XOAUTH2`.
    Xoauth2,
    /// `OAUTHBEARER` (RFC 7628).
    Oauthbearer,
}

impl Mechanism {
    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xoauth2 => "XOAUTH2",
            Self::Oauthbearer => "OAUTHBEARER",
        }
    }

    /// What answers the error challenge, so that the server closes the exchange with its verdict:
    /// an empty line for XOAUTH2, a single 0x01 for OAUTHBEARER (RFC 7628 §3.2.3).
    pub fn error_response(self) -> &'static str {
        match self {
            Self::Xoauth2 => "",
            Self::Oauthbearer => "AQ==",
        }
    }
}

/// The initial response for `mechanism`, in base64 on one line.
///
/// `host` and `port` are the upstream's (RFC 7628 §3.1); XOAUTH2 has no place for them.
///
/// # Errors
/// [`SaslError::Control`] when user or token contain NUL, 0x01, CR or LF.
pub fn bearer_response(
    mechanism: Mechanism,
    user: &str,
    host: &str,
    port: u16,
    token: &str,
) -> Result<SecretString, SaslError> {
    let breaks_out = |s: &str| s.bytes().any(|b| matches!(b, 0 | 1 | b'\r' | b'\n'));
    if breaks_out(user) || breaks_out(token) || breaks_out(host) {
        return Err(SaslError::Control);
    }
    let message = Zeroizing::new(match mechanism {
        Mechanism::Xoauth2 => format!("user={user}\x01auth=Bearer {token}\x01\x01"),
        Mechanism::Oauthbearer => {
            // saslname escapes of RFC 5801 §4.
            let user = user.replace('=', "=3D").replace(',', "=2C");
            format!("n,a={user},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01")
        }
    });
    Ok(SecretString::from(STANDARD.encode(message.as_bytes())))
}

/// Decodes a client's base64, tolerating missing padding.
///
/// # Errors
/// [`SaslError::Base64`].
pub fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, SaslError> {
    let text = text.trim_ascii();
    TOLERANT
        .decode(text)
        .map(Zeroizing::new)
        .map_err(|_| SaslError::Base64)
}

/// Reads a PLAIN message: `[authzid] NUL authcid NUL passwd` (RFC 4616 §2).
///
/// Many clients repeat the user name as authorization identity; that is accepted, any other is
/// not: nobody may act for somebody else here.
///
/// # Errors
/// [`SaslError::Plain`] and [`SaslError::Authorization`].
pub fn plain(message: &[u8]) -> Result<Credentials, SaslError> {
    let mut parts = message.splitn(3, |&b| b == 0);
    let (Some(authzid), Some(authcid), Some(password)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Plain);
    };
    if authcid.is_empty() || password.contains(&0) {
        return Err(SaslError::Plain);
    }
    if !authzid.is_empty() && !authzid.eq_ignore_ascii_case(authcid) {
        return Err(SaslError::Authorization);
    }
    Ok(Credentials {
        user: authcid.to_vec(),
        password: SecretSlice::from(password.to_vec()),
    })
}

/// The `status` of a server's error challenge (base64 JSON), for the log.
///
/// Only a short word is taken: a server may echo anything, the token included.
pub fn challenge_status(challenge: &[u8]) -> Option<String> {
    let text = decode(challenge).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let status = value.get("status")?;
    let word = status
        .as_str()
        .map_or_else(|| status.to_string(), str::to_owned);
    let fits = word.len() <= 24 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    fits.then_some(word)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const TOKEN: &str = "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA";

    #[test]
    fn xoauth2_is_microsofts_documented_vector() {
        let user = "test@contoso.onmicrosoft.com";
        let text = bearer_response(Mechanism::Xoauth2, user, "x", 993, TOKEN).unwrap();
        assert_eq!(
            text.expose_secret(),
            "dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFv\
             N0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ=="
        );
    }

    #[test]
    fn oauthbearer_is_the_rfc_7628_form() {
        let user = "test@contoso.onmicrosoft.com";
        let host = "outlook.office365.com";
        let text = bearer_response(Mechanism::Oauthbearer, user, host, 993, TOKEN).unwrap();
        assert_eq!(
            text.expose_secret(),
            "bixhPXRlc3RAY29udG9zby5vbm1pY3Jvc29mdC5jb20sAWhvc3Q9b3V0bG9vay5vZmZpY2UzNjUuY29tAXBv\
             cnQ9OTkzAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ=="
        );
        let odd = bearer_response(Mechanism::Oauthbearer, "a,b=c", "h", 1, "t").unwrap();
        let message = decode(odd.expose_secret().as_bytes()).unwrap();
        assert!(message.starts_with(b"n,a=a=2Cb=3Dc,\x01"));
    }

    #[test]
    fn control_characters_never_enter_a_message() {
        for bad in ["a\x01b", "a\rb", "a\nb", "a\0b"] {
            for mechanism in [Mechanism::Xoauth2, Mechanism::Oauthbearer] {
                let as_user = bearer_response(mechanism, bad, "h", 1, "t");
                let as_token = bearer_response(mechanism, "u", "h", 1, bad);
                assert_eq!(as_user.err(), Some(SaslError::Control));
                assert_eq!(as_token.err(), Some(SaslError::Control));
            }
        }
    }

    #[test]
    fn plain_takes_the_rfc_4616_forms() {
        let read = |text: &[u8]| plain(text).map(|c| (c.user, c.password.expose_secret().to_vec()));
        let vector = decode(b"AHVzZXJAZXhhbXBsZS5jb20AcMOkc3M=").unwrap();
        let expected = (b"user@example.com".to_vec(), "päss".as_bytes().to_vec());
        assert_eq!(read(&vector), Ok(expected));
        assert_eq!(read(b"Bob\0bob\0x"), Ok((b"bob".to_vec(), b"x".to_vec())));
        assert_eq!(read(b"\0bob\0"), Ok((b"bob".to_vec(), vec![])));
        assert_eq!(read(b"eve\0bob\0x"), Err(SaslError::Authorization));
        for bad in [&b""[..], b"bob", b"\0bob", b"\0\0x", b"\0bob\0x\0y"] {
            assert_eq!(read(bad), Err(SaslError::Plain), "{bad:?}");
        }
    }

    #[test]
    fn base64_is_read_tolerantly_but_not_anything() {
        assert_eq!(decode(b"Ym9i").unwrap().as_slice(), b"bob");
        assert_eq!(decode(b"Ym9iYg").unwrap().as_slice(), b"bobb");
        assert_eq!(decode(b"Ym9iYg== ").unwrap().as_slice(), b"bobb");
        for bad in [&b"!"[..], b"Ym 9i", b"Ym=9i", b"====", b"\xff\xfe"] {
            assert_eq!(decode(bad).err(), Some(SaslError::Base64), "{bad:?}");
        }
    }

    #[test]
    fn challenge_status_takes_a_word_and_nothing_else() {
        let encode = |text: &str| STANDARD.encode(text);
        let good = encode(r#"{"status":"401","schemes":"bearer"}"#);
        assert_eq!(challenge_status(good.as_bytes()).as_deref(), Some("401"));
        let echo = encode(&format!(r#"{{"status":"Bearer {TOKEN}"}}"#));
        assert_eq!(challenge_status(echo.as_bytes()), None);
        assert_eq!(challenge_status(b"%%"), None);
        assert_eq!(challenge_status(encode("[]").as_bytes()), None);
    }
}
