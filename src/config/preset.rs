//! What a provider's preset fills in: data, read by the same code as the file.

use std::collections::BTreeMap;

use super::fault::Report;
use super::listener::ProtocolSet;
use super::model::{PresetName, Servers};
use super::view::View;
use super::yaml::{self, Node};
use super::{forms, keys, servers, shape};
use crate::proto::sasl::Mechanism;
use crate::proto::{ByProtocol, Protocol};

const TEXT: &str = include_str!("presets.yaml");

/// The program's own presets; they can't be refused (a test sees to it), but nothing panics if so.
#[derive(Debug)]
pub(super) struct Presets {
    root: Option<Node>,
}

/// One preset; URLs still hold `{tenant}`.
#[derive(Clone, Debug)]
pub(super) struct Preset {
    pub(super) tenant: Option<String>,
    pub(super) authorization_url: Option<String>,
    pub(super) token_url: Option<String>,
    pub(super) device_authorization_url: Option<String>,
    pub(super) revocation_url: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) sasl: Mechanism,
    pub(super) redirect_uri: String,
    pub(super) authorization_params: BTreeMap<String, String>,
    pub(super) servers: Servers,
    scopes: Scopes,
}

#[derive(Clone, Debug)]
struct Scopes {
    by_protocol: ByProtocol<Vec<String>>,
    always: Vec<String>,
    app: Vec<String>,
}

impl Presets {
    /// Reads all presets.
    pub(super) fn new(report: &mut Report) -> Self {
        let root = yaml::read(TEXT, report);
        for entry in root.as_ref().map(Node::entries).unwrap_or_default() {
            let kind = shape::Kind::Table(&keys::PRESET);
            shape::check(
                &entry.value,
                &kind,
                &format!("presets.{}", entry.key),
                report,
            );
        }
        Self { root }
    }

    pub(super) fn get(&self, name: PresetName) -> Preset {
        let entries = self.root.as_ref().map(Node::entries).unwrap_or_default();
        let node = entries.iter().find(|entry| entry.key == name.as_str());
        let view = View::new(node.map(|entry| &entry.value), &keys::PRESET, "");
        let scopes = view.map("scopes", "");
        let list = |name| {
            let found = scopes.texts(name, forms::scope);
            found
                .into_iter()
                .map(|found| found.value.to_owned())
                .collect()
        };
        Preset {
            tenant: view.text("tenant"),
            authorization_url: view.text("authorization_url"),
            token_url: view.text("token_url"),
            device_authorization_url: view.text("device_authorization_url"),
            revocation_url: view.text("revocation_url"),
            issuer: view.text("issuer"),
            sasl: view.word("sasl").unwrap_or(Mechanism::Xoauth2),
            redirect_uri: view.text("redirect_uri").unwrap_or_default(),
            authorization_params: view.params("authorization_params"),
            servers: servers::read(&view),
            scopes: Scopes {
                by_protocol: ByProtocol::new(|protocol| list(protocol.name())),
                always: list("always"),
                app: list("app"),
            },
        }
    }
}

impl Preset {
    /// What a user must grant: the scopes of the protocols in use, no more.
    pub(super) fn user_scopes(&self, used: ProtocolSet) -> Vec<String> {
        let mut scopes: Vec<String> = Vec::new();
        for protocol in Protocol::ALL {
            if *used.of(protocol) {
                scopes.extend_from_slice(self.scopes.by_protocol.of(protocol));
            }
        }
        scopes.extend_from_slice(&self.scopes.always);
        scopes
    }

    /// What the program asks for on its own behalf; empty: the provider has no such access.
    pub(super) fn app_scopes(&self) -> Vec<String> {
        self.scopes.app.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_without_fault_and_has_every_preset() {
        let mut report = Report::default();
        let presets = Presets::new(&mut report);
        assert_eq!(report.faults, []);
        let root = presets.root.unwrap();
        let names: Vec<_> = root
            .entries()
            .iter()
            .map(|entry| entry.key.as_str())
            .collect();
        assert_eq!(names, PresetName::ALL.map(PresetName::as_str));
    }
}
