//! What presets fill in, against the providers' documentation; and what the file sets over it.

use mailsplice::config::{Flow, Mechanism, PresetName, Provider, Server, TlsMode};
use mailsplice::proto::Protocol;

use super::{parse, with_provider};

fn provider(text: &str) -> Provider {
    parse(&with_provider(text)).config.providers.remove(0)
}

fn preset(name: PresetName) -> Provider {
    provider(&format!("preset: {}", name.as_str()))
}

fn show(server: Option<&Server>) -> String {
    let server = server.unwrap();
    let tls = match server.tls {
        TlsMode::Implicit => "tls",
        TlsMode::StartTls => "starttls",
        TlsMode::None => "none",
    };
    format!("{}:{} {tls}", server.host, server.port)
}

/// Authorization, token, device, IMAP, POP3, SMTP.
fn row(provider: &Provider) -> [String; 6] {
    let url = |url: Option<&url::Url>| url.map_or_else(String::new, ToString::to_string);
    [
        url(provider.authorization_url.as_ref()),
        url(Some(&provider.token_url)),
        url(provider.device_authorization_url.as_ref()),
        show(provider.servers.of(Protocol::Imap).as_ref()),
        show(provider.servers.of(Protocol::Pop3).as_ref()),
        show(provider.servers.of(Protocol::Smtp).as_ref()),
    ]
}

fn microsoft(login: &str, servers: [&str; 3]) -> [String; 6] {
    let endpoint = |path| format!("https://{login}/common/oauth2/v2.0/{path}");
    let [imap, pop3, smtp] = servers.map(str::to_owned);
    [
        endpoint("authorize"),
        endpoint("token"),
        endpoint("devicecode"),
        imap,
        pop3,
        smtp,
    ]
}

#[test]
fn microsofts_clouds() {
    for (name, login, servers) in [
        (
            PresetName::Microsoft,
            "login.microsoftonline.com",
            [
                "outlook.office365.com:993 tls",
                "outlook.office365.com:995 tls",
                "smtp.office365.com:587 starttls",
            ],
        ),
        (
            PresetName::MicrosoftGccHigh,
            "login.microsoftonline.us",
            [
                "outlook.office365.us:993 tls",
                "outlook.office365.us:995 tls",
                "smtp.office365.us:587 starttls",
            ],
        ),
        (
            PresetName::MicrosoftDod,
            "login.microsoftonline.us",
            [
                "outlook-dod.office365.us:993 tls",
                "outlook-dod.office365.us:995 tls",
                "outlook-dod.office365.us:587 starttls",
            ],
        ),
        (
            PresetName::MicrosoftChina,
            "login.partner.microsoftonline.cn",
            [
                "partner.outlook.cn:993 tls",
                "partner.outlook.cn:995 tls",
                "smtp.partner.outlook.cn:587 starttls",
            ],
        ),
    ] {
        let provider = preset(name);
        assert_eq!(row(&provider), microsoft(login, servers));
        assert_eq!(provider.preset, name);
        assert_eq!(provider.tenant.as_deref(), Some("common"));
        assert_eq!(provider.flow, Flow::AuthorizationCode);
        assert_eq!(provider.sasl, Mechanism::Xoauth2);
        assert_eq!(provider.redirect_uri, "http://localhost:{port}/");
        assert_eq!((provider.revocation_url, provider.issuer), (None, None));
    }
}

#[test]
fn the_other_providers() {
    let google = preset(PresetName::Google);
    assert_eq!(
        row(&google),
        [
            "https://accounts.google.com/o/oauth2/v2/auth",
            "https://oauth2.googleapis.com/token",
            "",
            "imap.gmail.com:993 tls",
            "pop.gmail.com:995 tls",
            "smtp.gmail.com:465 tls",
        ]
    );
    assert_eq!(
        google.revocation_url.unwrap().as_str(),
        "https://oauth2.googleapis.com/revoke"
    );
    assert_eq!(
        google.issuer.as_deref(),
        Some("https://accounts.google.com")
    );
    assert_eq!(google.scopes, ["https://mail.google.com/"]);
    assert_eq!(google.redirect_uri, "http://127.0.0.1:{port}/");
    let params: Vec<_> = google.authorization_params.into_iter().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        params,
        [pair("access_type", "offline"), pair("prompt", "consent")]
    );

    let yahoo = preset(PresetName::Yahoo);
    assert_eq!(
        row(&yahoo),
        [
            "https://api.login.yahoo.com/oauth2/request_auth",
            "https://api.login.yahoo.com/oauth2/get_token",
            "",
            "imap.mail.yahoo.com:993 tls",
            "pop.mail.yahoo.com:995 tls",
            "smtp.mail.yahoo.com:465 tls",
        ]
    );
    assert_eq!(
        (yahoo.sasl, yahoo.scopes),
        (Mechanism::Oauthbearer, vec!["mail-w".to_owned()])
    );
    let aol = preset(PresetName::Aol);
    assert_eq!(
        aol.token_url.as_str(),
        "https://api.login.aol.com/oauth2/get_token"
    );
    assert_eq!(aol.scopes, ["mail-w"]);

    let fastmail = preset(PresetName::Fastmail);
    assert_eq!(
        row(&fastmail),
        [
            "https://api.fastmail.com/oauth/authorize",
            "https://api.fastmail.com/oauth/refresh",
            "",
            "imap.fastmail.com:993 tls",
            "pop.fastmail.com:995 tls",
            "smtp.fastmail.com:465 tls",
        ]
    );
    assert_eq!(fastmail.issuer.as_deref(), Some("https://api.fastmail.com"));
    assert_eq!(
        fastmail.scopes,
        ["https://www.fastmail.com/dev/protocol-imap"]
    );
}

#[test]
fn scopes_are_the_least_that_the_listeners_need() {
    let imap = "https://outlook.office.com/IMAP.AccessAsUser.All";
    let pop3 = "https://outlook.office.com/POP.AccessAsUser.All";
    let smtp = "https://outlook.office.com/SMTP.Send";
    let rest = ["offline_access", "openid", "profile"];
    for (protocols, own) in [
        (&["imap"][..], &[imap][..]),
        (&["smtp", "imap"], &[imap, smtp]),
        (&["pop3"], &[pop3]),
    ] {
        let mut text = String::from("state_dir: /state\nlisteners:\n");
        for (index, protocol) in protocols.iter().enumerate() {
            text.push_str(&format!(
                "- {{ name: l{index}, protocol: {protocol}, bind: 127.0.0.1:{}, tls: implicit }}\n",
                2000 + index
            ));
        }
        text.push_str("providers:\n- { name: p, preset: microsoft, client_id: c }\n");
        let scopes = &parse(&text).config.providers[0].scopes;
        assert_eq!(*scopes, [own, &rest].concat());
    }
    let own = provider("preset: microsoft, scopes: [offline_access, b, a]");
    assert_eq!(own.scopes, ["offline_access", "b", "a"]);
}

#[test]
fn the_program_alone_asks_for_its_own_scope() {
    for (name, scope) in [
        ("microsoft", "https://outlook.office365.com/.default"),
        (
            "microsoft-gcc-high",
            "https://outlook.office365.us/.default",
        ),
        ("microsoft-dod", "https://outlook.office365.us/.default"),
        ("microsoft-china", "https://partner.outlook.cn/.default"),
    ] {
        let provider = provider(&format!(
            "preset: {name}, tenant: contoso.com, flow: client_credentials, \
             client_secret: {{ env: S }}"
        ));
        assert_eq!(provider.scopes, [scope]);
        assert!(provider.token_url.path().starts_with("/contoso.com/"));
    }
    let practice = provider(
        "preset: microsoft, flow: client_credentials, client_secret: { env: S }, \
         token_url: \"http://127.0.0.1:8080/token\"",
    );
    assert_eq!(practice.token_url.as_str(), "http://127.0.0.1:8080/token");
}

#[test]
fn what_the_file_sets_goes_over_the_preset() {
    let provider = provider(
        "preset: google, client_secret: { env: S }, token_url: \"http://localhost:81/t\", \
         sasl: oauthbearer, client_auth: basic, redirect_uri: \"http://localhost:8765/back\", \
         authorization_params: { prompt: select_account, hd: example.com }, \
         servers: { imap: { address: \"localhost:143\", tls: none } }",
    );
    assert_eq!(provider.token_url.as_str(), "http://localhost:81/t");
    // The preset's issuer and revocation endpoint belong to its own token endpoint.
    assert_eq!((provider.issuer, provider.revocation_url), (None, None));
    assert_eq!(provider.sasl, Mechanism::Oauthbearer);
    assert_eq!(provider.redirect_uri, "http://localhost:8765/back");
    let params: Vec<_> = provider
        .authorization_params
        .values()
        .map(String::as_str)
        .collect();
    assert_eq!(params, ["offline", "example.com", "select_account"]);
    assert_eq!(
        show(provider.servers.of(Protocol::Imap).as_ref()),
        "localhost:143 none"
    );
    assert_eq!(
        show(provider.servers.of(Protocol::Pop3).as_ref()),
        "pop.gmail.com:995 tls"
    );
}

#[test]
fn a_server_without_tls_gets_what_its_port_is_for() {
    for (port, tls) in [
        (143, "starttls"),
        (587, "starttls"),
        (993, "tls"),
        (4000, "tls"),
    ] {
        let provider = provider(&format!(
            "preset: fastmail, servers: {{ imap: {{ address: \"mail.example.com:{port}\" }} }}"
        ));
        let shown = show(provider.servers.of(Protocol::Imap).as_ref());
        assert_eq!(shown, format!("mail.example.com:{port} {tls}"));
    }
}
