//! What can go wrong with device passwords.

use std::path::PathBuf;

use crate::input::network::{NetworkFault, SITE};
use crate::input::unseen::Unseen;
use crate::store::StoreError;

/// Why a device password could not be read, added or removed. No text in it ever holds a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// A file, folder or lock.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The password file makes no sense.
    #[error("{} is damaged ({what}): restore it, or remove it and add the passwords again", path.display())]
    Corrupt {
        /// The password file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The password file is of a format whose limits anybody could change.
    #[error(
        "{} has format 1, which does not protect the limits in it: remove it and add the passwords again",
        path.display()
    )]
    TooOld {
        /// The password file.
        path: PathBuf,
    },
    /// The password file is not as this program wrote it.
    #[error(
        "{} was changed by something other than \"mailsplice password\" (its MAC is wrong): restore it, or \
         remove it and add the passwords again",
        path.display()
    )]
    Changed {
        /// The password file.
        path: PathBuf,
    },
    /// The password file was written by a newer version of this program.
    #[error("{} has format {version}, which this version cannot read: upgrade", path.display())]
    TooNew {
        /// The password file.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// The password file was written under another store key, so none of its passwords can match.
    #[error(
        "{} was written under another store key: restore that key, or remove the file and add the passwords again",
        path.display()
    )]
    OtherKey {
        /// The password file.
        path: PathBuf,
    },
    /// The password file belongs to another account: it was renamed or copied.
    #[error("{} holds the passwords of another account: it was renamed or copied", path.display())]
    OtherAccount {
        /// The password file.
        path: PathBuf,
    },
    /// The label is empty, too long or has control characters.
    #[error("a label has 1 to 64 characters, none of them a control character")]
    BadLabel,
    /// The account has a password of that label.
    #[error(
        "{user} already has a password labelled {label:?}: choose another label or remove it first"
    )]
    LabelTaken {
        /// The account.
        user: String,
        /// The label.
        label: String,
    },
    /// The account has no password of that label.
    #[error("{user} has no password labelled {label:?}")]
    NoSuchLabel {
        /// The account.
        user: String,
        /// The label.
        label: String,
    },
    /// The account has as many passwords as it may.
    #[error("{user} has {most} passwords, which is the most: remove one first")]
    TooMany {
        /// The account.
        user: String,
        /// The limit.
        most: usize,
    },
    /// A password for a whole domain that would work from everywhere.
    #[error(
        "a password of {user} opens every mailbox of the domain: say with --from from which networks \
         it works, those of a site: all together no more than {SITE}"
    )]
    NoNetwork {
        /// The account.
        user: String,
    },
    /// A given password that cannot be used.
    #[error("the password cannot be used: {0}")]
    BadPassword(&'static str),
    /// A given password with what nobody sees, or with quotation marks around it.
    #[error(
        "the password cannot be used: {0}. If it truly belongs there, give the device another password"
    )]
    UnseenInPassword(Unseen),
    /// Not an address or network.
    #[error("{}{fault}", quoted(text, fault))]
    BadNetwork {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        fault: NetworkFault,
    },
}

/// What was given, where the fault doesn't show it.
fn quoted(text: &str, fault: &NetworkFault) -> String {
    match fault {
        NetworkFault::NotOne => format!("{text:?} "),
        _ => String::new(),
    }
}
