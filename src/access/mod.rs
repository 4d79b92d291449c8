//! Who may use which account: device passwords, their limits, and the throttling of wrong ones.
//!
//! A wrong try is made cheaper for the proxy than for its sender. Every try first costs two keyed
//! hashes. A miss is charged to the budgets of its address and its account before anything slow
//! happens; within the budgets it costs one look at the password file and, only where a password
//! was given by a person and not made by us, one Argon2id on one of a few slots.
//!
//! **What a stranger can learn.** A wrong password, a wrong user, a right password from a wrong
//! network or for a wrong protocol take the same way: the same hashes against the account's entries
//! or, for an unknown user, against a decoy's; the same look for a changed file; and, as soon as *any*
//! account has a given password, exactly one Argon2id for every miss. Unknown names have budgets
//! like accounts, so that running into one tells nothing either. Not levelled: some nanoseconds per
//! entry of an account, the rereading of a file that was changed just then, and, with a budget used up,
//! the Argon2id of a password that is at home where the try comes from (below), as long as it has not
//! been let in since the start.
//!
//! **Accounts for a whole domain.** Users whom `*@contoso.com` covers have passwords of their own, in files
//! that only the operator makes; only those files, never a try, bring a user into memory. Passwords
//! of the catch-all itself open every mailbox that has no account of its own; they are
//! always limited to networks, and a given one has a budget that all names of the domain share, since
//! a guesser can invent a new name for each try. Every try, for whatever name, is compared with two sets
//! of passwords, the user's and the catch-all's, or decoys; and as soon as any catch-all has a given
//! password, every miss costs a second Argon2id. The client's name becomes the mailbox, so it has to
//! be a plain address ([`crate::input::account::catch_all_for`]).
//!
//! **What a right password is spared.** It never consumes budget. A generated one (over 140 bits, so
//! guessing it is hopeless at any speed) is let in even from an address whose budget is used up: one
//! badly set-up device must not lock out its neighbours behind the same address. A given one,
//! once verified, is remembered until it is changed, as a hash under a key that lives only in this process.
//!
//! **Under attack.** Where a password can be guessed, remembering it must not make guessing cheap, and
//! throttling must not lock its device out. So once an account's budget is used up, a given password
//! counts only where it is *at home*: in a network that it was let in from before (its last few are kept,
//! and outlive a restart), or in one of its own limits. Each of these has a budget of its own, so that
//! neighbours can guess there no faster, and strangers elsewhere take nothing from it. From everywhere else a
//! right one is not looked at. The answer is the account's in every case, so that nobody learns
//! where a device is at home. A catch-all's given password has its networks' budget first, and then those
//! of the networks it was let in from.

mod attempt;
mod entry;
mod error;
mod file;
mod flights;
mod gatekeeper;
mod hashing;
mod identity;
mod known;
mod passwords;
mod ring;
mod state;
mod throttle;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

pub use self::entry::{Entry, Kind, Limits, parse_network};
pub use self::error::AccessError;
pub use self::file::{FOLDER, password_faults};
pub use self::gatekeeper::Gatekeeper;
pub use self::identity::Identity;
pub use self::passwords::{Generated, Given, MIN_GIVEN, PasswordFile};
pub(crate) use self::throttle::{Budget, Network, Table};
use crate::proto::Protocol;

/// The purpose for which the key of this room is derived from the store key.
pub const KEY_PURPOSE: &str = "access: device passwords";

/// How much is allowed to go wrong.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Wrong tries one address (IPv4) or one /64 (IPv6) has within `forget`. A mail program with one
    /// old password makes 6 to 8 at once; 0 counts as 1.
    pub per_address: u32,
    /// Wrong tries one account has within `forget`, from wherever; 0 counts as 1.
    pub per_account: u32,
    /// How long it takes for a used-up budget to be whole again; it comes back evenly.
    pub forget: Duration,
    /// How many slow hashes run at a time; each takes a core and 19 MiB for some 20 ms. 0 counts as 1.
    pub hash_parallel: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            per_address: 30,
            per_account: 60,
            forget: Duration::from_secs(600),
            hash_parallel: 2,
        }
    }
}

/// One try to log in. The user and password are as the client sent them, decoded only.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The user name; UTF-8 without NUL, or the try is refused. Blanks around it don't count.
    pub user: &'a [u8],
    /// The password, any octets.
    pub password: &'a [u8],
    /// Through which protocol.
    pub protocol: Protocol,
    /// From where. An IPv4 address inside IPv6 counts as IPv4.
    pub peer: IpAddr,
    /// `peer` is the client's own address. Else it is that of a load balancer which did not say who the client
    /// is: no password that is limited to networks counts.
    pub named: bool,
}

/// The answer to an [`Attempt`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let in.
    Allowed(Identity),
    /// Not let in. Why is nobody's business.
    Refused,
    /// Not let in, and perhaps not even looked at: too many wrong tries lately.
    Throttled {
        /// When a try will be looked at again, at the earliest.
        retry_after: Duration,
    },
}
