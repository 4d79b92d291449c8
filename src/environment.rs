//! What programs that are run for us get of our environment: one list for the commands of `config`, which
//! uses no other room, and for those of `notify`.

use std::ffi::OsString;

/// What is passed on. The rest may hold secrets: `env:` of the configuration takes them from there. The
/// last four say where a password manager finds its agent and its store.
const PASSED_ON: [&str; 14] = [
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
];

/// The variables that are passed on, as far as they are set; the rest is to be cleared.
pub(crate) fn passed_on() -> impl Iterator<Item = (&'static str, OsString)> {
    PASSED_ON
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
}
