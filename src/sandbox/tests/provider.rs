use super::*;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const REDIRECT: &str = "http://127.0.0.1:54321/callback?x=1";

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn request() -> Fields<'static> {
    vec![
        ("response_type", "code"),
        ("client_id", "mailsplice-sandbox"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid offline_access imap"),
        ("state", "st&te \"<>"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("nonce", "non/ce"),
    ]
}

fn with<'a>(mut fields: Fields<'a>, name: &str, value: Option<&'a str>) -> Fields<'a> {
    match value {
        Some(value) => fields
            .iter_mut()
            .filter(|f| f.0 == name)
            .for_each(|f| f.1 = value),
        None => fields.retain(|f| f.0 != name),
    }
    fields
}

fn authorize(sandbox: &Sandbox, fields: &Fields<'_>) -> Answer {
    get(&format!(
        "{}?{}",
        sandbox.authorization_url,
        encoded(fields)
    ))
}

/// What is between `name="NAME" value="` and the next quote.
fn hidden(page: &Answer, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let (_, rest) = page
        .body
        .split_once(&mark)
        .unwrap_or_else(|| panic!("{}", page.body));
    rest.split('"').next().unwrap().to_owned()
}

fn decide(sandbox: &Sandbox, page: &Answer, decision: &str) -> Answer {
    let ticket = hidden(page, "request");
    let url = &sandbox.authorization_url;
    post(url, &[("request", ticket.as_str()), ("decision", decision)])
}

fn redeem(sandbox: &Sandbox, code: &str, verifier: &str) -> Answer {
    post(
        &sandbox.token_url,
        &[
            ("grant_type", "authorization_code"),
            ("client_id", &sandbox.client_id),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", verifier),
        ],
    )
}

fn refresh(sandbox: &Sandbox, token: &str) -> Answer {
    let client = ("client_id", sandbox.client_id.as_str());
    let fields = [
        ("grant_type", "refresh_token"),
        client,
        ("refresh_token", token),
    ];
    post(&sandbox.token_url, &fields)
}

fn claims(id_token: &str) -> serde_json::Value {
    use base64::Engine;
    let body = id_token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(body)
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn sandbox() -> Sandbox {
    start(Options {
        device_interval: Duration::ZERO,
        ..Options::default()
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_allows_and_a_code_becomes_tokens() {
    let sandbox = sandbox().await;
    let page = authorize(&sandbox, &request());
    assert_eq!(page.status, 200);
    assert!(page.body.contains("<b>you@sandbox.test</b>") && page.body.contains("<li>imap</li>"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("form-action 'self' http://127.0.0.1:54321"),
        "{policy}"
    );
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(page.header("cache-control"), Some("no-store"));

    let answer = decide(&sandbox, &page, "allow");
    let found = answer.location();
    assert_eq!(
        (found["x"].as_str(), found["state"].as_str()),
        ("1", "st&te \"<>")
    );
    assert_eq!(found["iss"], sandbox.provider_url);
    let again = decide(&sandbox, &page, "allow");
    assert_eq!(again.status, 400, "a page is good once");

    assert_eq!(
        redeem(&sandbox, &found["code"], &"x".repeat(43)).error(),
        (400, "invalid_grant".into())
    );
    let tokens = redeem(&sandbox, &found["code"], VERIFIER);
    assert_eq!(tokens.status, 200, "{}", tokens.body);
    assert_eq!(tokens.header("cache-control"), Some("no-store"));
    assert_eq!(tokens.json()["expires_in"], 3600);
    let claims = claims(&tokens.text("id_token"));
    for (name, want) in [
        ("iss", sandbox.provider_url.as_str()),
        ("aud", &sandbox.client_id),
        ("preferred_username", "you@sandbox.test"),
        ("email", "you@sandbox.test"),
        ("nonce", "non/ce"),
    ] {
        assert_eq!(claims[name], want, "{name}");
    }
    assert!(claims["exp"].as_u64().unwrap() > claims["iat"].as_u64().unwrap());
    assert!(
        sandbox
            .grants()
            .allows(&sandbox.user, &tokens.text("access_token"))
    );

    let first = tokens.text("refresh_token");
    let second = refresh(&sandbox, &first).text("refresh_token");
    assert_ne!(first, second);
    assert_eq!(
        refresh(&sandbox, &first).error(),
        (400, "invalid_grant".into())
    );
    assert_eq!(
        refresh(&sandbox, &second).error(),
        (400, "invalid_grant".into()),
        "reuse revokes the family"
    );
    let counts = sandbox.counts();
    assert_eq!(
        (counts.authorize, counts.token_issued, counts.token_refused),
        (1, 2, 3)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_denies() {
    let sandbox = sandbox().await;
    let found = decide(&sandbox, &authorize(&sandbox, &request()), "deny").location();
    assert_eq!(found["error"], "access_denied");
    assert!(!found.contains_key("code") && found["state"] == "st&te \"<>");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_told_to_the_person_or_to_the_program() {
    let sandbox = sandbox().await;
    for (name, value) in [
        ("client_id", None),
        ("client_id", Some("other")),
        ("redirect_uri", None),
        ("redirect_uri", Some("https://example.com/")),
        ("redirect_uri", Some("http://example.com/")),
        ("redirect_uri", Some("http://127.0.0.1.example.com/")),
        ("redirect_uri", Some("http://127.0.0.1@example.com/")),
        ("redirect_uri", Some("http://a@127.0.0.1/")),
        ("redirect_uri", Some("javascript:alert(1)")),
        ("redirect_uri", Some("http://127.0.0.1/#f")),
    ] {
        let page = authorize(&sandbox, &with(request(), name, value));
        assert_eq!(
            (page.status, page.header("location")),
            (400, None),
            "{name} {value:?}"
        );
    }
    for (name, value, error) in [
        ("response_type", Some("token"), "unsupported_response_type"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        ("code_challenge_method", None, "invalid_request"),
        ("code_challenge", None, "invalid_request"),
        ("scope", None, "invalid_scope"),
    ] {
        let found = authorize(&sandbox, &with(request(), name, value)).location();
        assert_eq!(
            (found["error"].as_str(), found["state"].as_str()),
            (error, "st&te \"<>")
        );
    }
    let twice = [request(), vec![("state", "other")]].concat();
    assert_eq!(authorize(&sandbox, &twice).status, 400);
    for redirect in ["http://localhost/", "http://[::1]:9/a"] {
        assert_eq!(
            authorize(&sandbox, &with(request(), "redirect_uri", Some(redirect))).status,
            200
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_text_as_text() {
    let sandbox = sandbox().await;
    let evil = "\"><script>alert(1)</script>'&";
    let fields = with(request(), "scope", Some(evil));
    let page = authorize(&sandbox, &[fields, vec![("login_hint", evil)]].concat());
    let device = get(&format!(
        "{}/device?{}",
        sandbox.provider_url,
        encoded(&[("user_code", evil)])
    ));
    let typed = post(
        &format!("{}/device", sandbox.provider_url),
        &[("user_code", evil)],
    );
    for page in [page, device, typed] {
        assert!(
            page.body.contains("&quot;&gt;&lt;script&gt;"),
            "{}",
            page.body
        );
        assert!(!page.body.contains("<script"), "{}", page.body);
        assert!(page.header("content-security-policy").is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_prove_who_they_are() {
    use base64::Engine;
    let sandbox = sandbox().await;
    let (id, secret) = (
        sandbox.client_id.as_str(),
        sandbox.client_secret.expose_secret(),
    );
    let basic = |id: &str, secret: &str| {
        let joined = format!("{id}:{secret}");
        format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(joined)
        )
    };
    let grant = ("grant_type", "client_credentials");
    let send = |auth: Option<&str>, fields: &[(&str, &str)]| {
        let headers: Vec<_> = auth.map(|a| ("Authorization", a)).into_iter().collect();
        post_with(&sandbox.token_url, &headers, &[&[grant], fields].concat())
    };
    let good = basic(id, secret);
    assert_eq!(send(Some(&good), &[]).status, 200);
    assert_eq!(send(Some(&good), &[("client_id", id)]).status, 200);
    assert_eq!(
        send(None, &[("client_id", id), ("client_secret", secret)]).status,
        200
    );
    let bad = basic(id, "wrong");
    for (auth, fields) in [
        (None, vec![("client_id", id)]),
        (None, vec![("client_id", id), ("client_secret", "wrong")]),
        (
            None,
            vec![("client_id", "other"), ("client_secret", secret)],
        ),
        (None, vec![]),
        (Some(bad.as_str()), vec![]),
        (
            Some("Bearer x"),
            vec![("client_id", id), ("client_secret", secret)],
        ),
        (Some(good.as_str()), vec![("client_id", "other")]),
    ] {
        let refused = send(auth, &fields);
        assert_eq!(refused.error(), (401, "invalid_client".into()));
        assert!(refused.header("www-authenticate").is_some());
    }
    let both = send(Some(&good), &[("client_secret", secret)]);
    assert_eq!(both.error(), (400, "invalid_request".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senseless_token_requests() {
    let sandbox = sandbox().await;
    let id = sandbox.client_id.as_str();
    let unknown = post(
        &sandbox.token_url,
        &[("grant_type", "password"), ("client_id", id)],
    );
    assert_eq!(unknown.error(), (400, "unsupported_grant_type".into()));
    let json = http(
        "POST",
        &sandbox.token_url,
        &[("Content-Type", "application/json")],
        "{}",
    );
    assert_eq!(json.error(), (400, "invalid_request".into()));
    let huge = "x".repeat(100_000);
    assert_eq!(
        post(&sandbox.token_url, &[("client_id", &huge)]).status,
        413
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_signs_in() {
    let sandbox = sandbox().await;
    let id = ("client_id", sandbox.client_id.as_str());
    let start = post(
        &sandbox.device_authorization_url,
        &[id, ("scope", "openid imap")],
    );
    let (code, device) = (start.text("user_code"), start.text("device_code"));
    let poll = || {
        let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
        post(&sandbox.token_url, &[id, grant, ("device_code", &device)])
    };
    assert_eq!(poll().error(), (400, "authorization_pending".into()));
    let page = get(&start.text("verification_uri_complete"));
    assert_eq!(hidden(&page, "user_code"), code);
    let uri = start.text("verification_uri");
    let asked = post(&uri, &[("user_code", &code.to_lowercase())]);
    assert!(asked.body.contains("<li>imap</li>") && asked.body.contains("value=\"deny\""));
    let allow = [("user_code", code.as_str()), ("decision", "allow")];
    let foreign = post_with(&uri, &[("Sec-Fetch-Site", "cross-site")], &allow);
    assert_eq!(foreign.status, 400);
    assert_eq!(poll().error(), (400, "authorization_pending".into()));
    let own = post_with(&uri, &[("Sec-Fetch-Site", "same-origin")], &allow);
    assert!(own.body.contains("signed in"), "{}", own.body);
    let tokens = poll();
    assert_eq!(
        claims(&tokens.text("id_token"))["email"],
        "you@sandbox.test"
    );
    assert_eq!(poll().error(), (400, "invalid_grant".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_revoked() {
    let sandbox = sandbox().await;
    let token = access_token(&sandbox);
    let id = ("client_id", sandbox.client_id.as_str());
    let revoke = |fields: &[(&str, &str)]| post(&sandbox.revocation_url, fields);
    assert_eq!(
        revoke(&[("token", &token)]).error(),
        (401, "invalid_client".into())
    );
    assert_eq!(revoke(&[id]).error(), (400, "invalid_request".into()));
    assert!(sandbox.grants().allows(&sandbox.user, &token));
    assert_eq!(revoke(&[id, ("token", &token)]).status, 200);
    assert!(!sandbox.grants().allows(&sandbox.user, &token));
    assert_eq!(revoke(&[id, ("token", "unknown")]).status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_names_the_endpoints() {
    let sandbox = sandbox().await;
    let found = get(&format!(
        "{}/.well-known/openid-configuration",
        sandbox.provider_url
    ));
    assert_eq!(found.text("issuer"), sandbox.provider_url);
    assert_eq!(found.text("token_endpoint"), sandbox.token_url);
    assert_eq!(
        found.text("authorization_endpoint"),
        sandbox.authorization_url
    );
    assert_eq!(
        found.text("device_authorization_endpoint"),
        sandbox.device_authorization_url
    );
    assert_eq!(found.text("revocation_endpoint"), sandbox.revocation_url);
    assert_eq!(get(&sandbox.provider_url).status, 200);
    assert_eq!(
        get(&format!("{}/nothing", sandbox.provider_url)).status,
        404
    );
    assert_eq!(get(&sandbox.token_url).status, 405);
}

#[tokio::test]
async fn only_loopback_and_sane_users() {
    let outside = Options {
        imap: "0.0.0.0:0".parse().unwrap(),
        ..Options::default()
    };
    assert!(matches!(
        start(outside).await,
        Err(SandboxError::NotLoopback(_))
    ));
    for user in ["you", "@", "a@b\x01", "a b@c", "\"x\"@y", "a@"] {
        let options = Options {
            user: user.into(),
            ..Options::default()
        };
        assert!(
            matches!(start(options).await, Err(SandboxError::BadUser)),
            "{user}"
        );
    }
    let first = sandbox().await;
    let taken = Options {
        imap: first.imap_addr,
        ..Options::default()
    };
    assert!(matches!(start(taken).await, Err(SandboxError::Bind { .. })));
}

#[tokio::test]
async fn the_proxy_configuration_is_yaml_by_the_contract() {
    let sandbox = sandbox().await;
    let yaml = sandbox.proxy_yaml(
        "127.0.0.1:1993".parse().unwrap(),
        "127.0.0.1:2525".parse().unwrap(),
        Path::new("/x \"y/z"),
    );
    let read: serde_json::Value = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(read["tls"]["certificate"], "/x \"y/z/localhost.pem");
    assert_eq!(read["listeners"][0]["bind"], "127.0.0.1:1993");
    assert_eq!(read["providers"][0]["token_url"], sandbox.token_url);
    assert_eq!(read["providers"][0]["flow"], "client_credentials");
    assert_eq!(
        read["providers"][0]["servers"]["imap"]["address"],
        sandbox.imap_addr.to_string()
    );
    assert_eq!(read["listeners"][1]["bind"], "127.0.0.1:2525");
    assert_eq!(read["listeners"][1]["delivery"], "relay");
    assert_eq!(
        read["providers"][0]["servers"]["smtp"]["address"],
        sandbox.smtp_addr.to_string()
    );
    assert_eq!(read["accounts"][0]["user"], "you@sandbox.test");
    assert!(
        !yaml.contains(sandbox.client_secret.expose_secret()),
        "no secret in the file"
    );
    let secret = std::fs::read_to_string(&sandbox.client_secret_file).unwrap();
    assert_eq!(secret, sandbox.client_secret.expose_secret());
    assert!(!format!("{sandbox:?}").contains(&secret));
    let dir = sandbox.dir.clone();
    drop(sandbox);
    assert!(!dir.exists(), "the folder goes with the sandbox");
}
