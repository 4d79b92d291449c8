//! Verifies assertions as a provider does (RFC 7515, RFC 7523), with nothing of the program's own.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What a provider knows of a service account.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// A certificate of its key.
    pub certificate: String,
    pub email: String,
    pub key_id: String,
    /// The scopes that domain-wide delegation allows, as they must be asked for.
    pub scope: String,
    /// The mailboxes of the domain.
    pub users: Vec<String>,
}

/// Checks everything that a client assertion must say; `now` in Unix seconds. Returns its `jti`.
pub fn client_assertion(
    jwt: &str,
    certificate: &str,
    client: &str,
    audience: &str,
    now: u64,
) -> Result<String, String> {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let token = Token::read(jwt)?;
    let algorithm: &dyn VerificationAlgorithm = match token.header["alg"].as_str() {
        Some("PS256") => &RSA_PSS_2048_8192_SHA256,
        Some("ES256") => &ECDSA_P256_SHA256_FIXED,
        other => return Err(format!("alg {other:?}")),
    };
    let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&der));
    equal(&token.header["x5t#S256"], &thumbprint, "x5t#S256")?;
    names(&token.header, &["alg", "typ", "x5t#S256"])?;
    token.verify(algorithm, &der)?;
    let claims = &token.claims;
    names(claims, &["aud", "exp", "iat", "iss", "jti", "nbf", "sub"])?;
    for (name, value) in [("aud", audience), ("iss", client), ("sub", client)] {
        equal(&claims[name], value, name)?;
    }
    token.timely(now, 300, 600)?;
    if token.number("nbf")? > now {
        return Err("nbf lies ahead".into());
    }
    let id = claims["jti"].as_str().filter(|id| id.len() == 36);
    id.map(str::to_owned).ok_or("jti is no GUID".into())
}

/// Checks an assertion of a service account for one of its users, who is returned; an error is what
/// Google would answer.
pub fn service_account(
    jwt: &str,
    known: &ServiceAccount,
    audience: &str,
    now: u64,
) -> Result<String, &'static str> {
    let der = CertificateDer::from_pem_slice(known.certificate.as_bytes()).unwrap();
    let bad = |_: String| "invalid_grant";
    let token = Token::read(jwt).map_err(bad)?;
    names(&token.header, &["alg", "kid", "typ"]).map_err(bad)?;
    equal(&token.header["alg"], "RS256", "alg").map_err(bad)?;
    equal(&token.header["kid"], &known.key_id, "kid").map_err(bad)?;
    token
        .verify(&RSA_PKCS1_2048_8192_SHA256, &der)
        .map_err(bad)?;
    names(&token.claims, &["aud", "exp", "iat", "iss", "scope", "sub"]).map_err(bad)?;
    equal(&token.claims["iss"], &known.email, "iss").map_err(bad)?;
    equal(&token.claims["aud"], audience, "aud").map_err(bad)?;
    token.timely(now, 60, 3600).map_err(bad)?;
    if token.claims["scope"] != known.scope.as_str() {
        return Err("unauthorized_client");
    }
    let user = token.claims["sub"].as_str().unwrap_or_default();
    let known = known.users.iter().any(|each| each == user);
    known.then(|| user.to_owned()).ok_or("invalid_grant")
}

/// A token in compact form (RFC 7515 §7.1).
struct Token {
    header: Value,
    claims: Value,
    message: String,
    signature: Vec<u8>,
}

impl Token {
    fn read(jwt: &str) -> Result<Self, String> {
        let parts: Vec<&str> = jwt.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err("not three parts".into());
        };
        // Refuses padding and the other alphabet.
        let decode = |part: &str| {
            BASE64_URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|e| e.to_string())
        };
        let json = |part: &str| -> Result<Value, String> {
            serde_json::from_slice(&decode(part)?).map_err(|e| e.to_string())
        };
        let token = Self {
            header: json(header)?,
            claims: json(claims)?,
            message: format!("{header}.{claims}"),
            signature: decode(signature)?,
        };
        equal(&token.header["typ"], "JWT", "typ")?;
        Ok(token)
    }

    fn verify(
        &self,
        algorithm: &dyn VerificationAlgorithm,
        certificate: &[u8],
    ) -> Result<(), String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
        let key = &parsed.public_key().subject_public_key.data;
        algorithm
            .verify_sig(key, self.message.as_bytes(), &self.signature)
            .map_err(|_| "signature".into())
    }

    fn number(&self, name: &str) -> Result<u64, String> {
        self.claims[name]
            .as_u64()
            .ok_or_else(|| format!("{name} is no number"))
    }

    /// Begun, not ended, and good for a time between `least` and `most` seconds.
    fn timely(&self, now: u64, least: u64, most: u64) -> Result<(), String> {
        let (issued, ends) = (self.number("iat")?, self.number("exp")?);
        if issued > now || ends <= now {
            return Err("outside its time".into());
        }
        let life = ends - issued;
        (least..=most)
            .contains(&life)
            .then_some(())
            .ok_or(format!("lives {life} s"))
    }
}

fn equal(value: &Value, expected: &str, what: &str) -> Result<(), String> {
    (value == expected)
        .then_some(())
        .ok_or(format!("{what} is {value}"))
}

fn names(value: &Value, expected: &[&str]) -> Result<(), String> {
    let mut have: Vec<&String> = value.as_object().ok_or("no object")?.keys().collect();
    have.sort();
    (have == expected)
        .then_some(())
        .ok_or(format!("fields {have:?}"))
}
