//! The keys of providers and their servers.

use super::{may, must, text};
use crate::config::choice::{Choice, TLS_SYNONYMS};
use crate::config::ehlo_name::EHLO_NAME;
use crate::config::forms;
use crate::config::model::PresetName;
use crate::config::shape::{Kind, Table};
use crate::input::words::{ClientAuth, Flow, TlsMode};
use crate::proto::sasl::Mechanism;

static UPSTREAM_TLS: Choice = Choice::of::<TlsMode>().hinting(TLS_SYNONYMS);
pub(super) static SASL: Choice = Choice::of::<Mechanism>();
static CLIENT_AUTH: Choice = Choice::of::<ClientAuth>();
static PRESET_NAME: Choice = Choice::of::<PresetName>().hinting(&[
    ("office365", "microsoft"),
    ("office-365", "microsoft"),
    ("o365", "microsoft"),
    ("m365", "microsoft"),
    ("microsoft365", "microsoft"),
    ("microsoft-365", "microsoft"),
    ("exchange", "microsoft"),
    ("outlook", "microsoft"),
    ("outlook.com", "microsoft"),
    ("hotmail", "microsoft"),
    ("azure", "microsoft"),
    ("entra", "microsoft"),
    ("gmail", "google"),
    ("gmail.com", "google"),
    ("googlemail", "google"),
    ("workspace", "google"),
]);
static FLOW: Choice = Choice::of::<Flow>().refusing(&[(
    "password",
    "passwords at the token endpoint are refused by providers and by this program: they show \
     the user's own password to every program and leave no room for a second factor (RFC 9700 \
     §2.4). For people use authorization_code (or device_code), for unattended access \
     client_credentials or, at Google, service_account; an app password, where the provider \
     still has them, works in the mail program without mailsplice",
)]);

pub(in crate::config) static PROVIDER: Table = Table {
    what: "a provider",
    keys: &[
        must(
            "name",
            text(&forms::NAME),
            "Name by which accounts refer to it, unique, at most 64 bytes.",
        ),
        must(
            "preset",
            Kind::Choice(&PRESET_NAME),
            "Fills in everything below but the client: microsoft, microsoft-gcc-high, \
             microsoft-dod, microsoft-china, google, yahoo, aol, fastmail, or custom, which \
             fills in nothing.",
        ),
        may(
            "tenant",
            text(&forms::TENANT),
            "Microsoft's tenant: a verified domain, an id, common, organizations or consumers; \
             put in place of {tenant} in the URLs. Default common; client_credentials needs a \
             domain or id.",
        ),
        may(
            "client_id",
            text(&forms::CLIENT_ID),
            "The OAuth client id of your app registration; needed with every flow but \
             service_account.",
        ),
        may(
            "client_secret",
            Kind::Secret,
            "Where the OAuth client secret lies. Default none: a public client.",
        ),
        may(
            "client_secret_expires",
            text(&forms::DATE),
            "The day on which client_secret ends, as in 2027-01-31: warned of 30, 14, 7, 3 and 1 \
             days before. Default not known.",
        ),
        may(
            "client_certificate",
            Kind::Table(&CLIENT_CERTIFICATE),
            "A certificate in place of client_secret: the program signs an assertion for each \
             token request (RFC 7523). Default none.",
        ),
        may(
            "service_account_key",
            Kind::Secret,
            "Where the JSON key of a Google service account lies; for flow service_account, its \
             token_uri must be token_url.",
        ),
        may(
            "flow",
            Kind::Choice(&FLOW),
            "How tokens are got: authorization_code (a browser, with PKCE), device_code, \
             client_credentials (no user), or service_account (Google, no user). Default \
             authorization_code.",
        ),
        may(
            "authorization_url",
            text(&forms::ENDPOINT),
            "Authorization endpoint. Default: the preset's.",
        ),
        may(
            "token_url",
            text(&forms::ENDPOINT),
            "Token endpoint. Default: the preset's.",
        ),
        may(
            "device_authorization_url",
            text(&forms::ENDPOINT),
            "Device authorization endpoint. Default: the preset's.",
        ),
        may(
            "revocation_url",
            text(&forms::ENDPOINT),
            "Revocation endpoint (RFC 7009). Default: the preset's; none when token_url is set.",
        ),
        may(
            "issuer",
            text(&forms::ISSUER),
            "The issuer that the provider names itself, compared exactly. Default: the \
             preset's; none when authorization_url or token_url is set.",
        ),
        may(
            "scopes",
            Kind::List(&Kind::Text(&forms::SCOPE)),
            "Scopes to ask for, taken as they are. Default: the least that the preset needs for \
             the protocols of the listeners.",
        ),
        may(
            "sasl",
            Kind::Choice(&SASL),
            "How a token is shown to the mail server: xoauth2 or oauthbearer. Default: the \
             preset's; custom: xoauth2.",
        ),
        may(
            "client_auth",
            Kind::Choice(&CLIENT_AUTH),
            "How the client authenticates at the token endpoint: body or basic. Default body.",
        ),
        may(
            "redirect_uri",
            text(&forms::REDIRECT),
            "Where the browser comes back to, on loopback; {port} stands for the port listened \
             on. Default: the preset's; custom: http://localhost:{port}/.",
        ),
        may(
            "authorization_params",
            Kind::Params(&forms::PARAMETER),
            "Further parameters of the authorization request, each a name with its text; they \
             take the place of the preset's of the same name.",
        ),
        may(
            "servers",
            Kind::Table(&SERVERS),
            "The mail servers. Default: the preset's.",
        ),
        may(
            "ehlo_name",
            text(&EHLO_NAME),
            "Our name in EHLO to the SMTP server, a domain or an address in brackets. Default \
             \"[127.0.0.1]\", which tells nothing of the network behind it.",
        ),
    ],
};

pub(in crate::config) static CLIENT_CERTIFICATE: Table = Table {
    what: "a client certificate",
    keys: &[
        must(
            "certificate",
            text(&forms::PATH),
            "PEM file with the certificate registered at the provider; read anew for each token \
             request.",
        ),
        must(
            "private_key",
            text(&forms::PATH),
            "PEM file with its key: RSA of 2048 bits or more, or EC on P-256; PKCS#8 (also \
             encrypted), PKCS#1 or SEC1.",
        ),
        may(
            "passphrase",
            Kind::Secret,
            "Where the passphrase of an encrypted key lies. Default none.",
        ),
    ],
};

pub(in crate::config) static SERVERS: Table = Table {
    what: "servers",
    keys: &[
        may("imap", Kind::Table(&SERVER), "The IMAP server."),
        may("pop3", Kind::Table(&SERVER), "The POP3 server."),
        may("smtp", Kind::Table(&SERVER), "The SMTP submission server."),
    ],
};

pub(in crate::config) static SERVER: Table = Table {
    what: "a server",
    keys: &[
        must(
            "address",
            text(&forms::ADDRESS),
            "Its host and port, as in \"imap.example.com:993\".",
        ),
        may(
            "tls",
            Kind::Choice(&UPSTREAM_TLS),
            "implicit, starttls, or none (loopback only). Default starttls on the ports 25, \
             110, 143 and 587, else implicit.",
        ),
    ],
};
