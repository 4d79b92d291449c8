//! The sections of which there is one: paths, certificate, trust, limits.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::fault::Report;
use super::forms;
use super::limits::{IDLE_LEAST, Limits};
use super::model::{Audit, TlsFiles, Trust};
use super::secret::SecretSource;
use super::view::View;

/// Environment variables, so that tests need not set any.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The variable in which systemd gives a service its folder.
pub(super) const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// The folder for the system-wide file: the same whoever runs a command, and where systemd puts it.
const SYSTEM_STATE: &str = "/var/lib/mailsplice";

/// The folder of everything that the program writes. `system`: the file is the system-wide one.
pub(super) fn state_dir(
    file: &View<'_>,
    base: &Path,
    system: bool,
    variables: Variables<'_>,
    report: &mut Report,
) -> PathBuf {
    if let Some(path) = file.file("state_dir", base) {
        return path;
    }
    let path = default_state_dir(system, variables);
    if path.is_none() {
        let message = "is not given, and none of $STATE_DIRECTORY, $XDG_STATE_HOME and $HOME is \
                       set: give a folder";
        report.fault(file.line_of("state_dir"), "state_dir", message);
    }
    path.unwrap_or_default()
}

/// Whether the folder follows from the place of the file or from who runs the program.
pub(super) fn state_dir_is_default(file: &View<'_>, variables: Variables<'_>) -> bool {
    !file.has("state_dir") && service_folder(variables).is_none()
}

fn default_state_dir(system: bool, variables: Variables<'_>) -> Option<PathBuf> {
    let service = service_folder(variables);
    let service = service.or_else(|| system.then(|| PathBuf::from(SYSTEM_STATE)));
    service.or_else(|| user_folder(variables, "XDG_STATE_HOME", ".local/state"))
}

fn service_folder(variables: Variables<'_>) -> Option<PathBuf> {
    // systemd gives several folders, with colons between, when a unit names several.
    let folders = variables(STATE_DIRECTORY)?;
    let first = folders.to_str()?.split(':').next()?.to_owned();
    absolute(OsString::from(first))
}

/// `$<variable>/mailsplice`, or the same below the home folder.
pub(super) fn user_folder(variables: Variables<'_>, name: &str, home: &str) -> Option<PathBuf> {
    let folder = variables(name).and_then(absolute);
    let folder = folder.or_else(|| Some(variables("HOME").and_then(absolute)?.join(home)));
    folder.map(|folder| folder.join("mailsplice"))
}

/// The XDG specification: a relative path is to be ignored.
fn absolute(path: OsString) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    path.is_absolute().then_some(path)
}

/// Where the key lies that seals tokens.
pub(super) fn store_key(file: &View<'_>, base: &Path, state_dir: &Path) -> SecretSource {
    file.secret("store_key", base)
        .unwrap_or_else(|| SecretSource::File(state_dir.join("store.key")))
}

/// The certificate that clients see.
pub(super) fn tls(file: &View<'_>, base: &Path, state_dir: &Path, report: &mut Report) -> TlsFiles {
    let tls = file.map("tls", "tls");
    for (given, other) in [
        ("certificate", "private_key"),
        ("private_key", "certificate"),
    ] {
        if tls.has(given) && !tls.has(other) {
            let message = format!("is missing: it belongs to {given}; give both or neither");
            report.fault(tls.line(), tls.path(other), message);
        }
    }
    let names = tls.texts("names", forms::host);
    let mut names: Vec<String> = names
        .into_iter()
        .map(|name| name.value.to_owned())
        .collect();
    if names.is_empty() {
        names = TlsFiles::LOCAL_NAMES.map(str::to_owned).to_vec();
    }
    let folder = state_dir.join("tls");
    let file_or = |name, default| tls.file(name, base).unwrap_or_else(|| folder.join(default));
    TlsFiles {
        certificate: file_or("certificate", "localhost.pem"),
        private_key: file_or("private_key", "localhost.key"),
        names,
    }
}

/// Whom the program trusts upstream.
pub(super) fn trust(file: &View<'_>, base: &Path) -> Trust {
    Trust {
        extra_ca: file.map("trust", "trust").file("extra_ca", base),
    }
}

/// Where the audit log goes.
pub(super) fn audit(file: &View<'_>, base: &Path) -> Audit {
    Audit {
        file: file.map("audit", "audit").file("file", base),
    }
}

/// The bounds.
pub(super) fn limits(file: &View<'_>, report: &mut Report) -> Limits {
    let view = file.map("limits", "limits");
    let limits = Limits::from_numbers(|name| view.limit(name));
    if limits.idle < IDLE_LEAST {
        let message = "is below 30m: RFC 9051 section 5.4 lets a client be silent that long, and \
                       clients in IDLE are, so sessions will be lost";
        report.warn(view.line_of("idle"), view.path("idle"), message);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_dir_of(set: &[(&str, &str)]) -> Option<PathBuf> {
        state_dir_for(false, set)
    }

    fn state_dir_for(system: bool, set: &[(&str, &str)]) -> Option<PathBuf> {
        default_state_dir(system, &|name| {
            let found = set.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_state_folder_where_none_is_given() {
        let home = ("HOME", "/home/alice");
        let xdg = ("XDG_STATE_HOME", "/data");
        for (set, folder) in [
            (
                &[("STATE_DIRECTORY", "/var/lib/mailsplice"), xdg, home][..],
                "/var/lib/mailsplice",
            ),
            (
                &[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")],
                "/var/lib/a",
            ),
            (&[xdg, home], "/data/mailsplice"),
            (
                &[("XDG_STATE_HOME", "data"), home],
                "/home/alice/.local/state/mailsplice",
            ),
            (
                &[("XDG_STATE_HOME", ""), home],
                "/home/alice/.local/state/mailsplice",
            ),
        ] {
            assert_eq!(state_dir_of(set), Some(PathBuf::from(folder)), "{set:?}");
        }
        assert_eq!(state_dir_of(&[]), None);
        // With the system-wide file it is one folder, whoever asks.
        let system = Some(PathBuf::from("/var/lib/mailsplice"));
        for set in [&[][..], &[home], &[xdg, home]] {
            assert_eq!(state_dir_for(true, set), system);
        }
        let given = ("STATE_DIRECTORY", "/srv/state");
        assert_eq!(
            state_dir_for(true, &[given, xdg]),
            Some("/srv/state".into())
        );
    }
}
