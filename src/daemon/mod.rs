//! Wiring: turns a configuration into running rooms, reloads it, and stops in good order.

mod audit;
mod bind;
mod certificate;
pub mod control;
mod doors;
pub mod mark;
mod queue;
mod readiness;
mod run;
pub mod watch;
pub mod watcher;
pub mod wiring;

use std::path::PathBuf;

pub(crate) use queue::{is_foreign_folder, limits as queue_limits};
pub use run::{Running, serve, start, until_told_to_stop};
use thiserror::Error;

use crate::access::AccessError;
use crate::config::{Faults, SecretError};
use crate::net::tls::TlsError;
use crate::spool::SpoolError;
use crate::store::StoreError;

/// Why the program cannot run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The store key cannot be had.
    #[error("the store key ({place}) cannot be read: {source}")]
    StoreKey {
        /// Where it should be.
        place: String,
        /// Why not.
        source: SecretError,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue cannot be used.
    #[error(transparent)]
    Queue(#[from] SpoolError),
    /// The device passwords cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Certificates or trust.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Addresses that cannot be listened on, all of them.
    #[error("{}", .0.join("\n"))]
    Bind(Vec<String>),
    /// The control socket.
    #[error("the control socket {} cannot be made: {source}", .path.display())]
    Control {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Signals, threads, limits.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}

impl DaemonError {
    /// Whether the configuration is at fault (exit status 78).
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Config(_) | Self::StoreKey { .. } | Self::Queue(SpoolError::Foreign(_))
        )
    }
}
