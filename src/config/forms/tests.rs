use super::*;

fn split(form: &Form, good: &[&str], bad: &[&str]) {
    for text in good {
        assert_eq!((form.check)(text), Ok(()), "{}: {text}", form.what);
    }
    for text in bad {
        let message = (form.check)(text).expect_err(text);
        assert!(!message.contains("hunter"), "{message}");
    }
}

#[test]
fn loopback_is_what_the_contract_says() {
    split(
        &ENDPOINT,
        &[
            "https://login.example.com/{tenant}/token",
            "http://localhost/t",
            "http://127.8.9.1:81/t",
            "http://[::1]:81/t",
        ],
        &[
            "http://example.com/t",
            "http://localhost.example.com/t",
            "http://128.0.0.1/t",
            "http://[::2]/t",
            "http://0.0.0.0/t",
            "ftp://localhost/t",
            "https://user@example.com/t",
            "https://user:hunter2@example.com/t",
            "https://example.com/t#hunter2",
            "example.com/t",
            "https://",
            "data:hunter2",
            "",
        ],
    );
}

#[test]
fn redirects_stay_here() {
    split(
        &REDIRECT,
        &[
            "http://localhost:{port}/",
            "http://127.0.0.1:8080/back",
            "https://127.0.0.1/",
        ],
        &[
            "http://example.com:{port}/",
            "https://example.com/",
            "http://localhost:{port}/{port}",
            "http://localhost:{port}/#x",
            "urn:ietf:wg:oauth:2.0:oob",
            "http://{port}.example.com/",
        ],
    );
}

#[test]
fn addresses() {
    split(
        &BIND,
        &[
            "127.0.0.1:1993",
            "[::1]:1993",
            "0.0.0.0:0",
            "localhost:1993",
        ],
        &[
            "1993",
            ":1993",
            "127.0.0.1",
            "example.com:993",
            "::1:1993",
            "localhost:65536",
            "",
        ],
    );
    assert_eq!(bind("localhost:5").unwrap().len(), 2);
}

#[test]
fn mail_servers() {
    split(
        &ADDRESS,
        &[
            "imap.example.com:993",
            "[2001:db8::1]:993",
            "192.0.2.1:993",
            "localhost:143",
        ],
        &[
            "imap.example.com",
            "imap.example.com:0",
            "imap.example.com:70000",
            "2001:db8::1:993",
            "[imap.example.com]:993",
            "https://imap.example.com:993",
            "böse.example:993",
            "a..b:993",
            "-a.b:993",
            "1.2.3:993",
            ":993",
            "hunter 2:993",
        ],
    );
    assert_eq!(
        address("[2001:DB8::1]:993"),
        Ok(("2001:db8::1".to_owned(), 993))
    );
    assert_eq!(
        address("IMAP.Example.com:993"),
        Ok(("imap.example.com".to_owned(), 993))
    );
}

#[test]
fn dates() {
    split(
        &DATE,
        &["2027-01-31", "2028-02-29", "2000-02-29", "1970-01-01"],
        &[
            "2027-02-29",
            "2100-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-1-31",
            "31.01.2027",
            "2027-01-32",
            "2027-01-00",
            "2027-01-31T00:00:00Z",
            "1969-12-31",
            "",
            "--",
            "tomorrow",
        ],
    );
    for (text, seconds) in [
        ("1970-01-01", 0),
        ("2000-02-29", 951_782_400),
        ("2026-11-23", 1_795_392_000),
        ("2100-01-01", 4_102_444_800),
    ] {
        assert_eq!(date(text), Ok(seconds));
    }
}

#[test]
fn networks() {
    split(
        &CIDR,
        &[
            "192.0.2.0/24",
            "192.0.2.7",
            "2001:db8::/32",
            "::1",
            "0.0.0.0/0",
        ],
        &[
            "192.0.2.7/24",
            "192.0.2.0/33",
            "192.0.2",
            "localhost",
            "192.0.2.0/",
            "",
        ],
    );
}

#[test]
fn names_and_words() {
    split(
        &TENANT,
        &["common", "contoso.onmicrosoft.com"],
        &["a/b", "..", "", "hunter 2", "ä.de"],
    );
    split(
        &SCOPE,
        &["https://mail.google.com/", "mail-w"],
        &["hunter 2", "", "a\"b", "ä"],
    );
    let (most, more) = ("u".repeat(USER_BYTES), "u".repeat(USER_BYTES + 1));
    split(
        &USER,
        &["alice@example.com", "bob", "ä@ö.de", &most],
        &["", " ", " bob", &more],
    );
    split(&NAME, &["imap"], &["", " ", &"n".repeat(65)]);
}
