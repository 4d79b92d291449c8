//! What has happened in the sandbox, for the self-check and for tests.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the start.
        #[derive(Debug, Default)]
        pub(super) struct Counters { $($name: AtomicU64),* }

        impl Counters {
            $(pub(super) fn $name(&self) {
                self.$name.fetch_add(1, Ordering::Relaxed);
            })*

            pub(super) fn snapshot(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed)),* }
            }
        }

        /// How often what was asked for, at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) struct Counts { $($(#[$doc])* pub $name: u64),* }
    };
}

counters! {
    /// Requests for the consent page.
    authorize,
    /// Device authorization requests.
    device_code,
    /// Token requests granted.
    token_issued,
    /// Token requests refused, polls of an undecided device among them.
    token_refused,
    /// Revocation requests.
    revoke,
    /// Connections to the mail server, TLS done.
    mail_connections,
    /// Sign-ins the mail server accepted.
    mail_accepted,
    /// Sign-ins the mail server refused.
    mail_refused,
    /// Messages the submission server refused for now.
    mail_put_off,
    /// Messages the submission server took.
    mail_submitted,
}
