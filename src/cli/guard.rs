//! The process leaves no image of its memory behind: it holds tokens, passwords and keys.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Ends core dumps, for this process and what it runs, and closes it to debuggers of the same user.
///
/// The limit alone would not do: a core that goes to a program, as with systemd-coredump, is made whatever
/// the limit is (core(5)). What isn't dumpable can't be traced either, and its files in `/proc` are root's
/// (PR_SET_DUMPABLE(2const)).
///
/// # Errors
/// When the system refuses, as filters of system calls may.
pub(super) fn close() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
