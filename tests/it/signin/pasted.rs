//! What may be pasted: long, wrapped and escaped addresses, from a pipe and on a terminal.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::*;

/// The address with as long a further parameter as some providers send, before the code.
fn lengthened(address: &str) -> String {
    address.replacen('?', &format!("?session_state={}&", "s".repeat(6000)), 1)
}

/// As a mail program quotes and wraps it.
fn wrapped(address: &str) -> String {
    let octets: Vec<&[u8]> = address.as_bytes().chunks(70).collect();
    let lines = octets
        .into_iter()
        .map(|line| std::str::from_utf8(line).unwrap());
    lines.map(|line| format!("> {line}\r\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_may_bring_long_wrapped_and_escaped_addresses() {
    let (lab, _idp) = people("mail, openid").await;
    let cases: [fn(&str) -> String; 8] = [
        |address| format!("{address}\n"),
        // No end of line, and then the end.
        |address| address.to_owned(),
        |address| lengthened(address) + "\n",
        |address| address.replace('&', "&amp;") + "\n",
        wrapped,
        |address| {
            format!(
                "Hello Alice,\n\nthis is it:\n{}\nKind regards\n",
                wrapped(address)
            )
        },
        |address| format!("wrong\n\nhttp://localhost:49517/?code=x&state=old\n{address}\n"),
        |address| wrapped(&lengthened(address)) + "\n",
    ];
    for (number, pasted) in cases.into_iter().enumerate() {
        let mut login = Login::start(&lab, &[], Stdio::piped()).await;
        let pasted = pasted(&login.address);
        login.stdin().write_all(pasted.as_bytes()).unwrap();
        let ran = login.end();
        assert_eq!(ran.status(), 0, "{number}: {pasted}\n{}", ran.stderr());
        assert!(ran.stdout().contains("is signed in"), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_word_says_what_happened() {
    let (lab, idp) = people("mail, openid").await;
    let cases = [
        ("", "nothing was pasted, and nothing saved"),
        ("\n \n", "nothing was pasted, and nothing saved"),
        ("nonsense\n", "stdin has ended: nothing was saved"),
        (
            "http://localhost:49517/?code=x&state=old\n",
            "stdin has ended: nothing was saved",
        ),
    ];
    for (pasted, last) in cases {
        let mut login = Login::start(&lab, &[], Stdio::piped()).await;
        login.stdin().write_all(pasted.as_bytes()).unwrap();
        let ran = login.end();
        let said = ran.stderr();
        assert_eq!(ran.status(), 1, "{pasted:?}: {said}");
        assert!(said.trim_end().ends_with(last), "{pasted:?}: {said}");
    }
    let mut login = Login::start(&lab, &[], Stdio::piped()).await;
    let _ = login.stdin().write_all(&b"y\n".repeat(1_000_000));
    let ran = login.end();
    assert_eq!(ran.status(), 1);
    assert!(
        ran.stderr().contains("too much was pasted"),
        "{}",
        ran.stderr()
    );
    assert!(idp.token_requests().is_empty());
}

/// A pseudo-terminal: the end a person sits at, and the program's.
fn terminal() -> (File, OwnedFd) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    // What it echoes is taken away, as a terminal does.
    let mut screen = File::from(person.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while screen.read(&mut piece).is_ok_and(|count| count > 0) {}
    });
    (File::from(person), program.into())
}

fn hands_out_lines(terminal: &OwnedFd) -> bool {
    let modes = tcgetattr(terminal).unwrap().local_modes;
    modes.contains(LocalModes::ICANON | LocalModes::ECHO)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_takes_long_and_wrapped_addresses_and_is_set_back() {
    let (lab, _idp) = people("mail, openid").await;
    let cases: [fn(&str) -> String; 4] = [
        |address| lengthened(address) + "\r",
        // Typed badly, and put right.
        |address| format!("xyz\u{7f}\u{7f}\u{7f}{address}q\u{7f}\r"),
        |address| format!("gone\u{15}\u{1b}[200~{address}\u{1b}[201~\r"),
        |address| wrapped(address).replace("\r\n", "\r") + "\r",
    ];
    for (number, pasted) in cases.into_iter().enumerate() {
        let (mut person, program) = terminal();
        assert!(hands_out_lines(&program));
        let stdin = Stdio::from(program.try_clone().unwrap());
        let login = Login::start(&lab, &[], stdin).await;
        assert!(!hands_out_lines(&program));
        person.write_all(pasted(&login.address).as_bytes()).unwrap();
        let ran = login.end();
        assert_eq!(ran.status(), 0, "{number}: {}", ran.stderr());
        assert!(hands_out_lines(&program), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_set_back_when_somebody_gives_up() {
    let (lab, _idp) = people("mail, openid").await;
    for (signal, keys, last) in [
        (Some("-INT"), "half an addr", "stopped: nothing was saved"),
        (Some("-TERM"), "", "stopped: nothing was saved"),
        (None, "\u{4}", "nothing was pasted, and nothing saved"),
    ] {
        let (mut person, program) = terminal();
        let stdin = Stdio::from(program.try_clone().unwrap());
        let login = Login::start(&lab, &[], stdin).await;
        assert!(!hands_out_lines(&program));
        person.write_all(keys.as_bytes()).unwrap();
        if let Some(signal) = signal {
            let pid = login.child.id().to_string();
            let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
            assert!(sent.success());
        }
        let ran = login.end();
        assert_eq!(ran.status(), 1);
        assert!(ran.stderr().trim_end().ends_with(last), "{}", ran.stderr());
        assert!(hands_out_lines(&program), "{signal:?}");
    }
}
