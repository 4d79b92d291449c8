//! The table of errors through the built program: each row is answered by the scripted provider or
//! mail server, and what the mail client is told, what `status` shows and what `explain` says must
//! be that row.

mod dialogues;
mod own;
mod replies;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use mailsplice::config;
use mailsplice::daemon::wiring;
use mailsplice::oauth::table::{self, ClientKind, Row, When};
use mailsplice::oauth::{Class, own as ours};
use mailsplice::proto::Protocol;
use mailsplice::store::{FileStore, TokenRecord, TokenStore as _};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::endpoint::Reply;
use crate::support::proxy::{Proxy, run};
use crate::support::{Client, Lab};

const BINARY: &str = env!("CARGO_BIN_EXE_mailsplice");

/// A way to make the program meet a row, with an account of its own.
struct Case {
    row: &'static Row,
    user: String,
    /// The code that `status` must show.
    code: String,
    /// The token endpoint's answer.
    body: String,
}

/// Every code of every row of the token endpoint.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |row, code: String, body: Value| {
        let user = format!("user{}@contoso.test", cases.len());
        cases.push(Case {
            row,
            user,
            code,
            body: body.to_string(),
        });
    };
    for row in table::token_rows() {
        for code in &row.codes {
            let body = json!({
                "error": "invalid_grant",
                "error_codes": [code],
                "error_description": format!("AADSTS{code}: something"),
                "correlation_id": "6d1f8a57-0000-4a5b-9c1e-7f0f2f7b1a00",
            });
            add(row, format!("AADSTS{code}"), body);
        }
        let Some(value) = &row.value else { continue };
        let is_error = table::error(value).is_some_and(|general| general == row);
        let body = if is_error || row.described.is_some() || row.client.is_some() {
            let words = row.described.as_deref().unwrap_or("no words");
            json!({ "error": value, "error_description": format!("({words})") })
        } else {
            json!({ "error": "invalid_grant", "suberror": value })
        };
        add(row, value.clone(), body);
    }
    cases
}

/// The contract's configuration with these accounts, and a device password for each. Rows of the
/// token endpoint get accounts that somebody signed in to an hour ago: some of their sentences are
/// about that person.
async fn prepare(lab: &Lab, cases: &[Case]) -> Vec<String> {
    use std::fmt::Write as _;
    let token = lab.endpoint.address;
    let people = format!(
        "  - name: people
    preset: custom
    client_id: the-client
    flow: device_code
    token_url: http://{token}/token
    device_authorization_url: http://{token}/device
    scopes: [mail]
    sasl: xoauth2
    servers:
      imap: {{ address: 'localhost:{port}', tls: implicit }}",
        port = lab.upstream.address.port(),
    );
    // Clients that show who they are by a signature.
    let (certificate, key) = (
        include_str!("../../keys/app.pem"),
        include_str!("../../keys/app.key"),
    );
    let robot = json!({ "type": "service_account", "private_key_id": "1", "private_key": key,
        "client_email": "mail@project.test", "token_uri": format!("http://{token}/token") });
    for (name, text) in [
        ("app.pem", certificate),
        ("app.key", key),
        ("google.json", &robot.to_string()),
    ] {
        std::fs::write(lab.path(name), text).unwrap();
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(lab.path(name), owner_only).unwrap();
    }
    let signing = people
        .replace("name: people", "name: certificate")
        .replace(
            "flow: device_code",
            "flow: client_credentials\n    client_certificate: { certificate: app.pem, private_key: app.key }",
        )
        .replace(&format!("    device_authorization_url: http://{token}/device\n"), "");
    let robots = signing
        .replace("name: certificate", "name: service_account")
        .replace("    client_id: the-client\n", "")
        .replace("client_credentials", "service_account")
        .replace(
            "client_certificate: { certificate: app.pem, private_key: app.key }",
            "service_account_key: { file: google.json }",
        );
    let providers = format!("{people}\n{signing}\n{robots}\naccounts:");
    let mut yaml = lab.yaml("").replace("accounts:", &providers);
    for case in cases {
        let provider = match case.row.client {
            Some(ClientKind::Certificate) => "certificate",
            Some(ClientKind::ServiceAccount) => "service_account",
            None => "people",
        };
        writeln!(
            yaml,
            "  - {{ user: '{}', provider: {provider} }}",
            case.user
        )
        .unwrap();
    }
    lab.prepare(&yaml);
    let config = config::load(&lab.path("proxy.yaml")).unwrap().config;
    let key = wiring::store_key(&config).unwrap();
    let store = FileStore::open(&config.state_dir, &key).unwrap();
    for account in wiring::accounts(&config) {
        if account.provider.name != "people" {
            continue;
        }
        let record = TokenRecord {
            binding: account.binding(),
            refresh_token: Some("REFRESH-TOKEN".into()),
            signed_in_at: 1,
            refreshed_at: 1,
            ..TokenRecord::default()
        };
        store.save(&account.key, &record).await.unwrap();
    }
    let file = wiring::password_file(&config).unwrap();
    let mut passwords = Vec::new();
    for case in cases {
        let limits = mailsplice::access::Limits::default();
        let made = file.add_generated(&case.user, None, limits).await.unwrap();
        passwords.push(made.password.expose_secret().to_owned());
    }
    passwords
}

fn response_code(row: &Row) -> &'static str {
    match row.class {
        _ if row.is_in_use() => "INUSE",
        Class::Temporary => "UNAVAILABLE",
        _ => "CONTACTADMIN",
    }
}

/// The answer by protocol, as in the guide: IMAP where a row is not of another protocol alone.
fn answer(row: &Row) -> String {
    let protocols = row.reply.as_ref().map(|reply| reply.protocols.as_slice());
    match (protocols, row.class) {
        (Some([Protocol::Smtp]), _) => "454 4.7.0".to_owned(),
        (Some([Protocol::Pop3]), _) if row.is_in_use() => "-ERR [IN-USE]".to_owned(),
        (Some([Protocol::Pop3]), Class::Temporary) => "-ERR [SYS/TEMP]".to_owned(),
        (Some([Protocol::Pop3]), _) => "-ERR [SYS/PERM]".to_owned(),
        _ => format!("NO [{}]", response_code(row)),
    }
}

fn class_in_status(row: &Row) -> &'static str {
    match row.class {
        Class::Temporary => "temporary",
        Class::SignIn => "sign-in",
        Class::Admin => "admin",
        Class::Configuration => "configuration",
    }
}

/// Whether a line is the template with something in the place of each placeholder. Long lines end
/// in three dots.
fn is_filled(template: &str, line: &str) -> bool {
    let (line, cut) = match line.strip_suffix("...") {
        Some(line) if line.len() > 190 => (line, true),
        _ => (line, false),
    };
    let mut pieces = template
        .split('{')
        .map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
    let Some(mut rest) = pieces.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut last = "";
    for piece in pieces {
        last = piece;
        let Some((_, behind)) = rest.split_once(piece) else {
            return cut;
        };
        rest = behind;
    }
    cut || rest.is_empty() || last.is_empty()
}

#[tokio::test]
async fn every_row_reaches_client_and_status() {
    let lab = Lab::new().await;
    let cases = cases();
    assert!(cases.len() > 150, "{}", cases.len());
    let passwords = prepare(&lab, &cases).await;
    let proxy = Proxy::start(&lab, &[]).await;
    for (case, password) in cases.iter().zip(&passwords) {
        meet(&lab, &proxy, case, password).await;
    }
    let report = run(&lab, &["status", "--json"], "").success().stdout();
    let report: Value = serde_json::from_str(&report).unwrap();
    for case in &cases {
        let user = &case.user;
        let of_user = |entry: &&Value| entry["account"] == **user;
        let accounts = report["accounts"].as_array().unwrap();
        let shown = &accounts.iter().find(of_user).unwrap()["error"];
        assert_eq!(shown["code"], case.code, "{report}");
        assert_eq!(shown["class"], class_in_status(case.row), "{shown}");
        assert!(
            is_filled(&case.row.sentence, shown["sentence"].as_str().unwrap()),
            "{shown}"
        );
    }
    // The text for people has the codes too.
    let text = run(&lab, &["status"], "").success().stdout();
    assert!(text.contains("[AADSTS7000222]"), "{text}");
}

/// Lets the program meet the row and looks at the client's side.
async fn meet(lab: &Lab, proxy: &Proxy, case: &Case, password: &str) {
    let row = case.row;
    let body = case.body.clone();
    let reply = Reply::Raw("400 Bad Request", "application/json", body);
    lab.endpoint.always(Some(reply));
    let mut client = Client::plain(proxy.address("plain")).await;
    client
        .send(format!("a LOGIN {} {password}\r\n", case.user))
        .await;
    let answer = client.until("a ").await.pop().unwrap();
    let start = format!("a NO [{}] ", response_code(row));
    let sentence = answer
        .strip_prefix(&start)
        .unwrap_or_else(|| panic!("{}: {answer}\n{}", case.code, proxy.log()));
    assert!(sentence.is_ascii() && answer.len() <= 510, "{answer}");
    assert!(
        is_filled(&row.sentence, sentence),
        "{}: {sentence}",
        case.code
    );
    assert!(!sentence.contains(['{', '}']), "{sentence}");
}

#[test]
fn every_row_is_explained() {
    let explain = |arguments: &[&str]| {
        let out = Command::new(BINARY)
            .arg("explain")
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        (out.status.code().unwrap(), text)
    };
    let (status, list) = explain(&["--list", "--json"]);
    assert_eq!(status, 0);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["version"], 1);
    let listed = list["rows"].as_array().unwrap();
    assert_eq!(listed.len(), table::rows().count());
    for (row, shown) in table::rows().zip(listed) {
        assert_eq!(shown["codes"], json!(row.names()));
        let name = row.names()[0].clone();
        // What people have in hand: the number, the value, the server's line.
        let typed = match (&row.reply, &row.described) {
            (Some(reply), _) if reply.status.is_empty() => format!("x {}", reply.example),
            (Some(reply), _) => reply.code.clone(),
            (None, Some(words)) => format!("{}: {words}", row.value.as_ref().unwrap()),
            (None, None) => name.clone(),
        };
        let (status, text) = explain(&[&typed]);
        assert_eq!(status, 0, "{typed}: {text}");
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = flat(&text);
        let sentence = table::general(&row.sentence);
        let told = match &row.reply {
            Some(reply) if reply.when == When::Session => format!("Status says {sentence}"),
            _ => format!("Client gets {} {sentence}", answer(row)),
        };
        let class = format!("Class {}; who must act: {}", row.class.name(), row.whose());
        let mut wanted = vec![
            told,
            class,
            table::general(&row.explanation),
            row.source.clone(),
        ];
        wanted.extend(table::Values::default().steps(&row.steps));
        wanted.extend(row.names());
        for part in wanted {
            assert!(
                text.contains(&flat(&part)),
                "{typed}: {part:?} is not in {text}"
            );
        }
        assert_eq!(shown["class"], class_in_status(row));
        assert_eq!(shown["sentence"], sentence);
        assert_eq!(shown["response_code"], response_code(row));
    }
}

#[test]
fn explain_takes_what_people_have_in_hand() {
    let explain = |arguments: &[&str], stdin: &str| {
        let mut child = Command::new(BINARY)
            .arg("explain")
            .args(arguments)
            .env("MAILSPLICE_CONFIG", "/nonexistent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let out = child.wait_with_output().unwrap();
        (
            out.status.code().unwrap(),
            String::from_utf8(out.stdout).unwrap(),
        )
    };
    let pasted = "AADSTS7000222: The provided client secret keys for app 'x' are expired. Trace ID: \
        5b2c1f2e-0000-4c52-8f4b-1d2c3b4a5e00 Correlation ID: 6d1f8a57-0000-4a5b-9c1e-7f0f2f7b1a00";
    for (arguments, stdin, word) in [
        (&["aadsts50076"][..], "", "AADSTS50076"),
        (&["50076"], "", "AADSTS50076"),
        (&[pasted], "", "6d1f8a57-0000-4a5b-9c1e-7f0f2f7b1a00"),
        (&["-"], pasted, "AADSTS7000222"),
        (
            &[
                "A1",
                "BAD",
                "User",
                "is",
                "authenticated",
                "but",
                "not",
                "connected.",
            ],
            "",
            "Set-CASMailbox",
        ),
        (
            &["-ERR Authentication failure: unknown user name or bad password."],
            "",
            "POP3 servers",
        ),
        (&["535 5.7.139"], "", "Set-TransportConfig"),
        (&["5.7.139"], "", "basic authentication"),
        (&["[AUTHENTICATIONFAILED]"], "", "password add USER"),
        (
            &["535 5.7.8 Invalid credentials"],
            "",
            "mailsplice password list USER",
        ),
        (
            &["530 5.7.0 Must issue a STARTTLS command first"],
            "",
            "mailsplice itself",
        ),
        (&["-"], "refused: not in allow_from", "in its log"),
    ] {
        let (status, text) = explain(arguments, stdin);
        assert_eq!(status, 0, "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
    let (status, text) = explain(&["invalid_client: AADSTS99999: new"], "");
    assert_eq!(status, 1);
    assert!(
        text.contains("AADSTS99999: not in the table") && text.contains("invalid_client"),
        "{text}"
    );
    assert!(text.contains("correlation id"), "{text}");
    let (status, text) = explain(&["AADSTS99999", "--json"], "");
    assert_eq!(status, 1);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&report["version"], &report["unknown"]),
        (&json!(1), &json!(["AADSTS99999"]))
    );
    for text in ["gibberish", "530 5.7.0 gibberish", "after 535 tries"] {
        let (status, said) = explain(&[text], "");
        assert!(status == 1 && said.contains("ot known"), "{text}: {said}");
        assert!(!said.contains("Meaning"), "{text}: {said}");
    }
    let (status, text) = explain(&["451 4.7.0 Invalid credentials", "--json"], "");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &report["own"][0]["where"]), (0, &json!("client")));
    for wrong in [&[][..], &["--nonsense"], &["--list", "x"]] {
        assert_eq!(explain(wrong, "").0, 64, "{wrong:?}");
    }
}

/// Errors that come with the redirect of a sign-in, by the way an operator meets them.
#[tokio::test]
async fn a_refused_sign_in_says_the_row() {
    let lab = Lab::new().await;
    let endpoint = lab.endpoint.address;
    let yaml = lab.yaml("  - { user: bob@contoso.test, provider: person }\n");
    let person = format!(
        "providers:\n  - name: person\n    preset: custom\n    client_id: the-client\n    \
         flow: authorization_code\n    authorization_url: http://{endpoint}/authorize\n    \
         token_url: http://{endpoint}/token\n    scopes: [mail]\n    servers:\n      \
         imap: {{ address: 'localhost:1', tls: implicit }}\n"
    );
    lab.prepare(&yaml.replacen("providers:\n", &person, 1));
    for value in [
        "access_denied",
        "admin_policy_enforced",
        "org_internal",
        "disallowed_useragent",
        "redirect_uri_mismatch",
        "temporarily_unavailable",
        "consent_required",
    ] {
        let row = table::error(value).unwrap();
        let said = sign_in(&lab.path("proxy.yaml"), &format!("error={value}"));
        let sentence = said.strip_prefix("mailsplice: ").unwrap_or(&said);
        let sentence = sentence.split(" [").next().unwrap();
        assert!(is_filled(&row.sentence, sentence), "{value}: {said}");
        assert!(said.contains(&format!("[{value}]")), "{said}");
    }
    let query = "error=access_denied&error_description=AADSTS65004%3A+declined";
    let said = sign_in(&lab.path("proxy.yaml"), query);
    assert!(
        said.contains("Consent is missing") && said.contains("[AADSTS65004]"),
        "{said}"
    );
}

/// Runs `login --paste` up to a redirect with this query; the last line on stderr that is ours.
fn sign_in(config: &Path, query: &str) -> String {
    let mut child = Command::new(BINARY)
        .args(["login", "bob@contoso.test", "--paste", "--config"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut url)
        .unwrap();
    let state = url
        .split("state=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap()
        .trim();
    let pasted = format!("http://localhost/?{query}&state={state}\n");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(pasted.as_bytes())
        .unwrap();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    let mut ours = said.lines().filter(|line| line.starts_with("mailsplice: "));
    // The first names the state folder.
    let ours = ours.find(|line| !line.contains("state folder"));
    ours.unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// The document is made of the table: `UPDATE_DOCS=1 cargo test --test it errors::the_document`.
#[test]
fn the_document_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/errors.md");
    let made = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "run: UPDATE_DOCS=1 cargo test --test it errors::the_document"
    );
}

fn document() -> String {
    let mut text = String::from(
        "# Errors\n\n\
         What mailsplice, providers and mail servers say, and what it means. Made from the tables in the program; the same as \
         `mailsplice explain CODE`,\nwhich also takes a whole error text. *Client gets* is what the mail program is told: \
         `NO [UNAVAILABLE]` for the class temporary,\n`NO [CONTACTADMIN]` for the others, with this sentence (POP3: `-ERR [SYS/TEMP]`, `-ERR [SYS/PERM]`; SMTP: `454 4.7.0`). \
         Words in capitals stand for the account's own values.\n\n\
         | class | who must act |\n|---|---|\n\
         | temporary | nobody: it passes by itself, mailsplice tries again |\n\
         | sign-in | the user: `mailsplice login USER` |\n\
         | admin | the organisation's administrator |\n\
         | configuration | the operator of mailsplice |\n\n\
         Not in the table: by the `error` value of the answer. Transient ones are tried again, `invalid_grant` and similar values \
         ask for a new\nsign-in, all others are for the administrator, with correlation id and time in the log.\n",
    );
    own_section(&mut text);
    let suberror = |row: &Row| {
        let value = row.value.as_deref();
        value.is_some() && value.and_then(table::error) != Some(row) && row.described.is_none()
    };
    section(
        &mut text,
        "Microsoft: AADSTS numbers",
        table::token_rows().filter(|row| !row.codes.is_empty()),
    );
    section(
        &mut text,
        "`error` values of token endpoints and redirects",
        table::token_rows().filter(|row| row.value.is_some() && !suberror(row)),
    );
    section(
        &mut text,
        "Microsoft: `suberror` values",
        table::token_rows().filter(|row| suberror(row)),
    );
    section(&mut text, "Mail servers", table::mail_rows());
    text
}

/// What mailsplice says itself, first to mail programs and then in its log.
fn own_section(text: &mut String) {
    use std::fmt::Write as _;
    let plain = |words: &str| {
        let words = table::general(words).replace('<', "&lt;");
        words.replace('|', "\\|").replace('*', "\\*")
    };
    let (log, told): (Vec<_>, Vec<_>) = ours::rows().iter().partition(|own| own.log);
    let titles = [
        "What mailsplice says to mail programs",
        "What mailsplice writes in its log",
    ];
    for (title, rows) in titles.into_iter().zip([told, log]) {
        writeln!(text, "\n## {title}").unwrap();
        for own in rows {
            let names = own.names();
            writeln!(text, "\n### {}\n", plain(&names[0])).unwrap();
            for also in &names[1..] {
                writeln!(text, "- Also: {}", plain(also)).unwrap();
            }
            if !own.says.is_empty() && !own.codes.is_empty() {
                writeln!(text, "- With: {}", own.codes.join(", ")).unwrap();
            }
            writeln!(text, "- Who must act: {}", own.whose.words()).unwrap();
            writeln!(text, "\n{}\n", plain(&own.meaning)).unwrap();
            let steps = table::Values::default().steps(&own.steps);
            for (number, step) in steps.iter().enumerate() {
                writeln!(text, "{}. {}", number + 1, plain(step)).unwrap();
            }
        }
    }
}

fn section(text: &mut String, title: &str, rows: impl Iterator<Item = &'static Row>) {
    use std::fmt::Write as _;
    writeln!(text, "\n## {title}").unwrap();
    // What looks like a tag or a table in Markdown is neither.
    let plain = |words: &str| {
        table::general(words)
            .replace('<', "&lt;")
            .replace('|', "\\|")
    };
    for row in rows {
        writeln!(
            text,
            "\n### {}\n",
            row.names().join(", ").replace('<', "&lt;")
        )
        .unwrap();
        writeln!(text, "{}", plain(&row.explanation)).unwrap();
        writeln!(text, "\n- Class: {}", row.class.name()).unwrap();
        match &row.reply {
            Some(reply) => {
                let protocols: Vec<_> = reply.protocols.iter().map(|one| one.acronym()).collect();
                writeln!(
                    text,
                    "- Said by {} servers: `{}`",
                    protocols.join(", "),
                    reply.example
                )
                .unwrap();
                let then = match reply.when {
                    When::Session => "Client gets these words; status says",
                    _ => "Client gets",
                };
                writeln!(text, "- {then}: {}", plain(&row.sentence)).unwrap();
            }
            None => writeln!(text, "- Client gets: {}", plain(&row.sentence)).unwrap(),
        }
        writeln!(text, "- Source: {}\n", plain(&row.source)).unwrap();
        for (number, step) in table::Values::default()
            .steps(&row.steps)
            .iter()
            .enumerate()
        {
            writeln!(text, "{}. {}", number + 1, plain(step)).unwrap();
        }
    }
}

/// What is known of a number stands in its row: the code knows none.
#[test]
fn numbers_stand_in_the_table_alone() {
    let known: Vec<String> = table::token_rows()
        .flat_map(|row| row.codes.iter().map(u32::to_string))
        .collect();
    // The configuration is read without the table, and names the refusal that it saves people from.
    let excepted = ("config/provider.rs", "9001023");
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![src];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.to_string_lossy();
            let of_tests = name.contains("tests") || name.ends_with("contract.rs");
            if path.extension().is_none_or(|end| end != "rs") || of_tests {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let lines = code.lines().map(str::trim_start);
            for line in lines.filter(|line| !line.starts_with("//")) {
                let line = line.replace('_', "");
                for number in line.split(|c: char| !c.is_ascii_digit()) {
                    let allowed = name.ends_with(excepted.0) && number == excepted.1;
                    if !allowed && known.iter().any(|code| code == number) {
                        found.push(format!("{name}: {line}"));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
