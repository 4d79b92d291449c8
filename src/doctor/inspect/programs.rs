//! Programs that the configuration names: whether they can be run. None is.

use std::env;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Issue::{self, Fault};

/// Where the system looks without a `$PATH`.
const NO_PATH: &str = "/bin:/usr/bin";

/// Looks for the program of a command as it will be looked for when it is run.
pub(super) fn inspect(what: &str, argv: &[String], issues: &mut Vec<Issue>) {
    let Some(program) = argv.first() else {
        return; // A fault of the file.
    };
    // Without the dots of `./tell.sh`.
    let plain: PathBuf = Path::new(program).components().collect();
    let program = &plain.display().to_string();
    let path = env::var_os("PATH").unwrap_or_else(|| NO_PATH.into());
    let places: Vec<PathBuf> = if program.contains('/') {
        vec![PathBuf::from(program)]
    } else {
        env::split_paths(&path)
            .map(|folder| folder.join(program))
            .collect()
    };
    if let Some(fault) = fault(program, &places) {
        issues.push(Fault(format!("{what}: {fault}")));
    }
}

/// Why none of the places holds a program that can be run.
fn fault(program: &str, places: &[PathBuf]) -> Option<String> {
    let mut first = None;
    for place in places.iter().filter(|place| place.exists()) {
        match unfit(place) {
            None => return None,
            Some(fault) => first = first.or(Some(fault)),
        }
    }
    first.or_else(|| {
        Some(if program.contains('/') {
            format!("{program} is not there: correct the path, or install the program")
        } else {
            format!(
                "{program} is in no folder of $PATH: install the program, or write its whole path"
            )
        })
    })
}

/// What keeps a file from being run.
fn unfit(place: &Path) -> Option<String> {
    let name = place.display();
    if !fs::metadata(place).is_ok_and(|meta| meta.is_file()) {
        return Some(format!("{name} is not a program: name the file to be run"));
    }
    if access(place, Access::EXEC_OK).is_err() {
        return Some(format!(
            "{name} can't be run by this user: chmod 755 {name}, and open the folders above it"
        ));
    }
    let interpreter = interpreter(place)?;
    (!interpreter.exists()).then(|| {
        format!(
            "{name} can't be run: its first line asks for {}, which is not there",
            interpreter.display()
        )
    })
}

/// What the first line of a script asks for.
fn interpreter(place: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(place)
        .ok()?
        .take(256)
        .read_to_end(&mut head)
        .ok()?;
    let line = head.strip_prefix(b"#!")?.split(|octet| *octet == b'\n');
    let line = str::from_utf8(line.into_iter().next()?).ok()?;
    let path = Path::new(line.split_ascii_whitespace().next()?);
    path.is_absolute().then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn found(program: &str) -> Vec<Issue> {
        let mut issues = Vec::new();
        inspect("it", &[program.to_owned(), "word".to_owned()], &mut issues);
        issues
    }

    #[test]
    fn a_program_is_looked_for_as_it_will_be_run() {
        assert_eq!(found("sh"), []);
        assert_eq!(found("/bin/sh"), []);
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        assert_eq!(found(&file("good", "#!/bin/sh\n", 0o755)), []);
        for (program, words) in [
            (
                "no-such-program-here".to_owned(),
                "is in no folder of $PATH",
            ),
            ("/nonexistent/program".to_owned(), "is not there: correct"),
            (folder.path().to_str().unwrap().to_owned(), "not a program"),
            (file("closed", "#!/bin/sh\n", 0o644), "can't be run by this"),
            (
                file("odd", "#! /nonexistent/perl -w\n", 0o755),
                "asks for /nonexistent/perl, which",
            ),
        ] {
            let issues = found(&program);
            let [Fault(text)] = &issues[..] else {
                panic!("{program}: {issues:?}")
            };
            assert!(text.starts_with("it: ") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_later_folder_of_the_path_may_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let unfit = folder.path().join("sh");
        fs::write(&unfit, "").unwrap();
        let places = [unfit.clone(), "/bin/sh".into()];
        assert_eq!(fault("sh", &places), None);
        assert!(fault("sh", &places[..1]).unwrap().contains("can't be run"));
    }
}
