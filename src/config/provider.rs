//! Providers: a preset, what the file sets over it, and whether that can work together.

use std::collections::HashMap;
use std::path::Path;

use url::Url;

use super::ehlo_name::ehlo_name;
use super::fault::Report;
use super::listener::ProtocolSet;
use super::model::{ClientCertificate, PresetName, Provider, Servers};
use super::preset::{Preset, Presets};
use super::view::{Found, View};
use super::{forms, keys, servers};
use crate::ground::loopback;
use crate::input::words::{ClientAuth, Flow, TlsMode};
use crate::proto::Protocol;

/// Authorities of Microsoft's that stand for no one tenant.
const SHARED_TENANTS: [&str; 3] = ["common", "organizations", "consumers"];

/// What accounts need to know of a provider, whole or not.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: Option<String>,
    /// None when its preset isn't known.
    pub(super) servers: Option<Servers>,
    /// None when it isn't known.
    pub(super) flow: Option<Flow>,
}

/// The providers that are whole, and a name for each of the file's.
pub(super) fn read(
    file: &View<'_>,
    base: &Path,
    used: ProtocolSet,
    report: &mut Report,
) -> (Vec<Provider>, Vec<Named>) {
    let nodes = file.items("providers");
    if file.has("providers") && !file.is_list("providers") {
        // Reported already: let accounts not say that it holds no provider of their name.
        return (
            Vec::new(),
            vec![Named {
                name: None,
                servers: None,
                flow: None,
            }],
        );
    }
    if nodes.is_empty() {
        let message = "no provider is given: no account can have one";
        report.warn(file.line_of("providers"), "providers", message);
    }
    let presets = Presets::new(report);
    let mut providers = Vec::new();
    let mut named = Vec::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("providers[{index}]");
        let view = View::new(Some(node), &keys::PROVIDER, &path);
        let name = view.parsed("name", forms::name);
        if let Some(Found { value, line }) = &name {
            if let Some(first) = lines.get(*value) {
                let message = format!("is the name of another provider too (line {first})");
                report.fault(*line, view.path("name"), message);
            } else {
                lines.insert((*value).to_owned(), *line);
            }
        }
        if !view.has("client_id") && view.word("flow") != Some(Flow::ServiceAccount) {
            let message = "is missing: give the client id of your app registration";
            report.fault(view.line(), view.path("client_id"), message);
        }
        let preset = view.word("preset");
        let draft = preset.map(|name| Draft::new(view, name, presets.get(name)));
        named.push(Named {
            name: name.map(|found| found.value.to_owned()),
            servers: draft.as_ref().map(|draft| draft.servers.clone()),
            flow: draft
                .as_ref()
                .filter(|draft| draft.flow_is_known())
                .map(|draft| draft.flow),
        });
        providers.extend(draft.and_then(|draft| draft.finish(base, used, report)));
    }
    (providers, named)
}

/// A provider whose preset is known.
struct Draft<'a> {
    view: View<'a>,
    name: PresetName,
    preset: Preset,
    tenant: Option<String>,
    flow: Flow,
    servers: Servers,
}

impl<'a> Draft<'a> {
    fn new(view: View<'a>, name: PresetName, preset: Preset) -> Self {
        let own = servers::read(&view);
        let servers = Servers::new(|protocol| {
            let usual = preset.servers.of(protocol);
            own.of(protocol).as_ref().or(usual.as_ref()).cloned()
        });
        let tenant = view
            .parsed("tenant", forms::tenant)
            .map(|found| found.value.to_owned());
        let tenant = tenant.or_else(|| preset.tenant.clone());
        let flow = view.word("flow").unwrap_or(Flow::AuthorizationCode);
        Self {
            view,
            name,
            preset,
            tenant,
            flow,
            servers,
        }
    }

    fn finish(self, base: &Path, used: ProtocolSet, report: &mut Report) -> Option<Provider> {
        let view = &self.view;
        self.check_tenant(report);
        self.check_flow(report);
        self.check_client(report);
        self.check_servers(report);
        self.check_expiry(report);
        let scopes = self.scopes(used, report);
        let redirect_uri = view
            .text("redirect_uri")
            .unwrap_or_else(|| self.preset.redirect_uri.clone());
        self.check_redirect(&redirect_uri, report);
        let mut authorization_params = self.preset.authorization_params.clone();
        authorization_params.extend(view.params("authorization_params"));
        Some(Provider {
            name: view.text("name")?,
            preset: self.name,
            tenant: self.tenant.clone(),
            client_id: match self.flow {
                Flow::ServiceAccount => String::new(),
                _ => view.text("client_id")?,
            },
            client_secret: view.secret("client_secret", base),
            client_secret_expires: view
                .parsed("client_secret_expires", forms::date)
                .map(|found| found.value),
            client_certificate: self.client_certificate(base),
            service_account_key: view.secret("service_account_key", base),
            flow: self.flow,
            authorization_url: self.url("authorization_url"),
            token_url: self.url("token_url")?,
            device_authorization_url: self.url("device_authorization_url"),
            revocation_url: self.url("revocation_url"),
            issuer: self.issuer(),
            scopes,
            sasl: view.word("sasl").unwrap_or(self.preset.sasl),
            client_auth: view.word("client_auth").unwrap_or(ClientAuth::Body),
            redirect_uri,
            authorization_params,
            ehlo_name: view
                .parsed("ehlo_name", ehlo_name)
                .map(|found| found.value.to_owned()),
            servers: self.servers,
        })
    }

    /// An endpoint as the file or else the preset gives it, `{tenant}` still in it.
    fn template(&self, name: &str) -> Option<&str> {
        let own = self.view.get(name).and_then(|node| node.text());
        own.or_else(|| match name {
            "authorization_url" => self.preset.authorization_url.as_deref(),
            "token_url" => self.preset.token_url.as_deref(),
            "device_authorization_url" => self.preset.device_authorization_url.as_deref(),
            // A token of somebody else's endpoint is not shown to the preset's.
            "revocation_url" if !self.view.has("token_url") => {
                self.preset.revocation_url.as_deref()
            }
            _ => None,
        })
    }

    fn url(&self, name: &str) -> Option<Url> {
        forms::endpoint(self.template(name)?, self.tenant.as_deref()).ok()
    }

    /// The preset's issuer speaks for the preset's endpoints only.
    fn issuer(&self) -> Option<String> {
        let moved = self.view.has("token_url") || self.view.has("authorization_url");
        self.view
            .text("issuer")
            .or_else(|| self.preset.issuer.clone().filter(|_| !moved))
    }

    fn check_tenant(&self, report: &mut Report) {
        let view = &self.view;
        if view.has("tenant") && view.parsed("tenant", forms::tenant).is_none() {
            return; // Reported already.
        }
        let endpoints = [
            "authorization_url",
            "token_url",
            "device_authorization_url",
            "revocation_url",
        ];
        let has_place = |name: &str| {
            self.template(name)
                .is_some_and(|template| template.contains("{tenant}"))
        };
        let (line, path) = (view.line_of("tenant"), view.path("tenant"));
        if let Some(name) = endpoints.into_iter().find(|name| has_place(name))
            && self.tenant.is_none()
        {
            let message = format!("is missing: {name} has a place for it ({{tenant}})");
            report.fault(line, path, message);
        } else if view.has("tenant") && !endpoints.into_iter().any(has_place) {
            let message = "has no effect: no endpoint has a place for it ({tenant})";
            report.warn(line, path, message);
        } else if self.flow == Flow::ClientCredentials
            && has_place("token_url")
            && self.name.is_microsoft()
            && self.tenant.as_deref().is_some_and(|tenant| {
                SHARED_TENANTS
                    .iter()
                    .any(|shared| shared.eq_ignore_ascii_case(tenant))
            })
        {
            let message = "client_credentials needs one tenant, by its verified domain or id: \
                           common, organizations and consumers are refused (AADSTS9001023)";
            report.fault(line, path, message);
        }
    }

    /// Whether the file names a flow that there is, or none; else that was reported already.
    fn flow_is_known(&self) -> bool {
        !self.view.has("flow") || self.view.word::<Flow>("flow").is_some()
    }

    fn check_flow(&self, report: &mut Report) {
        let view = &self.view;
        let preset = self.name.as_str();
        let flow = self.flow.as_str();
        let mut missing = |key: &str, message: String| {
            report.fault(
                view.line(),
                view.path(key),
                format!("is missing: {message}"),
            );
        };
        if self.template("token_url").is_none() {
            missing("token_url", format!("preset {preset} fills in none"));
        }
        if !self.flow_is_known() {
            return;
        }
        match self.flow {
            Flow::AuthorizationCode if self.template("authorization_url").is_none() => missing(
                "authorization_url",
                format!("flow {flow} needs one, and preset {preset} fills in none"),
            ),
            Flow::DeviceCode if self.template("device_authorization_url").is_none() => {
                if self.name == PresetName::Google {
                    let message = "google's device flow does not give mail scopes: use \
                                   authorization_code (on a machine without a browser: login \
                                   --paste)";
                    report.fault(view.line_of("flow"), view.path("flow"), message);
                } else {
                    missing(
                        "device_authorization_url",
                        format!("flow {flow} needs one, and preset {preset} fills in none"),
                    );
                }
            }
            Flow::ClientCredentials
                if !view.has("client_secret") && !view.has("client_certificate") =>
            {
                let message = format!("flow {flow} needs one, or a client_certificate");
                missing("client_secret", message);
            }
            Flow::ServiceAccount if self.name.is_microsoft() => {
                let message = "service_account is Google's: use client_credentials";
                report.fault(view.line_of("flow"), view.path("flow"), message);
            }
            Flow::ServiceAccount if !view.has("service_account_key") => missing(
                "service_account_key",
                format!("flow {flow} needs one, the JSON file that Google made"),
            ),
            _ => {}
        }
    }

    fn client_certificate(&self, base: &Path) -> Option<ClientCertificate> {
        let path = self.view.path("client_certificate");
        let view = self.view.map("client_certificate", &path);
        let certificate = view.file("certificate", base);
        let private_key = view.file("private_key", base);
        let passphrase = view.secret("passphrase", base);
        Some(ClientCertificate {
            certificate: certificate?,
            private_key: private_key?,
            passphrase,
        })
    }

    /// How the client shows who it is: in one way, and one that goes with the flow.
    fn check_client(&self, report: &mut Report) {
        let view = &self.view;
        let unattended = self.flow == Flow::ServiceAccount;
        let mut wrong = |key: &str, message: &str| {
            report.fault(view.line_of(key), view.path(key), message);
        };
        if unattended {
            for key in ["client_secret", "client_certificate"] {
                if view.has(key) {
                    let message = "has no place with flow service_account: service_account_key \
                                   says who the client is";
                    wrong(key, message);
                }
            }
        } else if self.flow_is_known() && view.has("service_account_key") {
            wrong(
                "service_account_key",
                "is for flow service_account only: set flow, or leave it out",
            );
        }
        if !unattended && view.has("client_secret") && view.has("client_certificate") {
            wrong(
                "client_certificate",
                "takes the place of client_secret: leave one of them out",
            );
        }
        if view.has("client_certificate") && view.word("client_auth") == Some(ClientAuth::Basic) {
            wrong(
                "client_auth",
                "basic is for a client_secret: a client_certificate goes into the form",
            );
        }
        if unattended && view.has("client_id") {
            let message = "has no effect: the service account's key says who the client is";
            report.warn(view.line_of("client_id"), view.path("client_id"), message);
        }
        if self.name == PresetName::Google && !unattended && !view.has("client_secret") {
            let message = "google wants the secret of desktop clients too, though it is public: \
                           give it, or the sign-in will fail";
            report.warn(view.line(), view.path("client_secret"), message);
        }
    }

    fn check_servers(&self, report: &mut Report) {
        let view = &self.view;
        if Protocol::ALL
            .into_iter()
            .all(|protocol| self.servers.of(protocol).is_none())
        {
            let preset = self.name.as_str();
            let message = format!(
                "at least one of servers.imap, servers.pop3 and servers.smtp must be given: preset \
                 {preset} fills in none"
            );
            if view
                .get("servers")
                .is_none_or(|node| node.entries().is_empty())
            {
                report.fault(view.line_of("servers"), view.path("servers"), message);
            }
        }
        let path = view.path("servers");
        let servers = view.map("servers", &path);
        for protocol in Protocol::ALL {
            let path = servers.path(protocol.name());
            let server = servers.map(protocol.name(), &path);
            let address = server.parsed("address", forms::address);
            let plain = server.word("tls") == Some(TlsMode::None);
            if plain && address.is_some_and(|found| !loopback::is_host(&found.value.0)) {
                let message = "plain text off loopback: the token could be read on the way. Use \
                               implicit or starttls";
                report.fault(server.line_of("tls"), server.path("tls"), message);
            }
        }
    }

    fn check_expiry(&self, report: &mut Report) {
        let view = &self.view;
        if view.has("client_secret_expires") && !view.has("client_secret") {
            report.warn(
                view.line_of("client_secret_expires"),
                view.path("client_secret_expires"),
                "has no effect: there is no client_secret",
            );
        }
    }

    fn check_redirect(&self, redirect_uri: &str, report: &mut Report) {
        if self.flow == Flow::AuthorizationCode && redirect_uri.starts_with("https:") {
            let message = "is https, where the program can't listen: sign in with login --paste";
            report.warn(
                self.view.line_of("redirect_uri"),
                self.view.path("redirect_uri"),
                message,
            );
        }
    }

    /// The file's own scopes as they are, else what the preset needs at least.
    fn scopes(&self, used: ProtocolSet, report: &mut Report) -> Vec<String> {
        let view = &self.view;
        if view.has("scopes") {
            let scopes = view.texts("scopes", forms::scope);
            let scopes: Vec<_> = scopes
                .into_iter()
                .map(|found| found.value.to_owned())
                .collect();
            self.check_scopes(&scopes, report);
            return scopes;
        }
        let preset = self.name.as_str();
        let scopes = match self.flow {
            Flow::ClientCredentials => self.preset.app_scopes(),
            Flow::AuthorizationCode | Flow::DeviceCode | Flow::ServiceAccount => {
                self.preset.user_scopes(used)
            }
        };
        if scopes.is_empty() && self.flow_is_known() {
            let message = match self.flow {
                Flow::ClientCredentials if self.name != PresetName::Custom => format!(
                    "is missing: preset {preset} knows no access with client_credentials; use \
                     authorization_code, or write the scopes"
                ),
                _ => format!("is missing: preset {preset} fills in none ([] asks for none)"),
            };
            report.fault(view.line(), view.path("scopes"), message);
        }
        scopes
    }

    /// What is known to go wrong with scopes written by hand.
    fn check_scopes(&self, scopes: &[String], report: &mut Report) {
        if !self.name.is_microsoft() {
            return;
        }
        let (line, path) = (self.view.line_of("scopes"), self.view.path("scopes"));
        if scopes.iter().any(|scope| is_of_graph(scope)) {
            let message = "ask for Microsoft Graph, whose token no mail server takes: leave scopes out, \
                           and the preset's are asked for, or name those of Outlook's resource, such as \
                           https://outlook.office.com/IMAP.AccessAsUser.All";
            report.fault(line, path, message);
            return;
        }
        let by_user = !self.flow.is_unattended();
        if by_user && !scopes.iter().any(|scope| scope == "offline_access") {
            let message = "without offline_access there is no refresh token: users would have to \
                           sign in every hour";
            report.warn(line, path, message);
        } else if !by_user && !scopes.iter().all(|scope| scope.ends_with("/.default")) {
            let message = "client_credentials takes the resource's /.default scope alone";
            report.warn(line, path, message);
        }
    }
}

/// Whether Microsoft takes a scope as one of Graph: by its host, or where it names no resource.
fn is_of_graph(scope: &str) -> bool {
    const HOSTS: [&str; 3] = [
        "//graph.microsoft.",
        "//dod-graph.microsoft.",
        "//microsoftgraph.chinacloudapi.",
    ];
    let bare = ["Mail.", "IMAP.", "POP.", "SMTP."];
    HOSTS.iter().any(|host| scope.contains(host)) || bare.iter().any(|bare| scope.starts_with(bare))
}
