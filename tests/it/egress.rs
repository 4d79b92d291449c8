//! The way out through a proxy, through the built program: token requests and mail, to names that
//! nobody but the proxy resolves.

use crate::support::egress::{Egress, Kind};
use crate::support::proxy::run;
use crate::support::{Client, Endpoint, Lab, Proxy, USER, login, server_config};

const IDP: &str = "idp.invalid:443";
const MAIL: &str = "mail.invalid:993";
const PASSWORD: &str = "Egress pass:word";

/// A lab whose token endpoint is https.
async fn lab() -> Lab {
    let mut lab = Lab::new().await;
    lab.endpoint = Endpoint::start_with(Some(server_config(&lab.ca))).await;
    std::fs::write(lab.path("egress-password"), PASSWORD).unwrap();
    lab
}

async fn egress(lab: &Lab, kind: Kind, login: bool) -> Egress {
    let names = [(IDP, lab.endpoint.address), (MAIL, lab.upstream.address)];
    Egress::start(kind, login.then_some(("mailsplice", PASSWORD)), &names).await
}

/// The lab's configuration with both servers behind the proxy.
fn yaml(lab: &Lab, extra: &str) -> String {
    let (token, port) = (lab.endpoint.address, lab.upstream.address.port());
    lab.yaml(extra)
        .replace(
            &format!("http://{token}/token"),
            &format!("https://{IDP}/token"),
        )
        .replace(&format!("localhost:{port}"), MAIL)
}

fn section(kind: Kind, proxy: &Egress, more: &str) -> String {
    let (scheme, address) = (kind.scheme(), proxy.address);
    format!("egress: {{ proxy: '{scheme}://{address}', {more} }}\n")
}

const KNOWN: &str = "username: mailsplice, password: { file: egress-password }";

/// The tagged answer to a login.
async fn answer(proxy: &Proxy) -> String {
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(login()).await;
    client.until("a ").await.pop().unwrap()
}

#[tokio::test]
async fn tokens_and_mail_go_through_either_kind_of_proxy() {
    for (kind, known) in [
        (Kind::Http, false),
        (Kind::Http, true),
        (Kind::Socks5, false),
        (Kind::Socks5, true),
    ] {
        let lab = lab().await;
        let way = egress(&lab, kind, known).await;
        let more = if known { KNOWN } else { "" };
        lab.prepare(&yaml(&lab, &section(kind, &way, more)));
        // The environment has nothing to say where the file does.
        let env = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("RUST_LOG", "trace")];
        let proxy = Proxy::start(&lab, &env).await;
        let mut client = Client::tls(&lab, proxy.address("tls")).await;
        client.send(login()).await;
        let said = client.until("a ").await.pop().unwrap();
        assert!(said.starts_with("a OK"), "{said}\n{}", proxy.log());
        client.send("b NOOP\r\n").await;
        assert_eq!(client.line().await, "* ECHO b NOOP");
        assert_eq!(way.count(IDP), 1, "{:?}", way.asked());
        assert!(way.count(MAIL) >= 1, "{:?}", way.asked());
        assert_eq!(way.count(MAIL), lab.upstream.seen().connections);
        let log = proxy.log();
        for secret in [
            PASSWORD,
            "TOKEN-1",
            "CLIENT-SECRET-VALUE",
            "bWFpbHNwbGljZTp",
        ] {
            assert!(!log.contains(secret), "{secret} in the log");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_go_through_it_too() {
    let lab = lab().await;
    let way = egress(&lab, Kind::Http, true).await;
    lab.prepare(&yaml(&lab, &section(Kind::Http, &way, KNOWN)));
    run(&lab, &["login", USER], "").success();
    assert_eq!(way.asked(), [IDP]);
    assert!(lab.endpoint.requests()[0].contains("grant_type=client_credentials"));
}

#[tokio::test]
async fn what_is_excepted_goes_directly() {
    let lab = lab().await;
    let way = egress(&lab, Kind::Http, false).await;
    let except = section(Kind::Http, &way, "no_proxy: [mail.invalid]");
    lab.prepare(&yaml(&lab, &except));
    let proxy = Proxy::start(&lab, &[]).await;
    let said = answer(&proxy).await;
    assert!(
        said.starts_with("a NO [UNAVAILABLE] the name mail.invalid cannot be resolved"),
        "{said}"
    );
    assert_eq!((way.count(IDP), way.count(MAIL)), (1, 0));
    // Loopback always does; the proxy would have refused it.
    let port = lab.upstream.address.port();
    let here =
        yaml(&lab, &section(Kind::Http, &way, "")).replace(MAIL, &format!("localhost:{port}"));
    std::fs::write(lab.path("proxy.yaml"), here).unwrap();
    let proxy = Proxy::start(&lab, &[]).await;
    let said = answer(&proxy).await;
    assert!(said.starts_with("a OK"), "{said}");
    assert!(way.asked().iter().all(|name| name == IDP));
}

#[tokio::test]
async fn one_leg_alone() {
    let lab = lab().await;
    let way = egress(&lab, Kind::Socks5, false).await;
    lab.prepare(&yaml(&lab, &section(Kind::Socks5, &way, "for: token")));
    let proxy = Proxy::start(&lab, &[]).await;
    let said = answer(&proxy).await;
    assert!(said.contains("mail.invalid cannot be resolved"), "{said}");
    assert_eq!((way.count(IDP), way.count(MAIL)), (1, 0));

    let lab = self::lab().await;
    let way = egress(&lab, Kind::Socks5, false).await;
    lab.prepare(&yaml(&lab, &section(Kind::Socks5, &way, "for: [mail]")));
    let proxy = Proxy::start(&lab, &[]).await;
    let said = answer(&proxy).await;
    assert!(said.starts_with("a NO [UNAVAILABLE]"), "{said}");
    assert_eq!(way.count(IDP), 0);
    assert!(way.count(MAIL) > 0);
}

#[tokio::test]
async fn the_environment_is_for_token_requests_alone() {
    let lab = lab().await;
    let way = egress(&lab, Kind::Http, false).await;
    lab.prepare(&yaml(&lab, ""));
    let url = format!("http://{}", way.address);
    let env = [
        ("HTTPS_PROXY", url.as_str()),
        ("ALL_PROXY", url.as_str()),
        ("NO_PROXY", ""),
        ("no_proxy", ""),
    ];
    let proxy = Proxy::start(&lab, &env).await;
    let said = answer(&proxy).await;
    assert!(said.contains("mail.invalid cannot be resolved"), "{said}");
    assert_eq!((way.count(IDP), way.count(MAIL)), (1, 0));
}

#[tokio::test]
async fn the_environment_s_proxy_is_of_any_kind_and_knows_who_asks() {
    const LOGIN: Option<(&str, &str)> = Some(("mail:splice", PASSWORD));
    for (kind, scheme, tls) in [
        (Kind::Http, "http", false),
        (Kind::Http, "https", true),
        (Kind::Socks5, "socks5", false),
        (Kind::Socks5, "socks5h", false),
    ] {
        let lab = lab().await;
        let names = [(IDP, lab.endpoint.address)];
        let tls = tls.then(|| server_config(&lab.ca));
        let way = Egress::start_with(kind, LOGIN, &names, tls).await;
        let port = lab.upstream.address.port();
        let mail = format!("localhost:{port}");
        lab.prepare(&yaml(&lab, "").replace(MAIL, &mail));
        let with = |userinfo: &str| format!("{scheme}://{userinfo}{}", way.address);
        let known = with("mail%3Asplice:Egress%20pass%3Aword@");
        let env = [
            ("https_proxy", known.as_str()),
            ("HTTP_PROXY", "http://127.0.0.1:1"),
            ("NO_PROXY", "other.invalid"),
            ("RUST_LOG", "trace"),
        ];
        let proxy = Proxy::start(&lab, &env).await;
        let said = answer(&proxy).await;
        assert!(said.starts_with("a OK"), "{scheme}: {said}");
        assert_eq!(way.asked(), [IDP], "{scheme}");
        for secret in [PASSWORD, "Egress%20pass", "bWFpbDpzcGxpY2U6"] {
            assert!(!proxy.log().contains(secret), "{secret} in the log");
        }
        drop(proxy);
        std::fs::remove_dir_all(lab.path("state/tokens")).unwrap();
        let unknown = with("");
        let env = [("HTTPS_PROXY", unknown.as_str()), ("NO_PROXY", "")];
        let proxy = Proxy::start(&lab, &env).await;
        let said = answer(&proxy).await;
        let named = format!(
            "a NO [UNAVAILABLE] the environment's proxy {} needs a user name and password",
            way.address
        );
        assert!(said.starts_with(&named), "{scheme}: {said}");
        assert!(
            said.ends_with(
                "put them into HTTPS_PROXY or ALL_PROXY, or set egress.proxy; try again later"
            ),
            "{scheme}: {said}"
        );
    }
}

#[tokio::test]
async fn what_the_environment_excepts_goes_directly() {
    let lab = lab().await;
    let way = egress(&lab, Kind::Http, false).await;
    lab.prepare(&yaml(&lab, ""));
    let url = format!("http://{}", way.address);
    let env = [
        ("HTTPS_PROXY", url.as_str()),
        ("NO_PROXY", "other.example, .invalid"),
    ];
    let proxy = Proxy::start(&lab, &env).await;
    let said = answer(&proxy).await;
    let named = "a NO [UNAVAILABLE] No connection to idp.invalid (its name cannot be resolved)";
    assert!(said.starts_with(named), "{said}");
    assert_eq!(way.asked(), [""; 0]);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_and_nothing_else() {
    for kind in [Kind::Http, Kind::Socks5] {
        // Tokens are there, so that mail is what fails.
        let lab = lab().await;
        let way = egress(&lab, kind, true).await;
        let section = section(kind, &way, KNOWN);
        lab.prepare(&yaml(&lab, &section));
        let proxy = Proxy::start(&lab, &[]).await;
        assert!(answer(&proxy).await.starts_with("a OK"));
        drop(proxy);
        std::fs::write(lab.path("egress-password"), "wrong-Passw0rd").unwrap();
        let proxy = Proxy::start(&lab, &[("RUST_LOG", "debug")]).await;
        let before = lab.upstream.seen().connections;
        let said = answer(&proxy).await;
        let named = format!(
            "a NO [UNAVAILABLE] the egress proxy {} did not accept the user name and password",
            way.address
        );
        assert!(said.starts_with(&named), "{said}");
        assert!(said.ends_with("try again later"), "{said}");
        assert_eq!(lab.upstream.seen().connections, before);
        // The right one is taken without a reload.
        std::fs::write(lab.path("egress-password"), PASSWORD).unwrap();
        let again = answer(&proxy).await;
        assert!(again.starts_with("a OK"), "{again}");
        // A name that it will not reach.
        let elsewhere = yaml(&lab, &section).replace(MAIL, "other.invalid:993");
        std::fs::write(lab.path("proxy.yaml"), elsewhere).unwrap();
        proxy.signal("-HUP");
        proxy.logged("configuration reloaded").await;
        let said = answer(&proxy).await;
        let named = format!("a NO [UNAVAILABLE] the egress proxy {} ", way.address);
        assert!(said.starts_with(&named), "{said}");
        let expected = match kind {
            Kind::Http => "refused the connection to other.invalid:993: 403 Forbidden",
            Kind::Socks5 => "cannot connect to other.invalid:993: host unreachable",
        };
        assert!(said.contains(expected), "{said}");
        for secret in [PASSWORD, "wrong-Passw0rd", "bWFpbHNwbGljZTp"] {
            assert!(!proxy.log().contains(secret), "{secret} in the log");
        }
    }
}

#[tokio::test]
async fn token_requests_say_which_proxy_refused() {
    let lab = lab().await;
    let way = egress(&lab, Kind::Http, true).await;
    lab.prepare(&yaml(&lab, &section(Kind::Http, &way, "for: token")));
    let proxy = Proxy::start(&lab, &[]).await;
    let said = answer(&proxy).await;
    let named = format!(
        "a NO [UNAVAILABLE] the egress proxy {} needs a user name and password (407)",
        way.address
    );
    assert!(said.starts_with(&named), "{said}");
    assert_eq!(lab.endpoint.count(), 0);
}

#[tokio::test]
async fn a_reload_takes_another_way() {
    let lab = lab().await;
    let first = egress(&lab, Kind::Http, false).await;
    let second = egress(&lab, Kind::Socks5, true).await;
    lab.prepare(&yaml(&lab, &section(Kind::Http, &first, "")));
    let proxy = Proxy::start(&lab, &[]).await;
    let mut session = Client::plain(proxy.address("plain")).await;
    session.send(login()).await;
    session.until("a OK").await;
    let changed = yaml(&lab, &section(Kind::Socks5, &second, KNOWN));
    std::fs::write(lab.path("proxy.yaml"), changed).unwrap();
    proxy.signal("-HUP");
    proxy.logged("configuration reloaded").await;
    assert!(answer(&proxy).await.starts_with("a OK"));
    assert!(second.count(MAIL) >= 1);
    session.send("b NOOP\r\n").await;
    assert_eq!(session.line().await, "* ECHO b NOOP");
}

#[tokio::test]
async fn check_names_what_is_wrong_with_it() {
    let lab = lab().await;
    let way = egress(&lab, Kind::Http, true).await;
    lab.prepare(&yaml(&lab, &section(Kind::Http, &way, KNOWN)));
    run(&lab, &["check"], "").success();
    std::fs::remove_file(lab.path("egress-password")).unwrap();
    let ran = run(&lab, &["check"], "");
    assert_ne!(ran.status(), 0);
    let said = ran.stdout() + &ran.stderr();
    assert!(said.contains("egress.password: secret file"), "{said}");
    let url = "egress: { proxy: 'http://mailsplice:hunter2@127.0.0.1:1' }\n";
    std::fs::write(lab.path("proxy.yaml"), yaml(&lab, url)).unwrap();
    let ran = run(&lab, &["check"], "");
    assert_eq!(ran.status(), 78);
    let said = ran.stdout() + &ran.stderr();
    assert!(
        said.contains("egress.proxy: must not hold a user name or password: set egress.username"),
        "{said}"
    );
    assert!(!said.contains("hunter2"));
}
