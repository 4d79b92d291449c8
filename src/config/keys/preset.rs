//! The keys of a preset.

use super::provider::{SASL, SERVERS};
use super::{may, text};
use crate::config::forms;
use crate::config::shape::{Kind, Table};

/// A preset, in the program's own data.
pub(in crate::config) static PRESET: Table = Table {
    what: "a preset",
    keys: &[
        may(
            "tenant",
            text(&forms::TENANT),
            "Tenant where the file gives none.",
        ),
        may(
            "authorization_url",
            text(&forms::ENDPOINT),
            "Authorization endpoint.",
        ),
        may("token_url", text(&forms::ENDPOINT), "Token endpoint."),
        may(
            "device_authorization_url",
            text(&forms::ENDPOINT),
            "Device authorization endpoint.",
        ),
        may(
            "revocation_url",
            text(&forms::ENDPOINT),
            "Revocation endpoint.",
        ),
        may("issuer", text(&forms::ISSUER), "Issuer."),
        may(
            "scopes",
            Kind::Table(&PRESET_SCOPES),
            "Scopes by what is used.",
        ),
        may("sasl", Kind::Choice(&SASL), "SASL mechanism."),
        may("redirect_uri", text(&forms::REDIRECT), "Redirect URI."),
        may(
            "authorization_params",
            Kind::Params(&forms::PARAMETER),
            "Parameters.",
        ),
        may("servers", Kind::Table(&SERVERS), "Mail servers."),
    ],
};

static SCOPE_LIST: Kind = Kind::Text(&forms::SCOPE);

static PRESET_SCOPES: Table = Table {
    what: "scopes",
    keys: &[
        may("imap", Kind::List(&SCOPE_LIST), "For IMAP."),
        may("pop3", Kind::List(&SCOPE_LIST), "For POP3."),
        may("smtp", Kind::List(&SCOPE_LIST), "For SMTP."),
        may("always", Kind::List(&SCOPE_LIST), "With each of them."),
        may(
            "app",
            Kind::List(&SCOPE_LIST),
            "For client_credentials, alone.",
        ),
    ],
};
