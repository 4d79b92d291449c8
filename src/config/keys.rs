//! The keys of the file: names, kinds and what they are for.

mod preset;
mod provider;

pub(super) use preset::PRESET;
pub(super) use provider::PROVIDER;

use super::choice::{Choice, TLS_SYNONYMS};
use super::egress::Leg;
use super::ehlo_name::EHLO_NAME;
use super::listener::{self, Auth};
use super::notify::{self};
use super::relay::{self, Delivery, Repair, Sender};
use super::shape::{Form, Key, Kind, Need, Table};
use super::{forms, limits};
use crate::input::words::{NoticeKind, TlsMode};
use crate::proto::Protocol;

const fn key(name: &'static str, need: Need, kind: Kind, doc: &'static str) -> Key {
    Key {
        name,
        need,
        kind,
        doc,
    }
}

const fn must(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    key(name, Need::Must, kind, doc)
}

const fn may(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    key(name, Need::May, kind, doc)
}

const fn text(form: &'static Form) -> Kind {
    Kind::Text(form)
}

static PROTOCOL: Choice = Choice::of::<Protocol>();
static LISTENER_TLS: Choice = Choice::of::<TlsMode>().hinting(TLS_SYNONYMS);
static EGRESS_FOR: Choice = Choice::of::<Leg>();
static DELIVERY: Choice = Choice::of::<Delivery>();
static AUTH: Choice = Choice::of::<Auth>();
static SENDER: Choice = Choice::of::<Sender>();
static REPAIR: Choice = Choice::of::<Repair>();
static NOTICES: Choice = Choice::of::<NoticeKind>();

/// The whole file.
pub(super) static FILE: Table = Table {
    what: "a configuration",
    keys: &[
        may(
            "state_dir",
            text(&forms::PATH),
            "Folder of everything the program writes; 0700, files 0600. Default \
             $STATE_DIRECTORY, else for /etc/mailsplice/proxy.yaml /var/lib/mailsplice, else \
             $XDG_STATE_HOME/mailsplice, else ~/.local/state/mailsplice.",
        ),
        may(
            "store_key",
            Kind::Secret,
            "Where the key lies that seals tokens at rest; made there on first use. Default \
             store.key in state_dir.",
        ),
        may(
            "tls",
            Kind::Table(&TLS),
            "The certificate that clients see.",
        ),
        may(
            "trust",
            Kind::Table(&TRUST),
            "Whom the program trusts upstream, beside the system's roots.",
        ),
        may(
            "egress",
            Kind::Table(&EGRESS),
            "The proxy that leads out of the network, for OAuth endpoints and mail servers. Default \
             none: mail goes directly, OAuth requests follow HTTPS_PROXY and similar variables.",
        ),
        may(
            "limits",
            Kind::Table(&LIMITS),
            "Bounds on everything that grows or waits.",
        ),
        may(
            "audit",
            Kind::Table(&AUDIT),
            "Where the audit log goes. Default: into the log, on stderr.",
        ),
        may(
            "notify",
            Kind::List(&Kind::Table(&NOTIFY)),
            "Who is told when an account needs somebody, or something is about to end. Default \
             nobody.",
        ),
        may(
            "notify_reminder",
            Kind::Limit(&notify::REMINDER),
            "How often something unresolved is told again. A duration, default 24h.",
        ),
        may(
            "relay",
            Kind::Table(&RELAY),
            "The queue of listeners with delivery: relay, and how it is worked off.",
        ),
        must(
            "listeners",
            Kind::List(&Kind::Table(&LISTENER)),
            "Where clients connect; at least one.",
        ),
        may(
            "providers",
            Kind::List(&Kind::Table(&PROVIDER)),
            "Where mail and tokens come from.",
        ),
        may(
            "accounts",
            Kind::List(&Kind::Table(&ACCOUNT)),
            "Who may log in.",
        ),
    ],
};

pub(super) static TLS: Table = Table {
    what: "tls",
    keys: &[
        may(
            "certificate",
            text(&forms::PATH),
            "PEM file with the certificate and its chain; when it and private_key are missing \
             on disk, a small local CA and a certificate are made. Default tls/localhost.pem in \
             state_dir.",
        ),
        may(
            "private_key",
            text(&forms::PATH),
            "PEM file with the certificate's key. Default tls/localhost.key in state_dir.",
        ),
        may(
            "names",
            Kind::OneOrMore(&Kind::Text(&forms::HOST)),
            "Host names and addresses of a certificate made by the program. Default localhost, \
             127.0.0.1, ::1.",
        ),
    ],
};

pub(super) static TRUST: Table = Table {
    what: "trust",
    keys: &[may(
        "extra_ca",
        text(&forms::PATH),
        "PEM file of certificate authorities added to the system's roots for upstream mail \
             and OAuth endpoints. Default none.",
    )],
};

pub(super) static EGRESS: Table = Table {
    what: "egress",
    keys: &[
        must(
            "proxy",
            text(&forms::PROXY),
            "Its URL: http://HOST:PORT (HTTP CONNECT) or socks5://HOST:PORT. It resolves the names \
             that are reached through it.",
        ),
        may(
            "username",
            text(&forms::PROXY_USER),
            "User name, with password; sent as HTTP Basic or as RFC 1929 says. Default none.",
        ),
        may(
            "password",
            Kind::Secret,
            "Where the password lies; read when first needed and again when it was refused. \
             Default none.",
        ),
        may(
            "no_proxy",
            Kind::OneOrMore(&Kind::Text(&forms::NO_PROXY)),
            "What is reached directly: names (with all below them), .names (only what is below), \
             addresses, networks. Loopback always is. Default none.",
        ),
        may(
            "for",
            Kind::OneOrMore(&Kind::Choice(&EGRESS_FOR)),
            "What goes through it: token (OAuth endpoints), mail (mail servers). Default both.",
        ),
    ],
};

pub(super) static AUDIT: Table = Table {
    what: "audit",
    keys: &[may(
        "file",
        text(&forms::PATH),
        "File to which each event is appended as one line of JSON, made with mode 0600 and opened \
         anew at a reload; its folder must be there. Default none: into the log.",
    )],
};

pub(super) static LIMITS: Table = Table {
    what: "limits",
    keys: limits::KEYS,
};

pub(super) static RELAY: Table = Table {
    what: "relay",
    keys: relay::KEYS,
};

pub(super) static NOTIFY: Table = Table {
    what: "an entry of notify",
    keys: &[
        may(
            "command",
            Kind::List(&Kind::Text(&forms::WORD)),
            "A program and its arguments, run without a shell: JSON on its standard input, \
             MAILSPLICE_… in its environment. Give this or webhook.",
        ),
        may(
            "webhook",
            text(&forms::WEBHOOK),
            "A URL that JSON is posted to; https, or http on loopback. Redirects are not followed.",
        ),
        may(
            "token",
            Kind::Secret,
            "Where a token lies that is sent to webhook as Authorization: Bearer. Default none.",
        ),
        may(
            "events",
            Kind::OneOrMore(&Kind::Choice(&NOTICES)),
            "Of what to tell: needs_sign_in, misconfigured, will_expire, recovered, revoked, \
             brute_force, mail_failed, mail_delayed. Default all.",
        ),
        may(
            "timeout",
            Kind::Limit(&notify::TIMEOUT),
            "Time for telling once. A duration, default 10s.",
        ),
    ],
};

pub(super) static LISTENER: Table = Table {
    what: "a listener",
    keys: &[
        must(
            "name",
            text(&forms::NAME),
            "Label in logs and metrics, unique, at most 64 bytes.",
        ),
        must(
            "protocol",
            Kind::Choice(&PROTOCOL),
            "What is spoken there: imap, pop3 or smtp (submission).",
        ),
        must(
            "bind",
            Kind::OneOrMore(&Kind::Text(&forms::BIND)),
            "Where to listen: an address with its port (127.0.0.1:1993, \"[::1]:1993\", \
             localhost:1993 for both loopbacks), or a list of them.",
        ),
        must(
            "tls",
            Kind::Choice(&LISTENER_TLS),
            "implicit (TLS from the first byte), starttls, or none (plain text; off loopback \
             only with allow_from).",
        ),
        may(
            "allow_from",
            Kind::OneOrMore(&Kind::Text(&forms::CIDR)),
            "Networks that may connect, as in 192.0.2.0/24, or single addresses. With login_as, over all \
             such listeners, at most 65,536 public addresses (IPv6: as many as a /44 has). Default: all that \
             reach the address.",
        ),
        may(
            "connections",
            Kind::Limit(&listener::CONNECTIONS),
            "Connections to this listener at a time; more are closed. A number, default: \
             limits.connections alone.",
        ),
        may(
            "proxy_protocol_from",
            Kind::OneOrMore(&Kind::Text(&forms::CIDR)),
            "Load balancers, as networks: their connections must begin with a PROXY protocol header \
             (version 1 or 2), which says who the client is. Over all listeners at most 65,536 public \
             addresses (IPv6: as many as a /44 has). Default none: such a header is an error.",
        ),
        may(
            "login_as",
            text(&forms::USER),
            "Account of devices that never log in; smtp only, with allow_from. Default none.",
        ),
        may(
            "auth",
            Kind::Choice(&AUTH),
            "offered or hidden (EHLO does not announce AUTH: some devices send without a login only \
             then); with login_as only. Default offered.",
        ),
        may(
            "ehlo_name",
            text(&EHLO_NAME),
            "Our name in the greeting and in answer to EHLO, a domain or an address in brackets; \
             smtp only. Default mailsplice.",
        ),
        may(
            "delivery",
            Kind::Choice(&DELIVERY),
            "splice (to the provider's server) or relay (into a durable queue, delivered from there); \
             smtp only. Default splice.",
        ),
        may(
            "sender",
            Kind::Choice(&SENDER),
            "With delivery: relay. keep (as the device says), rewrite (From and envelope become the \
             mailbox, what the device said becomes Reply-To) or refuse (any other than the mailbox and \
             allowed_from). Default keep.",
        ),
        may(
            "repair",
            Kind::Choice(&REPAIR),
            "With delivery: relay. headers (missing and broken header fields are mended) or transport \
             (only what SMTP can't carry is). Default headers.",
        ),
        may(
            "charset",
            text(&forms::CHARSET),
            "With delivery: relay. What raw 8-bit header fields are that are not UTF-8, as in \
             iso-8859-1, shift_jis. Default windows-1252.",
        ),
        may(
            "failure_notice_to",
            text(&forms::MAIL_ADDRESS),
            "With delivery: relay. Who gets a mail when a message can't be delivered. Default nobody: \
             notify alone is told.",
        ),
        may(
            "max_size",
            Kind::Limit(&relay::MAX_SIZE),
            "With delivery: relay. Size of a message. A size, default 35MiB.",
        ),
        may(
            "max_recipients",
            Kind::Limit(&relay::MAX_RECIPIENTS),
            "With delivery: relay. Recipients of a message. A number, default 100.",
        ),
        may(
            "device_messages_per_minute",
            Kind::Limit(&relay::DEVICE_MESSAGES),
            "With delivery: relay. Messages of one device (label of its password, else its address) in \
             a minute. A number, default: no bound of its own.",
        ),
        may(
            "allowed_from",
            Kind::OneOrMore(&Kind::Text(&forms::ADDRESSES)),
            "With delivery: relay. Senders that are taken: addresses, or domains. Default all.",
        ),
        may(
            "allowed_recipients",
            Kind::OneOrMore(&Kind::Text(&forms::ADDRESSES)),
            "With delivery: relay. Recipients that are taken: addresses, or domains. Default all.",
        ),
    ],
};

pub(super) static ACCOUNT: Table = Table {
    what: "an account",
    keys: &[
        must(
            "user",
            text(&forms::USER),
            "What the client sends as user name, matched without case; unique, at most 320 \
             bytes. \"*@contoso.com\" stands for every user of that domain without an account of \
             its own: each needs a device password, and the provider a flow without sign-in.",
        ),
        must(
            "provider",
            text(&forms::NAME),
            "Name of one of the providers.",
        ),
        may(
            "mailbox",
            text(&forms::USER),
            "Mailbox to open with IMAP and POP3, for a shared one. Default: user. Not with \
             \"*@domain\".",
        ),
        may(
            "smtp_user",
            text(&forms::USER),
            "User shown to the SMTP server. Default: user. Not with \"*@domain\".",
        ),
        may(
            "aliases",
            Kind::OneOrMore(&Kind::Text(&forms::USER)),
            "Further user names, for devices with short fields; each unique, without case. Not \
             with \"*@domain\".",
        ),
        may(
            "aliases_from",
            Kind::OneOrMore(&Kind::Text(&forms::CIDR)),
            "Networks from which aliases count. Default: all.",
        ),
    ],
};
