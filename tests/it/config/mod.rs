//! The configuration from outside: the example, what is filled in, files of every kind.
//! Its further rooms: broken files with all their faults, and arbitrary text.

mod broken;
mod presets;
mod schema;
mod secrets;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mailsplice::config::{
    self, Config, Fault, Limits, Loaded, NotifyTarget, SecretSource, TlsMode,
};
use mailsplice::proto::Protocol;

const EXAMPLE: &str = include_str!("../../../proxy.example.yaml");

/// Parses a text that lies in /etc/mailsplice.
fn parse(text: &str) -> Loaded {
    config::parse(text, Path::new("/etc/mailsplice")).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The faults of a text as an operator sees them.
fn faults(text: &str) -> Vec<String> {
    let faults = config::parse(text, Path::new("/etc/mailsplice"))
        .unwrap_err()
        .faults;
    faults.iter().map(Fault::to_string).collect()
}

/// The example with everything switched on that is switched off in it.
fn full_example() -> String {
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        let words = line.trim_start();
        let indent = &line[..line.len() - words.len()];
        let switched_off = |rest: &&str| !rest.starts_with(' ') || rest.starts_with("  ");
        match words
            .strip_prefix('#')
            .filter(|rest| !rest.is_empty())
            .filter(switched_off)
        {
            Some(rest) => text.extend([indent, rest, "\n"]),
            None => text.extend([line, "\n"]),
        }
    }
    text
}

/// A whole configuration with one provider as given.
fn with_provider(provider: &str) -> String {
    format!(
        "state_dir: /state\n\
         listeners:\n\
         - {{ name: imap, protocol: imap, bind: 127.0.0.1:1993, tls: implicit }}\n\
         providers:\n\
         - {{ name: p, client_id: c, {provider} }}\n\
         accounts:\n\
         - {{ user: alice@example.com, provider: p }}\n"
    )
}

#[test]
fn the_example_is_without_fault_and_doubt() {
    let Loaded { config, warnings } = parse(EXAMPLE);
    assert_eq!(warnings, []);
    check_example(&config);
    assert_eq!(config.listeners.len(), 1);
    assert!(config.listeners[0].allow_from.is_empty());
    assert_eq!(config.trust.extra_ca, None);
    assert_eq!(config.providers[0].client_secret, None);
    assert_eq!(config.accounts[0].mailbox, "alice@contoso.com");
}

#[test]
fn the_example_with_everything_switched_on_is_without_fault() {
    let Loaded { config, warnings } = parse(&full_example());
    let paths: Vec<_> = warnings
        .iter()
        .map(|warning| warning.path.as_str())
        .collect();
    assert!(paths.is_empty(), "{warnings:?}");
    check_example(&config);
    let scanners = &config.listeners[1];
    assert_eq!(
        (scanners.protocol, scanners.tls),
        (Protocol::Smtp, TlsMode::None)
    );
    assert_eq!(scanners.login_as.as_deref(), Some("alice@contoso.com"));
    let intake = scanners.intake.as_ref().unwrap();
    assert_eq!(intake.sender, config::Sender::Rewrite);
    assert_eq!(intake.charset.name(), "windows-1252");
    assert_eq!(config.relay.retry.len(), 6);
    assert_eq!(
        config.trust.extra_ca,
        Some(PathBuf::from("/etc/mailsplice/certs/private-ca.pem"))
    );
    let [command, webhook] = config.notify.as_slice() else {
        panic!("{:?}", config.notify)
    };
    let argv = ["/usr/local/bin/tell-admin", "--urgent"].map(str::to_owned);
    assert_eq!(command.target, NotifyTarget::Command(argv.to_vec()));
    assert_eq!(
        command
            .events
            .iter()
            .map(|event| event.as_str())
            .collect::<Vec<_>>(),
        ["needs_sign_in", "misconfigured", "will_expire"]
    );
    assert_eq!(command.timeout, Duration::from_secs(10));
    let token = PathBuf::from("/etc/mailsplice/secrets/webhook");
    let url = "https://hooks.example.org/mailsplice".parse().unwrap();
    let token = Some(SecretSource::File(token));
    assert_eq!(webhook.target, NotifyTarget::Webhook { url, token });
    assert!(webhook.events.is_empty(), "all");
    assert!(!format!("{config:?}").contains("org/mailsplice"));
    assert_eq!(config.notify_reminder, Duration::from_secs(86_400));
    assert_eq!(
        config.providers[0].client_secret_expires,
        Some(1_801_353_600)
    );
    let provider = &config.providers[0];
    let secret = PathBuf::from("/etc/mailsplice/secrets/contoso");
    assert_eq!(provider.client_secret, Some(SecretSource::File(secret)));
    assert_eq!(provider.authorization_params["prompt"], "select_account");
    assert_eq!(
        provider.issuer.as_deref(),
        Some("https://login.example.com")
    );
    assert_eq!(config.accounts[0].mailbox, "shared@contoso.com");
    let tickets = config.providers[1].client_certificate.as_ref().unwrap();
    let place = Path::new("/etc/mailsplice/certs");
    assert_eq!(tickets.certificate, place.join("tickets.pem"));
    assert_eq!(tickets.private_key, place.join("tickets.key"));
    assert!(tickets.passphrase.is_some());
    let workspace = &config.providers[2];
    assert_eq!(workspace.flow, config::Flow::ServiceAccount);
    assert_eq!(workspace.scopes, ["https://mail.google.com/"]);
    assert!(workspace.service_account_key.is_some());
}

/// What both forms of the example have in common.
fn check_example(config: &Config) {
    assert_eq!(config.state_dir, Path::new("/etc/mailsplice/./state"));
    assert_eq!(config.tls.names, ["localhost", "127.0.0.1", "::1"]);
    assert_eq!(
        config.tls.certificate,
        Path::new("/etc/mailsplice/certs/localhost.pem")
    );
    assert_eq!(config.limits, Limits::default());
    let imap = &config.listeners[0];
    assert_eq!(
        (imap.name.as_str(), imap.protocol),
        ("imap", Protocol::Imap)
    );
    assert_eq!(imap.bind, ["127.0.0.1:1993".parse().unwrap()]);
    assert_eq!(imap.tls, TlsMode::Implicit);
    let provider = &config.providers[0];
    assert_eq!(
        provider.token_url.as_str(),
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"
    );
    let smtp = provider.servers.of(Protocol::Smtp).as_ref().unwrap();
    assert_eq!((smtp.host.as_str(), smtp.port), ("smtp.office365.com", 587));
    assert_eq!(smtp.tls, TlsMode::StartTls);
    let account = &config.accounts[0];
    assert_eq!(
        (account.user.as_str(), account.provider),
        ("alice@contoso.com", 0)
    );
    assert_eq!(account.smtp_user, "alice@contoso.com");
}

#[test]
fn every_key_is_in_the_example_with_words_above_it() {
    let full = full_example();
    let limits = config::schema()["properties"]["limits"]["properties"].clone();
    for name in limits.as_object().unwrap().keys() {
        let key = format!("  {name}: ");
        let at = full
            .lines()
            .position(|line| line.starts_with(&key))
            .expect(name);
        let above = full.lines().nth(at - 1).unwrap();
        assert!(above.trim_start().starts_with("# "), "{name}: {above}");
    }
}

#[test]
fn what_a_file_leaves_out_is_filled_in() {
    let text = with_provider("preset: microsoft") + "limits: { idle: 29m, line: 4096 }\ntls:\n";
    let Loaded { config, warnings } = parse(&text);
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        (warnings[0].line, warnings[0].path.as_str()),
        (Some(8), "limits.idle")
    );
    assert_eq!(
        config.store_key,
        SecretSource::File(PathBuf::from("/state/store.key"))
    );
    assert_eq!(
        config.tls.private_key,
        Path::new("/state/tls/localhost.key")
    );
    assert_eq!(config.limits.idle, Duration::from_secs(29 * 60));
    assert_eq!(config.limits.line, 4096);
    assert_eq!(config.limits.literal, 8192);
}

#[test]
fn accounts_are_matched_without_case_and_kept_as_written() {
    let text = with_provider("preset: fastmail") + "- { user: Änne@Example.com, provider: p }\n";
    let config = parse(&text).config;
    let anne = &config.accounts[1];
    assert_eq!(
        (anne.user.as_str(), anne.key.as_str()),
        ("Änne@Example.com", "änne@example.com")
    );
    assert_eq!(anne.mailbox, "Änne@Example.com");
}

#[test]
fn doubts_are_no_faults() {
    let text = "state_dir: /state\n\
                listeners:\n\
                - { name: i, protocol: imap, bind: 127.0.0.1:1993, tls: implicit }\n\
                - { name: p, protocol: pop3, bind: 127.0.0.1:1995, tls: implicit }\n\
                - { name: s, protocol: smtp, bind: 127.0.0.1:1587, tls: none, login_as: A@b.c }\n\
                providers:\n\
                - name: g\n\
                \x20 preset: google\n\
                \x20 client_id: c\n\
                \x20 tenant: contoso.com\n\
                - name: m\n\
                \x20 preset: microsoft\n\
                \x20 client_id: c\n\
                \x20 scopes: [\"https://outlook.office.com/IMAP.AccessAsUser.All\"]\n\
                - name: y\n\
                \x20 preset: yahoo\n\
                \x20 client_id: c\n\
                - name: c\n\
                \x20 preset: custom\n\
                \x20 client_id: c\n\
                \x20 authorization_url: http://[::1]:81/a\n\
                \x20 token_url: http://[::1]:81/t\n\
                \x20 scopes: []\n\
                \x20 servers: { imap: { address: \"[::1]:143\", tls: none } }\n\
                accounts:\n\
                - { user: a@B.c, provider: c }\n\
                - { user: b@b.c, provider: c }\n";
    let warnings = parse(text).warnings;
    let found: Vec<_> = warnings
        .iter()
        .map(|warning| (warning.line.unwrap(), warning.path.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (5, "listeners[2].login_as"),
            (7, "providers[0].client_secret"),
            (10, "providers[0].tenant"),
            (14, "providers[1].scopes"),
            (15, "providers[2].redirect_uri"),
            (26, "accounts[0].provider"),
            (26, "accounts[0].provider"),
        ]
    );
}

#[test]
fn without_accounts_and_providers_there_is_only_doubt() {
    let text = "state_dir: /state\n\
                listeners:\n\
                - { name: i, protocol: imap, bind: 127.0.0.1:1993, tls: implicit }\n";
    for more in [
        "",
        "providers: []\naccounts: []\n",
        "providers:\naccounts:\n",
    ] {
        let warnings = parse(&format!("{text}{more}")).warnings;
        let mut paths: Vec<_> = warnings
            .iter()
            .map(|warning| warning.path.as_str())
            .collect();
        paths.sort_unstable();
        assert_eq!(paths, ["accounts", "providers"]);
    }
}

#[test]
fn a_programs_path_is_relative_to_the_file_and_its_name_is_not() {
    let command = |argv: &str| {
        let secret = format!("preset: fastmail, client_secret: {{ command: {argv} }}");
        parse(&with_provider(&secret)).config.providers[0]
            .client_secret
            .clone()
            .unwrap()
    };
    let words = |words: &[&str]| {
        SecretSource::Command(words.iter().map(|word| (*word).to_owned()).collect())
    };
    assert_eq!(
        command("[pass, show, a/b]"),
        words(&["pass", "show", "a/b"])
    );
    assert_eq!(
        command("[bin/secret]"),
        words(&["/etc/mailsplice/bin/secret"])
    );
    assert_eq!(command("[/bin/secret]"), words(&["/bin/secret"]));
}

#[test]
fn marks_and_line_ends_of_other_systems_are_read() {
    let text = format!("\u{feff}{}", EXAMPLE.replace('\n', "\r\n"));
    check_example(&parse(&text).config);
    let broken = format!(
        "\u{feff}{}",
        EXAMPLE.replace("flow:", "flo:").replace('\n', "\r\n")
    );
    let line = EXAMPLE
        .lines()
        .position(|line| line.contains("flow:"))
        .unwrap()
        + 1;
    let path = "providers[0].flo";
    assert_eq!(
        faults(&broken),
        [format!(
            "line {line}: {path}: unknown key (did you mean flow?)"
        )]
    );
}

#[test]
fn a_file_is_named_in_front_of_each_of_its_faults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.yaml");
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let message = config::load(&path).unwrap_err().to_string();
        let name = format!("{}: ", path.display());
        let lines = message.lines();
        lines
            .map(|line| line.strip_prefix(&name).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(load(b"a: 1\nlisteners: []\n").len(), 2);
    assert_eq!(
        load(b"state_dir: a\n# caf\xe9\n"),
        ["line 2: is not UTF-8 text here: save the file as UTF-8"]
    );
    assert!(load(b"")[0].starts_with("is empty"));
    assert!(load(&vec![b'#'; (1 << 20) + 1])[0].contains("1 MiB"));
    fs::remove_file(&path).unwrap();
    let missing = config::load(&path).unwrap_err().to_string();
    assert!(missing.contains("proxy.yaml: can't be read: "), "{missing}");
    assert!(config::load(folder.path()).is_err());
}

#[test]
fn a_file_is_read_from_its_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.yaml");
    fs::write(&path, EXAMPLE).unwrap();
    let config = config::load(&path).unwrap().config;
    assert_eq!(config.file, path);
    assert_eq!(
        config.tls.certificate,
        folder.path().join("certs/localhost.pem")
    );
}

#[test]
fn a_large_file_is_read() {
    let mut text = with_provider("preset: fastmail");
    for number in 0..10_000 {
        text.push_str(&format!(
            "- {{ user: user{number}@example.com, provider: p }}\n"
        ));
    }
    assert_eq!(parse(&text).config.accounts.len(), 10_001);
}

#[test]
fn a_short_name_leads_to_one_account() {
    let provider = "preset: google, client_secret: { file: s }";
    let with = |aliases: &str, more: &str| {
        let account = "- { user: alice@example.com, provider: p";
        with_provider(provider).replace(account, &format!("{account}, {aliases}")) + more
    };
    let bob = "- { user: Bob, provider: p, aliases: hall }\n";
    let config = parse(&with(
        "aliases: [Scan, HALL2], aliases_from: 10.0.0.0/8",
        bob,
    ))
    .config;
    assert_eq!(config.accounts[0].aliases, ["scan", "hall2"]);
    for (aliases, words) in [
        ("aliases: [bob]", "is the name of another account"),
        ("aliases: [hall]", "given already (line 7)"),
        ("aliases: [a, A]", "given already (line 7)"),
        ("aliases: ['*@example.org']", "must be one name"),
        (
            "aliases: [alice@example.com]",
            "is the name of another account",
        ),
    ] {
        let faults = faults(&with(aliases, bob));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains(words), "{faults:?}");
    }
}

#[test]
fn the_queue_and_what_goes_into_it() {
    let with = |section: &str, listener: &str| {
        let listener = format!(
            "{section}listeners:\n\
             - {{ name: s, protocol: smtp, bind: 127.0.0.1:2525, tls: none, {listener} }}\n"
        );
        let text = with_provider("preset: google, client_secret: { file: s }");
        text.replace("listeners:\n", &listener)
    };
    let config = parse(&with("", "delivery: relay")).config;
    let relay = &config.relay;
    assert_eq!(relay.spool_dir, PathBuf::from("/state/spool"));
    let minutes: Vec<_> = relay
        .retry
        .iter()
        .map(|pause| pause.as_secs() / 60)
        .collect();
    assert_eq!(minutes, [1, 5, 15, 30, 60, 120]);
    assert_eq!(relay.give_up_after, Duration::from_secs(5 * 86_400));
    let mailbox = (
        relay.messages_per_minute,
        relay.sessions,
        relay.recipients_per_day,
    );
    assert_eq!(mailbox, (25, 3, 10_000));
    let room = (relay.max_messages, relay.max_bytes, relay.reserve);
    assert_eq!(room, (20_000, 2 << 30, 64 << 20));
    let intake = config.listeners[0].intake.as_ref().unwrap();
    assert_eq!(
        (intake.sender, intake.repair),
        (config::Sender::Keep, config::Repair::Headers)
    );
    assert_eq!((intake.max_size, intake.max_recipients), (35 << 20, 100));
    assert_eq!(
        (intake.charset.name(), &intake.failure_notice_to),
        ("windows-1252", &None)
    );
    assert!(config.listeners[1].intake.is_none());

    let given =
        "relay: { spool_dir: queue, retry: [10s, 1d], give_up_after: 2d, max_bytes: 3GiB }\n";
    let all = "delivery: relay, sender: refuse, repair: transport, charset: shift_jis, \
               failure_notice_to: it@contoso.com, max_size: 1MiB, max_recipients: 5, \
               device_messages_per_minute: 60, allowed_from: [Contoso.com], \
               allowed_recipients: a@b.example";
    let config = parse(&with(given, all)).config;
    assert!(config.relay.spool_dir.ends_with("queue"));
    let pauses: Vec<_> = config.relay.retry.iter().map(Duration::as_secs).collect();
    assert_eq!(
        (pauses, config.relay.max_bytes),
        (vec![10, 86_400], 3 << 30)
    );
    let intake = config.listeners[0].intake.as_ref().unwrap();
    assert_eq!(intake.device_messages_per_minute, Some(60));
    assert_eq!(intake.failure_notice_to.as_deref(), Some("it@contoso.com"));
    assert_eq!(
        (intake.allowed_from.len(), intake.allowed_recipients.len()),
        (1, 1)
    );

    for (listener, words) in [
        ("sender: rewrite", "is for delivery: relay only"),
        (
            "delivery: splice, max_size: 1MiB",
            "is for delivery: relay only",
        ),
        ("delivery: relay, charset: klingon", "is no character set"),
        (
            "delivery: relay, failure_notice_to: it",
            "must be a mail address",
        ),
        (
            "delivery: relay, allowed_from: '*@contoso.com'",
            "takes no *: write contoso.com for all of a domain",
        ),
        (
            "delivery: relay, allowed_recipients: contoso",
            "must be a mail address or a domain",
        ),
        ("delivery: relay, max_size: 2GiB", "is out of bounds"),
    ] {
        let faults = faults(&with("", listener));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains(words), "{faults:?}");
    }
}

#[test]
fn a_queue_that_anybody_could_send_through_is_warned_of() {
    let with = |network: &str, more: &str| {
        let listener = format!(
            "- {{ name: s, protocol: smtp, bind: '127.0.0.1:2525', tls: none, delivery: relay, \
             login_as: alice@example.com, allow_from: {network}{more} }}\nproviders:\n"
        );
        let text = with_provider("preset: google, client_secret: { file: s }");
        let warnings = parse(&text.replace("providers:\n", &listener)).warnings;
        let told = |one: &&Fault| one.message.contains("can send mail to anybody");
        warnings.iter().filter(told).count()
    };
    assert_eq!(with("8.8.8.0/24", ""), 1);
    assert_eq!(with("8.8.8.0/24", ", allowed_recipients: example.com"), 0);
    assert_eq!(with("10.0.0.0/8", ""), 0);
}

#[test]
fn no_listener_is_an_open_relay() {
    let text = with_provider("preset: google, client_secret: { file: s }");
    let with = |bind: &str, more: &str| {
        let listener = format!(
            "- {{ name: s, protocol: smtp, bind: '{bind}', tls: none, login_as: alice@example.com{more} }}\nproviders:\n"
        );
        text.replace("providers:\n", &listener)
    };
    for (bind, more, key) in [
        ("192.0.2.1:25", "", "login_as"),
        ("192.0.2.1:25", ", allow_from: 0.0.0.0/0", "allow_from"),
        (
            "192.0.2.1:25",
            ", allow_from: [192.0.2.0/24, 128.0.0.0/1]",
            "allow_from",
        ),
        ("[2001:db8::1]:25", ", allow_from: '::/0'", "allow_from"),
        ("192.0.2.1:25", ", allow_from: 5.0.0.0/8", "allow_from"),
        (
            "192.0.2.1:25",
            ", allow_from: [5.5.0.0/16, 9.9.9.0/24]",
            "allow_from",
        ),
        ("127.0.0.1:2525", ", allow_from: 0.0.0.0/4", "allow_from"),
        (
            "127.0.0.1:2525",
            ", proxy_protocol_from: 127.0.0.1",
            "login_as",
        ),
        (
            "192.0.2.1:25",
            ", allow_from: 192.0.2.0/24, proxy_protocol_from: 0.0.0.0/0",
            "proxy_protocol_from",
        ),
    ] {
        let faults = faults(&with(bind, more));
        let path = format!("listeners[1].{key}");
        assert!(
            faults.iter().any(|fault| fault.contains(&path)),
            "{more}: {faults:?}"
        );
    }
    let good =
        ", allow_from: [192.0.2.0/24, 10.0.0.0/8, 'fd00::/8'], proxy_protocol_from: 192.0.2.9";
    parse(&with("192.0.2.1:25", good));
}

#[test]
fn the_internet_in_pieces_is_the_internet() {
    let text = with_provider("preset: google, client_secret: { file: s }");
    let with = |listeners: &str| text.replace("providers:\n", &format!("{listeners}providers:\n"));
    let pieces: Vec<_> = (0..=255).map(|first| format!("{first}.0.0.0/8")).collect();
    let one = |name: &str, from: &str| {
        format!(
            "- {{ name: {name}, protocol: smtp, bind: 192.0.2.1:{}, tls: implicit, \
             login_as: alice@example.com, allow_from: [{from}] }}\n",
            name.len() + 2525
        )
    };
    let all = faults(&with(&one("a", &pieces.join(", "))));
    assert!(all.len() > 200, "{all:?}");
    assert!(
        all[0].contains("is no site's network, but a piece of the internet"),
        "{all:?}"
    );
    // Each listener alone is small enough.
    let halves = one("a", "5.5.0.0/17, 5.5.0.0/16") + &one("aa", "5.6.0.0/17");
    let both = faults(&with(&halves));
    assert_eq!(both.len(), 1, "{both:?}");
    assert!(
        both[0].contains("listeners[2].allow_from: with 5.6.0.0/17 the networks"),
        "{both:?}"
    );
    assert!(both[0].contains("65,536 public addresses"), "{both:?}");
    // One site, however often it is named.
    parse(&with(
        &(one("a", "5.5.0.0/16, 10.0.0.0/8") + &one("aa", "5.5.128.0/17")),
    ));
}

#[test]
fn plain_text_from_everywhere_is_said() {
    let text = with_provider("preset: google, client_secret: { file: s }");
    for (bind, tls, from, said) in [
        ("192.0.2.1:143", "none", "0.0.0.0/0", true),
        ("192.0.2.1:143", "none", "[0.0.0.0/1, 128.0.0.0/1]", true),
        ("192.0.2.1:143", "none", "[5.5.0.0/16, 5.6.0.0/16]", true),
        ("192.0.2.1:143", "none", "'::/0'", true),
        ("192.0.2.1:143", "none", "[5.5.0.0/16, 10.0.0.0/8]", false),
        ("192.0.2.1:143", "starttls", "0.0.0.0/0", false),
        ("127.0.0.1:1143", "none", "0.0.0.0/0", false),
    ] {
        let listener = format!(
            "- {{ name: s, protocol: imap, bind: '{bind}', tls: {tls}, allow_from: {from} }}\nproviders:\n"
        );
        let warnings = parse(&text.replace("providers:\n", &listener)).warnings;
        let plain = |one: &Fault| {
            one.path == "listeners[1].allow_from" && one.message.contains("plain text")
        };
        assert_eq!(warnings.iter().any(plain), said, "{from}: {warnings:?}");
    }
}

#[test]
fn a_balancer_among_the_clients_is_said() {
    let text = with_provider("preset: google, client_secret: { file: s }");
    for (login, aliases, from, balancers, said) in [
        (true, false, "192.0.2.0/24", "192.0.2.9", true),
        (
            true,
            false,
            "[198.51.100.1, 192.0.2.9]",
            "192.0.2.0/24",
            true,
        ),
        (true, false, "'::ffff:192.0.2.9'", "192.0.2.0/24", true),
        (true, false, "192.0.2.0/24", "198.51.100.9", false),
        (true, false, "192.0.2.0/24", "'2001:db8::9'", false),
        (false, false, "192.0.2.0/24", "192.0.2.9", false),
        (false, true, "192.0.2.0/24", "192.0.2.9", true),
    ] {
        let login = if login {
            ", login_as: alice@example.com"
        } else {
            ""
        };
        let listener = format!(
            "- {{ name: s, protocol: smtp, bind: '192.0.2.1:25', tls: none{login}, allow_from: {from}, \
             proxy_protocol_from: {balancers} }}\nproviders:\n"
        );
        let account = "- { user: alice@example.com, provider: p";
        let bound = format!("{account}, aliases: a, aliases_from: 10.0.0.0/8");
        let mut text = text.replace("providers:\n", &listener);
        if aliases {
            text = text.replace(account, &bound);
        }
        let warnings = parse(&text).warnings;
        let covers = |one: &Fault| {
            one.path == "listeners[1].allow_from" && one.message.contains("covers a load balancer")
        };
        assert_eq!(
            warnings.iter().any(covers),
            said,
            "{from} {balancers}: {warnings:?}"
        );
    }
}

#[test]
fn what_nobody_sees_is_named_by_place_and_code() {
    let text = with_provider("preset: microsoft, tenant: contoso.com, client_secret: { file: s }");
    for (from, to, fault) in [
        (
            "client_id: c",
            "client_id: \"c\u{200b}\"",
            "line 5: providers[0].client_id: character 2: U+200B ZERO WIDTH SPACE, which cannot be seen: take \
             it out",
        ),
        (
            "contoso.com",
            "\u{a0}contoso.com",
            "line 5: providers[0].tenant: character 1: U+00A0 NO-BREAK SPACE, which looks like a space",
        ),
        (
            "contoso.com",
            "contoso\u{200d}.com",
            "providers[0].tenant: character 8: U+200D",
        ),
        (
            "client_id: c",
            "client_id: \u{201c}c\u{201d}",
            "client_id: character 1: U+201C LEFT DOUBLE",
        ),
        (
            "tls: implicit",
            "tls: implicit\u{a0}",
            "listeners[0].tls: character 9: U+00A0",
        ),
        (
            "127.0.0.1",
            "\u{2060}127.0.0.1",
            "listeners[0].bind: character 1: U+2060 WORD JOINER",
        ),
        (
            "file: s",
            "file: s\u{2064}",
            "client_secret.file: character 2: U+2064",
        ),
        (
            "name: p",
            "name: p\u{200c}",
            "providers[0].name: character 2: U+200C",
        ),
        (
            "preset: microsoft",
            "preset: custom, token_url: \"https://login.example.com/\u{200b}token\"",
            "providers[0].token_url: character 27: U+200B",
        ),
        (
            "tenant:",
            "\u{200b}tenant:",
            "providers[0]: a key holds character 1: U+200B",
        ),
        (
            "- { name: imap",
            "-\u{a0}{ name: imap",
            "line 3: character 2: U+00A0 NO-BREAK SPACE",
        ),
        (
            "listeners:\n- ",
            "listeners:\n\u{a0}- ",
            "line 3: character 1: U+00A0 NO-BREAK SPACE",
        ),
        (
            "state_dir: ",
            "state_dir:\u{a0}",
            "line 1: character 11: U+00A0 NO-BREAK SPACE",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let all = faults(&text.replace(from, to));
        assert!(all.iter().any(|one| one.contains(fault)), "{to:?}: {all:?}");
    }
    // Of folders and people such marks may be the names.
    parse(&text.replace("/state", "/home/alice\u{2019}s"));
    parse(&format!("\u{feff}# \u{a0}a comment\n{text}"));
}

#[test]
fn blanks_where_none_belongs_are_named() {
    let text = with_provider("preset: microsoft, tenant: contoso.com, client_secret: { file: s }");
    for (from, to, fault) in [
        (
            "client_id: c",
            "client_id: 'c '",
            "line 5: providers[0].client_id: has a blank at its end: take it out",
        ),
        (
            "client_id: c",
            "client_id: ' c'",
            "client_id: has a blank at its beginning: take it out",
        ),
        (
            "client_id: c",
            "client_id: c d",
            "client_id: has a blank in it (character 2): take it out",
        ),
        ("client_id: c", "client_id: '  '", "client_id: is empty"),
        (
            "contoso.com",
            "'contoso.com '",
            "providers[0].tenant: has a blank at its end",
        ),
        (
            "contoso.com",
            "contoso .com",
            "providers[0].tenant: has a blank in it (character 8)",
        ),
        (
            "tenant:",
            "token_url: 'https://login.example.com/token ', tenant:",
            "providers[0].token_url: has a blank at its end",
        ),
        (
            "tenant:",
            "token_url: ' https://login.example.com/token', tenant:",
            "providers[0].token_url: has a blank at its beginning",
        ),
        (
            "tenant:",
            "authorization_url: 'https://login.example.com/{tenant}/to ken', tenant:",
            "providers[0].authorization_url: has a blank in it (character 38)",
        ),
        (
            "tenant:",
            "redirect_uri: 'http://localhost:{port}/ ', tenant:",
            "providers[0].redirect_uri: has a blank at its end",
        ),
        (
            "tenant:",
            "issuer: 'https://login.example.com/ ', tenant:",
            "providers[0].issuer: has a blank at its end",
        ),
        (
            "state_dir:",
            "egress: { proxy: 'http://proxy.example.com:3128 ' }\nstate_dir:",
            "egress.proxy: has a blank at its end",
        ),
        (
            "state_dir:",
            "notify:\n- { webhook: 'https://hooks.example.com/a b' }\nstate_dir:",
            "notify[0].webhook: has a blank in it (character 28)",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let all = faults(&text.replace(from, to));
        assert!(all.iter().any(|one| one.contains(fault)), "{to:?}: {all:?}");
    }
}
