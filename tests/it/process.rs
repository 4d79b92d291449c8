//! The process itself: what it leaves of its memory, and what it hands to programs it runs.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;

use crate::support::proxy::BINARY;
use crate::support::{Client, Lab, Proxy, login};

/// Starts the program with core dumps allowed, as far as they may be.
const WITH_CORES: &str = "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$0\" \"$@\"";

#[tokio::test]
async fn a_serve_that_crashes_leaves_no_core() {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(""));
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", WITH_CORES, BINARY]);
    shell.current_dir(lab.dir.path());
    let mut proxy = Proxy::start_by(&lab, shell, &[]).await;
    let pid = proxy.child.id().unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let core: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(core, ["0", "0", "bytes"]);
    // Root still sees its descriptors, as an administrator must.
    if rustix::process::geteuid().is_root() {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        assert!(open.count() > 3);
    }
    proxy.signal("-ABRT");
    let ended = proxy.child.wait().await.unwrap();
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false));
}

/// A process that may be dumped belongs to its user in /proc, and any process of that user may read its
/// memory; one that may not is root's there.
#[tokio::test]
async fn no_process_of_the_same_user_reads_the_memory() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        // Only root can start one as somebody else, and see it from outside.
        return;
    }
    let copy = tempfile::tempdir_in("/tmp").unwrap();
    let program = copy.path().join("mailsplice");
    std::fs::copy(BINARY, &program).unwrap();
    std::os::unix::fs::chown(copy.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let config = copy.path().join("proxy.yaml");
    std::fs::write(
        &config,
        "state_dir: ./state
listeners: [{ name: l, protocol: imap, bind: '127.0.0.1:0', tls: none }]
providers:
  - { name: p, preset: custom, client_id: c, flow: authorization_code, scopes: [mail],
      authorization_url: 'https://idp.invalid/a', token_url: 'https://idp.invalid/t',
      servers: { imap: { address: 'idp.invalid:993', tls: implicit } } }
accounts: [{ user: alice@contoso.test, provider: p }]
",
    )
    .unwrap();
    // It has read its configuration and waits for somebody to paste.
    let mut child = std::process::Command::new(&program)
        .args(["login", "alice@contoso.test", "--paste", "--config"])
        .arg(&config)
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut url)
        .unwrap();
    let owner = std::fs::metadata(format!("/proc/{}/mem", child.id())).map(|meta| meta.uid());
    let _ = child.kill();
    child.wait().unwrap();
    assert!(url.starts_with("https://idp.invalid/a?"), "{url}");
    assert_eq!(owner.unwrap(), 0);
}

#[tokio::test]
async fn a_secret_command_gets_no_other_secrets() {
    let lab = Lab::new().await;
    let out = lab.path("given");
    let command = format!(
        "client_secret: {{ command: [sh, -c, 'env > \"$0\"; echo CLIENT-SECRET-VALUE', '{}'] }}",
        out.display()
    );
    let yaml = lab
        .yaml("")
        .replace("client_secret: { file: secret }", &command);
    assert!(yaml.contains("command:"));
    lab.prepare(&yaml);
    let env = [
        ("OTHER_SECRET", "ENV-SECRET"),
        ("LC_ALL", "C.UTF-8"),
        ("GNUPGHOME", "/nonexistent/keys"),
    ];
    let proxy = Proxy::start(&lab, &env).await;
    let mut client = Client::plain(proxy.address("plain")).await;
    client.send(login()).await;
    client.until("a OK").await;
    let given = std::fs::read_to_string(out).unwrap();
    assert!(!given.contains("ENV-SECRET"), "{given}");
    for kept in ["PATH=", "LC_ALL=C.UTF-8", "GNUPGHOME=/nonexistent/keys"] {
        assert!(given.contains(kept), "{kept} in {given}");
    }
    // Only the shell adds some of its own.
    for line in given.lines() {
        let name = line.split('=').next().unwrap();
        let known = [
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "SHELL",
            "TMPDIR",
            "TZ",
            "LANG",
            "LC_ALL",
            "LC_CTYPE",
            "XDG_RUNTIME_DIR",
            "DBUS_SESSION_BUS_ADDRESS",
            "GNUPGHOME",
            "PASSWORD_STORE_DIR",
            "PWD",
            "OLDPWD",
            "SHLVL",
            "_",
        ];
        assert!(known.contains(&name), "{line}");
    }
}
