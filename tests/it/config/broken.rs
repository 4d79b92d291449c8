//! Broken files, each with all of its faults: line, place, and what the message is about.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mailsplice::config;

/// The place of a file in this folder.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(format!("{name}.yaml"))
}

/// Line (0: none), path, part of the message.
type Expected = (usize, &'static str, &'static str);

const TWICE: &str = "is given twice";
const NOT_YAML: &str = "not YAML";
const ALIAS: &str = "aliases (*) are not used here";
const ANCHOR: &str = "anchors (&) are not used here";
const CONTROL: &str = "holds a control character";
const COUNT: &str = "must be a whole number";
const IN_FILE: &str = "a secret must not stand in this file: move it out and write {file: PATH}";
const MISSING: &str = "is missing";
const BOUNDS: &str = "is out of bounds: at least ";
const TIME: &str = "must be a duration with its unit";
const TENANT: &str = "AADSTS9001023";
const STAR: &str = "a * stands for every user of one domain and nothing else: write it as";
const PLAIN: &str = "plain text off loopback";

#[rustfmt::skip]
const BROKEN: &[(&str, &[Expected])] = &[
    ("aliases", &[
        (1, "", ANCHOR), (2, "", ANCHOR), (2, "a", "unknown key"), (3, "", ANCHOR),
        (3, "", ALIAS), (3, "", ALIAS), (3, "", ALIAS), (3, "", ALIAS), (3, "b", "unknown key"),
        (5, "", "tags (!) are not used here"), (7, "", ALIAS),
    ]),
    ("catch-all", &[
        (5, "listeners[2].login_as", "must be one user"),
        (6, "listeners[3].login_as", "no account has this user"),
        (14, "accounts[2].user", "another account too (line 12)"),
        (15, "accounts[3].user", STAR), (16, "accounts[4].user", STAR), (17, "accounts[5].user", STAR),
        (18, "accounts[6].user", STAR), (19, "accounts[7].user", STAR), (20, "accounts[8].user", STAR),
        (21, "accounts[9].provider", "this one's flow is authorization_code"),
        (22, "accounts[10].provider", "this one's flow is device_code: use one with flow client_cred"),
        (23, "accounts[11].mailbox", "cannot be set for a whole domain"),
        (23, "accounts[11].smtp_user", "give the one user an account of its own"),
    ]),
    ("clients", &[
        (8, "providers[0].client_certificate", "takes the place of client_secret: leave one"),
        (10, "providers[1].client_certificate.private_key", MISSING),
        (11, "providers[2].client_certificate.passphrase", IN_FILE),
        (12, "providers[3].client_auth", "basic is for a client_secret"),
        (13, "providers[4].service_account_key", "is missing: flow service_account needs one"),
        (16, "providers[5].client_secret", "has no place with flow service_account"),
        (19, "providers[5].client_certificate", "has no place with flow service_account"),
        (20, "providers[6].service_account_key", "is for flow service_account only"),
        (21, "providers[7].client_id", "is missing: give the client id"),
        (22, "providers[8].service_account_key", IN_FILE),
    ]),
    ("comments-only", &[(0, "", "is empty: proxy.example.yaml shows")]),
    ("custom", &[
        (5, "providers[0].token_url", "is missing: preset custom fills in none"),
        (5, "providers[0].authorization_url", "is missing: flow authorization_code needs one"),
        (5, "providers[0].servers", "at least one of servers.imap"),
        (5, "providers[0].scopes", "is missing: preset custom fills in none"),
        (8, "providers[1].tenant", "is missing: token_url has a place for it"),
        (8, "providers[1].device_authorization_url", "is missing: flow device_code needs one"),
        (14, "providers[1].servers", "at least one of servers.imap"),
        (15, "providers[2].client_secret", "is missing: flow client_credentials needs one"),
        (15, "providers[2].scopes", MISSING),
        (21, "providers[2].servers.imap.address", MISSING),
    ]),
    ("documents", &[
        (3, "listeners", "is empty: nothing would be served"),
        (4, "", "a second document (---) begins here"),
    ]),
    ("duplicates", &[
        (5, "listeners[0].protocol", "is given twice; first on line 4"),
        (8, "listeners[1].name", "is the name of another listener too (line 3)"),
        (10, "listeners[1].bind", "are bound already (line 6)"),
        (14, "listeners[2].bind", "are bound already (line 6)"),
        (18, "providers[1].name", "is the name of another provider too (line 17)"),
        (21, "accounts[1].user", "another account too (line 20); case makes no difference"),
        (23, "accounts[3].user", "another account too (line 22)"),
        (24, "state_dir", TWICE),
    ]),
    ("empty-lists", &[(2, "listeners", "give at least one listener")]),
    ("endpoints", &[
        (8, "providers[0].authorization_url", "http:// is accepted on loopback only"),
        (9, "providers[0].token_url", "must not hold a user name or password"),
        (10, "providers[0].device_authorization_url", "is not a URL"),
        (11, "providers[0].revocation_url", "must begin with https://"),
        (12, "providers[0].issuer", "must not have a query or fragment"),
        (13, "providers[0].redirect_uri", "http:// is accepted on loopback only"),
        (16, "providers[0].servers.imap.tls", PLAIN),
        (22, "providers[1].redirect_uri", "must be a URL with a host"),
        (23, "providers[1].authorization_params", "must not set state"),
        (23, "providers[1].authorization_params", "must not set client_id"),
    ]),
    ("flows", &[
        (5, "providers[0].flow", "service_account is Google's: use client_credentials"),
        (6, "providers[1].flow", "passwords at the token endpoint are refused by providers and by this program: "),
        (7, "providers[2].tenant", TENANT),
        (7, "providers[2].client_secret", "is missing: flow client_credentials needs one"),
        (13, "providers[3].tenant", TENANT),
        (14, "providers[4].flow", "google's device flow does not give mail scopes"),
        (15, "providers[5].scopes", "preset google knows no access with client_credentials"),
        (16, "providers[6].device_authorization_url", "flow device_code needs one"),
        (20, "providers[7].flow", "must be one of authorization_code"),
        (22, "providers[7].tenant", "must be a tenant's verified domain"),
    ]),
    ("limits", &[
        (3, "limits.connections", BOUNDS), (4, "limits.waiting_connections", COUNT),
        (5, "limits.waiting_per_address", COUNT), (6, "limits.upstream_ahead", COUNT),
        (7, "limits.login_time", TIME), (8, "limits.idle", TIME),
        (9, "limits.stall", "at least 1s, at most 24h"), (10, "limits.drain", "at most 1h"),
        (11, "limits.connect_time", "at least 100ms, at most 5m"), (12, "limits.token_time", TIME),
        (13, "limits.line", "must be a size"), (14, "limits.literal", "at least 256, at most 1MiB"),
        (15, "limits.bad_commands", COUNT),
        (16, "limits.hash_parallel", BOUNDS), (17, "limits.wrong_passwords", "unknown key"),
        (18, "limits.forget_wrong_passwords", TIME),
        (19, "limits.wrong_passwords_per_account", "must be a whole number without quotes"),
    ]),
    ("missing", &[
        (2, "listeners[0].name", MISSING), (2, "listeners[0].protocol", MISSING),
        (2, "listeners[0].tls", MISSING), (4, "providers[0].preset", MISSING),
        (4, "providers[0].client_id", MISSING), (5, "providers[1].client_id", MISSING),
        (7, "providers[1].client_secret", "must say where the secret lies"),
        (9, "accounts[0].user", MISSING), (9, "accounts[0].provider", MISSING),
        (10, "accounts[1].provider", MISSING), (12, "accounts[2].user", "not nothing"),
    ]),
    ("not-a-map", &[(1, "", "must be a map with the keys of a configuration, not a list")]),
    ("notify", &[
        (3, "notify[0].command", "has neither command nor webhook"),
        (4, "notify[1].webhook", "has both command and webhook"),
        (5, "notify[2].command", "is an empty list"),
        (6, "notify[3].token", "belongs to webhook"),
        (7, "notify[4].webhook", "http:// is accepted on loopback only"),
        (8, "notify[5].events[0]", "did you mean needs_sign_in?"),
        (8, "notify[5].timeout", BOUNDS),
        (9, "notify[6].token", IN_FILE),
        (10, "notify[7].comand", "unknown key"),
        (10, "notify[7].command", "has neither command nor webhook"),
        (11, "notify[8].command", "must be a list"),
        (11, "notify[8].events", "is an empty list"),
        (12, "notify_reminder", TIME),
        (16, "providers[0].client_secret_expires", "must be a date as in 2027-01-31"),
    ]),
    ("nothing-listens", &[(1, "listeners", MISSING)]),
    ("paths", &[
        (1, "state_dir", "is empty"),
        (2, "tls.names[0]", "must be a host name"),
        (2, "tls.private_key", "is missing: it belongs to certificate"),
        (3, "trust.extra_ca", CONTROL),
        (4, "store_key.file", CONTROL),
    ]),
    ("plain-listeners", &[
        (4, "listeners[1].tls", PLAIN),
        (5, "listeners[2].tls", PLAIN),
        (7, "listeners[4].login_as", "name their networks in allow_from"),
        (8, "listeners[5].delivery", "is for protocol smtp only"),
        (9, "listeners[6].login_as", "is for protocol smtp only"),
    ]),
    ("references", &[
        (9, "listeners[1].login_as", "no account has this user"),
        (13, "accounts[0].provider", "no provider has this name (did you mean contoso?)"),
        (14, "accounts[1].provider", "no provider has this name: add it"),
    ]),
    ("secrets", &[
        (2, "store_key", IN_FILE),
        (6, "providers[0].client_secret", IN_FILE),
        (7, "providers[1].client_secret", "has an unknown key"),
        (8, "providers[2].client_secret", "has an unknown key"),
        (9, "providers[3].client_secret", "must have exactly one key"),
        (10, "providers[4].client_secret.credential", "is a plain file name without /"),
        (11, "providers[5].client_secret.command", "must be a list: [PROGRAM"),
        (12, "providers[6].client_secret.command", "must be a list: [PROGRAM"),
        (13, "providers[7].client_secret.env", "a variable's name has no ="),
        (14, "providers[8].client_secret.file", "is empty"),
        (15, "providers[9].client_secret.file", "must be a name or path, not a list"),
        (16, "providers[10].client_secret", "must say where the secret lies: {file: PATH}"),
    ]),
    ("syntax", &[(5, "", "column 27: not YAML")]),
    ("tabs", &[(3, "", NOT_YAML)]),
    ("types", &[
        (1, "state_dir", "must be a path, not a list"),
        (2, "store_key", "must say where the secret lies"),
        (3, "tls", "must be a map with the keys of tls, not a single value"),
        (4, "trust.extra_ca", "must be a path, not a map"),
        (7, "listeners[0].protocol", "must be one of imap, pop3, smtp, not a list"),
        (8, "listeners[0].bind", "must be an address and port, not a map"),
        (10, "listeners[0].allow_from", "is an empty list"),
        (11, "listeners[1]", "must be a map with the keys of a listener, not a single value"),
        (12, "providers", "must be a list, not a map"),
        (14, "limits", "must be a map with the keys of limits, not a list"),
    ]),
    ("unknown-keys", &[
        (1, "stat_dir", "unknown key (did you mean state_dir?)"),
        (7, "listeners[0].tls_mode", "unknown key"),
        (11, "providers[0].clientId", "unknown key (did you mean client_id?)"),
        (14, "providers[0].servers.imaps", "unknown key (did you mean imap?)"),
        (18, "accounts[0].password", "unknown key"),
        (19, "accounts[0]", "unknown key (not shown"),
        (21, "limits.elephants", "unknown key"),
    ]),
    ("values", &[
        (4, "listeners[0].protocol", "must be one of imap, pop3, smtp (did you mean imap?)"),
        (5, "listeners[0].bind", "must be an address and port: 127.0.0.1:1993"),
        (6, "listeners[0].tls", "must be one of implicit, starttls, none"),
        (7, "listeners[0].allow_from[0]", "192.0.2.7/24 has host bits: write 192.0.2.0/24 for the network or 192.0.2.7"),
        (7, "listeners[0].allow_from[1]", "must be a network as in 192.0.2.0/24"),
        (10, "listeners[1].bind[1]", "must be an address and port"),
        (11, "listeners[1].tls", "(did you mean starttls?)"),
        (14, "providers[0].preset", "must be one of microsoft, microsoft-gcc-high, "),
        (15, "providers[0].client_id", "is empty"),
        (16, "providers[0].flow", "must be one of authorization_code, device_code, client_cred"),
        (17, "providers[0].sasl", "must be one of xoauth2, oauthbearer"),
        (18, "providers[0].client_auth", "must be one of body, basic"),
        (19, "providers[0].scopes[0]", "must be one scope without spaces"),
        (20, "providers[0].tenant", "must be a tenant's verified domain or id"),
        (22, "providers[0].servers.imap.address", "must be host:port"),
        (22, "providers[0].servers.imap.tls", "must be one of implicit, starttls, none"),
        (24, "accounts[0].user", "is empty"),
        (26, "accounts[1].user", CONTROL),
        (28, "accounts[2].user", CONTROL),
        (30, "accounts[2].mailbox", CONTROL),
    ]),
];

#[test]
fn each_file_has_all_of_its_faults_reported_at_once() {
    for (name, expected) in BROKEN {
        let faults = config::load(&fixture(name)).unwrap_err().faults;
        let shown: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let shown = shown.join("\n");
        assert_eq!(faults.len(), expected.len(), "{name}:\n{shown}");
        for (fault, (line, path, phrase)) in faults.iter().zip(*expected) {
            assert_eq!(
                (fault.line.unwrap_or(0), fault.path.as_str()),
                (*line, *path),
                "{name}"
            );
            assert!(fault.message.contains(phrase), "{name}: {fault} / {phrase}");
        }
        assert!(!shown.contains("hunter"), "{name}:\n{shown}");
    }
}

#[test]
fn every_broken_file_is_looked_at() {
    let folder = fixture("any");
    let files = fs::read_dir(folder.parent().unwrap()).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let names: BTreeSet<_> = files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let known: BTreeSet<_> = BROKEN.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, known);
}
