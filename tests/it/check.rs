//! `mailsplice check`: what can't work ends with 78, all of it in one run; what the documents show is good.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::support::Lab;
use crate::support::proxy::{Ran, run};

const ZEROS: &str = "00000000-0000-0000-0000-000000000000";

/// Lines of stderr that begin like this, without that.
fn lines(ran: &Ran, kind: &str) -> Vec<String> {
    let words = ran.stderr();
    let of_kind = words.lines().filter_map(|line| line.strip_prefix(kind));
    of_kind.map(|line| line.trim_start().to_owned()).collect()
}

/// Ends with 78 and this one fault, and warns of nothing.
fn one_fault(lab: &Lab, words: &str) {
    let ran = run(lab, &["check"], "");
    assert_eq!(ran.status(), 78, "{}", ran.stderr());
    let faults = lines(&ran, "fault:");
    assert_eq!(faults.len(), 1, "{words}: {}", ran.stderr());
    assert!(faults[0].contains(words), "{words}: {faults:?}");
    assert_eq!(lines(&ran, "warning:"), Vec::<String>::new());
    assert!(ran.stderr().ends_with(": 1 fault\n"), "{}", ran.stderr());
    assert_eq!(ran.stdout(), "");
}

/// A lab whose `check` finds nothing.
async fn sound(extra: &str) -> Lab {
    let lab = Lab::new().await;
    lab.prepare(&lab.yaml(extra));
    fs::set_permissions(lab.path("secret"), Permissions::from_mode(0o600)).unwrap();
    lab
}

fn pair(lab: &Lab, from: i32, to: i32) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    let made = params.self_signed(&key).unwrap();
    fs::write(lab.path("c.pem"), made.pem()).unwrap();
    fs::write(lab.path("k.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(lab.path("k.pem"), Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_certificate_outside_its_time_is_a_fault() {
    let lab = sound("tls: { certificate: c.pem, private_key: k.pem }\n").await;
    // Made for one name; the others nobody wrote.
    pair(&lab, 2020, 2999);
    let ran = run(&lab, &["check"], "").success();
    assert_eq!(lines(&ran, "warning:"), Vec::<String>::new());
    pair(&lab, 2020, 2021);
    one_fault(&lab, "c.pem: the certificate ended ");
    pair(&lab, 2998, 2999);
    one_fault(&lab, "c.pem: the certificate is not valid yet");
    // A name that somebody wrote is asked for.
    pair(&lab, 2020, 2999);
    let names = "tls: { certificate: c.pem, private_key: k.pem, names: [localhost, mail.test] }\n";
    fs::write(lab.path("proxy.yaml"), lab.yaml(names)).unwrap();
    let ran = run(&lab, &["check"], "").success();
    let warnings = lines(&ran, "warning:");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("mail.test"), "{warnings:?}");
}

#[tokio::test]
async fn programs_ids_and_scopes_that_cannot_work_are_one_fault_each() {
    let lab = sound("").await;
    let write = |yaml: String| fs::write(lab.path("proxy.yaml"), yaml).unwrap();
    write(lab.yaml("notify: [{ command: [no-such-program-here] }]\n"));
    one_fault(
        &lab,
        "notify[0].command: no-such-program-here is in no folder",
    );
    write(lab.yaml("notify: [{ command: [./tell.sh] }]\n"));
    one_fault(&lab, "tell.sh is not there");
    fs::write(lab.path("tell.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(lab.path("tell.sh"), Permissions::from_mode(0o644)).unwrap();
    one_fault(&lab, "tell.sh can't be run");
    fs::set_permissions(lab.path("tell.sh"), Permissions::from_mode(0o755)).unwrap();
    run(&lab, &["check"], "").success();
    write(lab.yaml("").replace("the-client", ZEROS));
    one_fault(
        &lab,
        "put the Application (client) ID of your registration there",
    );
    let microsoft = |scope: &str| {
        format!(
            "state_dir: ./state\nlisteners: [{{ name: a, protocol: imap, bind: '127.0.0.1:0', tls: none }}]\n\
             providers: [{{ name: m, preset: microsoft, client_id: c, scopes: [{scope}] }}]\n\
             accounts: [{{ user: a@contoso.test, provider: m }}]\n"
        )
    };
    for scope in [
        "'https://graph.microsoft.com/IMAP.AccessAsUser.All'",
        "'https://graph.microsoft.com/Mail.Read', offline_access",
        "Mail.Send, offline_access",
        "IMAP.AccessAsUser.All, offline_access",
    ] {
        write(microsoft(scope));
        one_fault(&lab, "providers[0].scopes: ask for Microsoft Graph");
    }
    write(microsoft(
        "'https://outlook.office.com/IMAP.AccessAsUser.All'",
    ));
    let ran = run(&lab, &["check"], "").success();
    let warnings = lines(&ran, "warning:");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("offline_access"), "{warnings:?}");
}

#[tokio::test]
async fn all_faults_come_in_one_run() {
    let lab = sound("").await;
    pair(&lab, 2020, 2021);
    fs::write(lab.path("secret"), "CLIENT-SECRET-VALUE\nexpires 2027\n").unwrap();
    let yaml = lab.yaml(
        "tls: { certificate: c.pem, private_key: k.pem }\nnotify: [{ command: [./tell.sh] }]\n\
         limits: { idle: soon }\nnonsense: 1\n",
    );
    // With an unknown key nobody knows whether the places with defaults are meant.
    let parts = |yaml: &str, wanted: &[&str]| {
        fs::write(lab.path("proxy.yaml"), yaml).unwrap();
        let ran = run(&lab, &["check"], "");
        assert_eq!(ran.status(), 78);
        let faults = lines(&ran, "fault:");
        assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
        for (fault, words) in faults.iter().zip(wanted) {
            assert!(fault.contains(words), "{words}: {faults:#?}");
        }
        assert!(!ran.stderr().contains("CLIENT-SECRET-VALUE"));
    };
    let (limit, secret, hook) = (
        "limits.idle: ",
        "client_secret of provider contoso: ",
        "notify[0].command: ",
    );
    parts(&yaml, &[limit, "nonsense", secret, hook]);
    let yaml = yaml.replace("nonsense: 1\n", "");
    parts(
        &yaml,
        &[limit, "c.pem: the certificate ended", secret, hook],
    );
    // What holds the fault is not guessed at.
    let yaml = yaml.replace("private_key: k.pem", "private_keys: k.pem");
    parts(
        &yaml,
        &["tls.private_keys", "tls.private_key:", limit, secret, hook],
    );
    let yaml = yaml.replace("state_dir: ./state\n", "state_dir: []\n");
    parts(
        &yaml,
        &[
            "state_dir",
            "tls.private_keys",
            "tls.private_key:",
            limit,
            secret,
            hook,
        ],
    );
    // No tree, no guess.
    parts("listeners: [\n", &["proxy.yaml: line"]);
}

#[tokio::test]
async fn the_files_of_the_documents_are_good_but_for_the_zeros() {
    let root = env!("CARGO_MANIFEST_DIR");
    let read = |name: &str| fs::read_to_string(format!("{root}/{name}")).unwrap();
    let readme = read("README.md");
    let sample = readme.split("```yaml\n").nth(1).unwrap();
    let sample = sample.split("```").next().unwrap();
    for yaml in [
        read("proxy.example.yaml"),
        format!("state_dir: ./state\n{sample}"),
    ] {
        let lab = Lab::new().await;
        fs::write(lab.path("proxy.yaml"), &yaml).unwrap();
        one_fault(&lab, "client_id of provider contoso");
        // Before the first start, and with what that makes.
        let yaml = yaml.replace(ZEROS, "6c3f1b1e-0000-4000-8000-000000000001");
        fs::write(lab.path("proxy.yaml"), yaml).unwrap();
        for _ in 0..2 {
            let ran = run(&lab, &["check"], "").success();
            assert_eq!(lines(&ran, "warning:"), Vec::<String>::new());
            let add = ["password", "add", "alice@contoso.com"];
            run(&lab, &add, "").success();
            run(&lab, &["cert", "renew"], "").success();
        }
    }
}

#[tokio::test]
async fn a_state_folder_that_its_owner_cannot_write_to_is_a_fault() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can give folders away");
        return;
    }
    let lab = sound("").await;
    let nobody = Some(65534);
    fs::set_permissions(lab.dir.path(), Permissions::from_mode(0o755)).unwrap();
    for file in ["secret", "proxy.yaml", "private-ca.pem"] {
        chown(lab.path(file), nobody, nobody).unwrap();
    }
    fs::remove_dir_all(lab.path("state")).unwrap();
    fs::create_dir(lab.path("state")).unwrap();
    chown(lab.path("state"), nobody, nobody).unwrap();
    fs::set_permissions(lab.path("state"), Permissions::from_mode(0o700)).unwrap();
    run(&lab, &["check"], "").success();
    fs::set_permissions(lab.path("state"), Permissions::from_mode(0o500)).unwrap();
    one_fault(&lab, "state can't be written by this user");
    // A part of it that is somebody else's.
    fs::set_permissions(lab.path("state"), Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(lab.path("state/locks")).unwrap();
    fs::set_permissions(lab.path("state/locks"), Permissions::from_mode(0o700)).unwrap();
    one_fault(&lab, "state/locks can't be written by this user");
}
