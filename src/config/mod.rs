//! Configuration: one YAML file, read into a checked model. Never written by the program.
//!
//! All faults of a file are reported at once, each with its line and its place in the tree, and
//! none of them shows a value of the file: it might be a secret. The way of a file: `yaml` makes
//! a tree of nodes that know their lines, `shape` compares it with the declarations in `keys`,
//! and the rooms for each section read it into the `model`, looking at what belongs together.

mod account;
mod choice;
mod egress;
mod ehlo_name;
mod fault;
mod forms;
mod general;
mod hint;
mod keys;
mod limits;
mod listener;
mod load;
mod model;
mod notify;
mod preset;
mod provider;
mod reach;
mod relay;
mod schema;
mod secret;
mod servers;
mod shape;
mod view;
mod yaml;

pub use self::fault::{Fault, Faults};
pub use self::hint::did_you_mean;
pub use self::limits::Limits;
pub use self::load::{Examined, Loaded, examine, find, load, load_in, parse};
pub use self::model::{
    Account, Audit, ClientCertificate, Config, Egress, Listener, PresetName, Provider, Server,
    Servers, TlsFiles, Trust,
};
pub use self::notify::{Notify, NotifyTarget};
pub use self::relay::{Intake, Relay, Repair, Sender};
pub use self::secret::{SecretError, SecretSource};
pub use crate::input::words::{ClientAuth, Flow, NoProxy, NoticeKind, ProxyKind, TlsMode};
pub use crate::proto::sasl::Mechanism;

/// The JSON schema (draft 2020-12) of the file, as kept in `docs/config.schema.json`.
pub fn schema() -> serde_json::Value {
    schema::schema()
}
