//! From a path or a text to a checked configuration.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::fault::{Fault, Faults, Report};
use super::general::{self, Variables};
use super::model::Config;
use super::shape::{self, Kind};
use super::view::View;
use super::{account, egress, keys, listener, notify, provider, reach, relay, yaml};

/// Longest file in bytes; ten thousand accounts take half of it.
const FILE_BYTES: u64 = 1024 * 1024;

/// Most faults reported at once; a file of another kind could have a million.
const FAULTS: usize = 200;

const SYSTEM_FILE: &str = "/etc/mailsplice/proxy.yaml";

/// A configuration that can be used, and what is doubtful in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What should be looked at, in the order of the file.
    pub warnings: Vec<Fault>,
}

/// A file as far as it can be read, for whoever wants to know all that is wrong with it.
#[derive(Clone, Debug)]
pub struct Examined {
    /// What is whole; where a fault stands, the default or nothing. `None`: the file isn't YAML.
    pub config: Option<Config>,
    /// What makes the file unusable, in its order.
    pub faults: Vec<Fault>,
    /// What should be looked at, in the order of the file.
    pub warnings: Vec<Fault>,
}

impl Examined {
    fn loaded(self) -> Result<Loaded, Vec<Fault>> {
        match self.config {
            Some(config) if self.faults.is_empty() => Ok(Loaded {
                config,
                warnings: self.warnings,
            }),
            _ => Err(self.faults),
        }
    }
}

/// Finds the configuration file: `explicit`, else `$MAILSPLICE_CONFIG`, `./proxy.yaml`,
/// `$XDG_CONFIG_HOME/mailsplice/proxy.yaml`, `/etc/mailsplice/proxy.yaml`.
///
/// The first two are taken unseen: [`load`] says when they are not there.
///
/// # Errors
/// When there is none; the fault names every place looked at.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, Faults> {
    find_among(explicit, &|name| env::var_os(name), &|path| path.is_file())
}

fn find_among(
    explicit: Option<&Path>,
    variables: Variables<'_>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<PathBuf, Faults> {
    if let Some(path) = explicit {
        return Ok(path.to_owned());
    }
    if let Some(path) = variables("MAILSPLICE_CONFIG").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let mut places = vec![PathBuf::from("proxy.yaml")];
    let own = general::user_folder(variables, "XDG_CONFIG_HOME", ".config");
    places.extend(own.map(|folder| folder.join("proxy.yaml")));
    places.push(PathBuf::from(SYSTEM_FILE));
    if let Some(path) = places.iter().find(|path| exists(path)) {
        return Ok(path.clone());
    }
    let places: Vec<_> = places
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let message = format!(
        "no configuration found: --config and $MAILSPLICE_CONFIG are not given, and there is no \
         {}",
        places.join(", no ")
    );
    Err(Faults {
        file: None,
        faults: vec![Fault {
            line: None,
            path: String::new(),
            message,
        }],
    })
}

/// Reads and checks a file (at most 1 MiB, UTF-8). No secret it names is read.
///
/// # Errors
/// All faults of the file at once, or the one reason why it can't be read.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    load_with(path, &|name| env::var_os(name))
}

/// As [`load`], with `folder` in the place of `$STATE_DIRECTORY`.
///
/// # Errors
/// As [`load`].
pub fn load_in(path: &Path, folder: &Path) -> Result<Loaded, Faults> {
    load_with(path, &|name| match name {
        general::STATE_DIRECTORY => Some(folder.into()),
        _ => env::var_os(name),
    })
}

/// As [`load`], or with a folder as [`load_in`], but goes on with what is whole where there are faults.
///
/// # Errors
/// The one reason why the file can't be read.
pub fn examine(path: &Path, folder: Option<&Path>) -> Result<Examined, Faults> {
    examine_with(path, &|name| match (name, folder) {
        (general::STATE_DIRECTORY, Some(folder)) => Some(folder.into()),
        _ => env::var_os(name),
    })
}

fn load_with(path: &Path, variables: Variables<'_>) -> Result<Loaded, Faults> {
    let loaded = examine_with(path, variables)?.loaded();
    loaded.map_err(|faults| Faults {
        file: Some(path.to_owned()),
        faults,
    })
}

fn examine_with(path: &Path, variables: Variables<'_>) -> Result<Examined, Faults> {
    let one = |line, message| Faults {
        file: Some(path.to_owned()),
        faults: vec![Fault {
            line,
            path: String::new(),
            message,
        }],
    };
    let bytes = read_file(path).map_err(|error| one(None, format!("can't be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(one(
            None,
            "is larger than 1 MiB, too large for a configuration file".to_owned(),
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to());
        let line = good.filter(|byte| **byte == b'\n').count() + 1;
        one(
            Some(line),
            "is not UTF-8 text here: save the file as UTF-8".to_owned(),
        )
    })?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = absolute.parent().unwrap_or(&absolute);
    Ok(read(&text, base, path, variables))
}

/// Whether the folder of a configuration file is the system-wide one, by whatever way.
fn of_system(base: &Path) -> bool {
    let real = base.canonicalize();
    let system = Path::new(SYSTEM_FILE).parent();
    system.is_some_and(|system| base == system || real.is_ok_and(|real| real == system))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks a text; relative paths are relative to `base`, the folder of its file.
///
/// # Errors
/// All faults of the text at once.
pub fn parse(text: &str, base: &Path) -> Result<Loaded, Faults> {
    let result = if text.len() as u64 > FILE_BYTES {
        let message = "is larger than 1 MiB, too large for a configuration file".to_owned();
        Err(vec![Fault {
            line: None,
            path: String::new(),
            message,
        }])
    } else {
        read(text, base, base, &|name| env::var_os(name)).loaded()
    };
    result.map_err(|faults| Faults { file: None, faults })
}

fn read(text: &str, base: &Path, file: &Path, variables: Variables<'_>) -> Examined {
    let mut report = Report::default();
    let config = check(text, base, file, variables, &mut report);
    report.sort();
    let further = report.faults.len().saturating_sub(FAULTS);
    report.faults.truncate(FAULTS);
    if further > 0 {
        report.fault(None, "", format!("and {further} further faults"));
    }
    Examined {
        config,
        faults: report.faults,
        warnings: report.warnings,
    }
}

/// None only when something was reported.
fn check(
    text: &str,
    base: &Path,
    file: &Path,
    variables: Variables<'_>,
    report: &mut Report,
) -> Option<Config> {
    // Editors of one system put a mark in front that YAML parsers don't agree on.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = yaml::read(text, report);
    if root.is_none() && report.faults.is_empty() {
        report.fault(
            None,
            "",
            "is empty: proxy.example.yaml shows what belongs there",
        );
    }
    let root = root?;
    shape::check(&root, &Kind::Table(&keys::FILE), "", report);
    let view = View::new(Some(&root), &keys::FILE, "");
    let state_dir = general::state_dir(&view, base, of_system(base), variables, report);
    let state_dir_is_default = general::state_dir_is_default(&view, variables);
    let store_key = general::store_key(&view, base, &state_dir);
    let tls = general::tls(&view, base, &state_dir, report);
    let trust = general::trust(&view, base);
    let egress = egress::read(&view, base, report);
    let limits = general::limits(&view, report);
    let audit = general::audit(&view, base);
    let (notify, notify_reminder) = notify::read(&view, base, report);
    let relay = relay::read(&view, base, &state_dir, report);
    let (listeners, used) = listener::read(&view, report);
    let (providers, names) = provider::read(&view, base, used, report);
    let (accounts, users) = account::read(&view, &names, used, report);
    listener::check_logins(&view, &users, report);
    reach::check(&view, report);
    Some(Config {
        file: file.to_owned(),
        state_dir,
        state_dir_is_default,
        store_key,
        tls,
        trust,
        egress,
        limits,
        audit,
        notify,
        notify_reminder,
        relay,
        listeners,
        providers,
        accounts,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsString;

    use super::*;
    use crate::config::Fault;
    use crate::config::shape::Table;
    use crate::config::view::tests::asked;

    /// The tables below a kind, by name.
    fn tables(kind: &Kind, found: &mut Vec<&'static Table>) {
        match kind {
            Kind::List(item) | Kind::OneOrMore(item) => tables(item, found),
            Kind::Table(table) => {
                found.push(table);
                table.keys.iter().for_each(|key| tables(&key.kind, found));
            }
            _ => {}
        }
    }

    #[test]
    fn every_declared_key_is_read() {
        let example = include_str!("../../proxy.example.yaml");
        parse(example, Path::new("/etc")).unwrap();
        // The example has no list of these switched on.
        let hook = "notify: [{ webhook: 'https://hooks.example.org/' }]\n";
        parse(&format!("{hook}{example}"), Path::new("/etc")).unwrap();
        let mut all = Vec::new();
        tables(&Kind::Table(&keys::FILE), &mut all);
        tables(&Kind::Table(&keys::PRESET), &mut all);
        let keys = |table: &&'static Table| {
            let what = table.what;
            table
                .keys
                .iter()
                .map(move |key| (what, key.name.to_owned()))
        };
        let declared: BTreeSet<_> = all.iter().flat_map(keys).collect();
        assert_eq!(declared, asked());
    }

    fn found(
        explicit: Option<&str>,
        set: &[(&str, &str)],
        files: &[&str],
    ) -> Result<PathBuf, Faults> {
        let variables = |name: &str| {
            let found = set.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let exists = |path: &Path| files.iter().any(|file| path == Path::new(file));
        find_among(explicit.map(Path::new), &variables, &exists)
    }

    #[test]
    fn the_first_place_wins() {
        let given = ("MAILSPLICE_CONFIG", "/given.yaml");
        let (xdg, home) = (("XDG_CONFIG_HOME", "/xdg"), ("HOME", "/home/alice"));
        let of_xdg = "/xdg/mailsplice/proxy.yaml";
        let of_home = "/home/alice/.config/mailsplice/proxy.yaml";
        let files = ["proxy.yaml", of_xdg, of_home, SYSTEM_FILE];
        let path = |explicit, set: &[_], files: &[_]| found(explicit, set, files).unwrap();
        assert_eq!(path(Some("a.yaml"), &[given], &files), Path::new("a.yaml"));
        assert_eq!(path(None, &[given, xdg], &files), Path::new("/given.yaml"));
        assert_eq!(path(None, &[xdg], &files), Path::new("proxy.yaml"));
        assert_eq!(path(None, &[xdg, home], &files[1..]), Path::new(of_xdg));
        assert_eq!(path(None, &[home], &files[1..]), Path::new(of_home));
        assert_eq!(path(None, &[], &files[1..]), Path::new(SYSTEM_FILE));
    }

    #[test]
    fn all_places_are_named_when_there_is_none() {
        let message = found(None, &[("HOME", "/home/alice")], &[])
            .unwrap_err()
            .to_string();
        for place in [
            "--config",
            "$MAILSPLICE_CONFIG",
            "proxy.yaml",
            "/home/alice/.config/mailsplice/proxy.yaml",
            SYSTEM_FILE,
        ] {
            assert!(message.contains(place), "{message}");
        }
    }

    #[test]
    fn without_any_folder_to_write_to_one_is_asked_for() {
        let text = "listeners:\n- {name: a, protocol: imap, bind: 127.0.0.1:1, tls: implicit}";
        let here = Path::new("/etc");
        let faults = read(text, here, here, &|_| None).faults;
        let [Fault { path, .. }] = faults.as_slice() else {
            panic!("{faults:?}")
        };
        assert_eq!(path, "state_dir");
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/alice"));
        let config = read(text, here, here, &home).loaded().unwrap().config;
        let state_dir = Path::new("/home/alice/.local/state/mailsplice");
        assert_eq!(config.state_dir, state_dir);
        assert_eq!(config.tls.certificate, state_dir.join("tls/localhost.pem"));
        assert_eq!(
            config.store_key.place(),
            format!("file {}/store.key", state_dir.display())
        );
    }

    #[test]
    fn faults_are_bounded_in_number() {
        let text: String = (0..FAULTS * 2).map(|n| format!("k{n}: 1\n")).collect();
        let faults = parse(&text, Path::new("/")).unwrap_err().faults;
        assert_eq!(faults.len(), FAULTS + 1);
        assert!(faults.last().unwrap().message.ends_with("further faults"));
    }
}
