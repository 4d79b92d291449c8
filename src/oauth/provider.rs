//! Providers and accounts, as the engine needs to know them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use url::Url;

use super::assertion::{CertificateFault, ClientCertificate};
use super::table::ClientKind;
use crate::ground::SecretReader;
use crate::ground::text::{hex, printable};
use crate::input::account::{account_key, is_catch_all};
use crate::input::words::{ClientAuth, Flow};

/// One OAuth provider with one client registration.
#[derive(Clone)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: String,
    /// Microsoft's tenant, for texts and the binding; the URLs already hold it.
    pub tenant: Option<String>,
    /// The client id; empty for [`Flow::ServiceAccount`].
    pub client_id: String,
    /// Where the client secret is read; `None` for a public client.
    pub client_secret: Option<SecretReader>,
    /// A certificate in place of the secret (RFC 7523 §2.2).
    pub client_certificate: Option<ClientCertificate>,
    /// Where the JSON key of a service account is read; needed for [`Flow::ServiceAccount`].
    pub service_account_key: Option<SecretReader>,
    /// Which grant is used.
    pub flow: Flow,
    /// Where the browser is sent; needed for [`Flow::AuthorizationCode`].
    pub authorization_url: Option<Url>,
    /// The token endpoint.
    pub token_url: Url,
    /// Where device codes come from; needed for [`Flow::DeviceCode`].
    pub device_authorization_url: Option<Url>,
    /// Where tokens are taken back (RFC 7009); many providers have none.
    pub revocation_url: Option<Url>,
    /// The issuer, compared with `iss` of the redirect (RFC 9207) and of the id_token.
    pub issuer: Option<String>,
    /// The scopes, sent in this order with each token request.
    pub scopes: Vec<String>,
    /// How the client authenticates.
    pub client_auth: ClientAuth,
    /// The redirect URI; `{port}` in it stands for the port of the loopback listener.
    pub redirect_uri: String,
    /// Further parameters of the authorization request, such as `access_type`.
    pub authorization_params: BTreeMap<String, String>,
    /// Whether this is Microsoft: error texts, the admin-consent URL, a template as issuer.
    pub microsoft: bool,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("flow", &self.flow)
            .field("token_url", &self.token_url.as_str())
            .field("confidential", &self.is_confidential())
            .finish_non_exhaustive()
    }
}

impl Provider {
    /// The key with the address of `host`: `token_url of provider contoso`.
    pub(crate) fn place_of(&self, host: &str) -> String {
        let is_at = |url: &Url| {
            let named = url.host_str().unwrap_or_default();
            named.trim_matches(['[', ']']) == host
        };
        let device = self.device_authorization_url.as_ref();
        let key = if device.is_some_and(is_at) && !is_at(&self.token_url) {
            "device_authorization_url"
        } else {
            "token_url"
        };
        format!("{key} of provider {}", printable(&self.name))
    }

    /// The issuer to compare with; none for Microsoft, whose issuer is a template.
    pub(crate) fn exact_issuer(&self) -> Option<&str> {
        self.issuer.as_deref().filter(|_| !self.microsoft)
    }

    fn is_confidential(&self) -> bool {
        self.client_secret.is_some()
            || self.client_certificate.is_some()
            || self.service_account_key.is_some()
    }

    /// When the client certificate ends, in seconds since 1970; `None` without one. Reads a file.
    ///
    /// # Errors
    /// When the certificate's file cannot be read.
    pub fn certificate_not_after(&self) -> Option<Result<i64, CertificateFault>> {
        let certificate = self.client_certificate.as_ref()?;
        Some(certificate.facts().map(|facts| facts.not_after))
    }

    /// Which rows of the error table are about this client alone.
    pub fn client_kind(&self) -> Option<ClientKind> {
        if self.flow == Flow::ServiceAccount {
            return Some(ClientKind::ServiceAccount);
        }
        self.client_certificate
            .as_ref()
            .map(|_| ClientKind::Certificate)
    }

    /// The page where an administrator approves the program for a whole Microsoft tenant.
    pub fn admin_consent_url(&self) -> Option<String> {
        if !self.microsoft {
            return None;
        }
        let tenant = match self.tenant.as_deref() {
            None | Some("common" | "consumers") => "organizations",
            Some(tenant) => tenant,
        };
        let mut url = self.token_url.clone();
        url.set_path(&format!("/{tenant}/adminconsent"));
        url.set_query(None);
        url.query_pairs_mut()
            .append_pair("client_id", &self.client_id);
        Some(url.into())
    }
}

/// One account and its provider.
#[derive(Debug, Clone)]
pub struct Account {
    /// What it is looked up by: the user name in lower case.
    pub key: String,
    /// The user name as configured.
    pub user: String,
    /// The mailbox it opens; the user that an assertion of [`Flow::ServiceAccount`] is made out to.
    pub mailbox: String,
    /// Who gives its tokens.
    pub provider: Arc<Provider>,
}

impl Account {
    /// An account of `user` at `provider`, which opens the mailbox of that name.
    pub fn new(user: &str, provider: Arc<Provider>) -> Self {
        Self {
            key: account_key(user),
            user: user.to_owned(),
            mailbox: user.to_owned(),
            provider,
        }
    }

    /// Whether it stands for every user of a domain (`*@contoso.com`).
    pub fn is_catch_all(&self) -> bool {
        is_catch_all(&self.key)
    }

    /// The account of one user whom this catch-all covers.
    #[must_use]
    pub fn for_user(&self, user: &str) -> Self {
        Self::new(user, Arc::clone(&self.provider))
    }

    /// Whether it has no token of its own, but only its users have: no request is ever made for it.
    pub(crate) fn is_pattern_only(&self) -> bool {
        self.is_catch_all() && self.provider.flow.is_per_mailbox()
    }

    /// The same, opening another mailbox.
    #[must_use]
    pub fn with_mailbox(mut self, mailbox: &str) -> Self {
        mailbox.clone_into(&mut self.mailbox);
        self
    }

    /// Fingerprint of everything that says where this account's tokens belong: hex SHA-256 over
    /// token URL, client id, flow, tenant and user, and for a service account the mailbox. A record
    /// with another binding is sent nowhere.
    pub fn binding(&self) -> String {
        let mut hash = Sha256::new();
        let mut parts = vec![
            self.provider.token_url.as_str(),
            &self.provider.client_id,
            self.provider.flow.as_str(),
            self.provider.tenant.as_deref().unwrap_or(""),
            &self.key,
        ];
        if self.provider.flow == Flow::ServiceAccount {
            // Such a token opens this mailbox and no other.
            parts.push(&self.mailbox);
        }
        for part in parts {
            // The length keeps neighbouring parts apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hex(hash.finalize())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A public client of a provider that looks like Microsoft.
    pub(crate) fn sample(flow: Flow) -> Provider {
        let url = |text: &str| Url::parse(text).unwrap();
        Provider {
            name: "contoso".into(),
            tenant: Some("contoso.example".into()),
            client_id: "client-1".into(),
            client_secret: None,
            client_certificate: None,
            service_account_key: None,
            flow,
            authorization_url: Some(url("https://login.example/contoso.example/authorize")),
            token_url: url("https://login.example/contoso.example/token"),
            device_authorization_url: Some(url("https://login.example/contoso.example/device")),
            revocation_url: None,
            issuer: None,
            scopes: vec!["imap".into(), "offline_access".into()],
            client_auth: ClientAuth::Body,
            redirect_uri: "http://localhost:{port}/".into(),
            authorization_params: BTreeMap::new(),
            microsoft: true,
        }
    }

    #[test]
    fn binding_changes_with_each_part_and_ignores_case_of_the_user() {
        let base = sample(Flow::AuthorizationCode);
        let bind = |p: &Provider, user: &str| Account::new(user, Arc::new(p.clone())).binding();
        let first = bind(&base, "Alice@Contoso.example");
        assert_eq!(first.len(), 64);
        assert_eq!(first, bind(&base, "alice@contoso.EXAMPLE"));
        let mut others = vec![bind(&base, "bob@contoso.example")];
        let mut other = base.clone();
        other.client_id = "client-2".into();
        others.push(bind(&other, "alice@contoso.example"));
        let mut other = base.clone();
        other.tenant = None;
        others.push(bind(&other, "alice@contoso.example"));
        let mut other = base.clone();
        other.flow = Flow::DeviceCode;
        others.push(bind(&other, "alice@contoso.example"));
        let mut other = base.clone();
        other.token_url = Url::parse("https://elsewhere.example/token").unwrap();
        others.push(bind(&other, "alice@contoso.example"));
        assert!(others.iter().all(|binding| *binding != first));
        // Only a service account's token is for one mailbox.
        let of = |flow: Flow, mailbox: &str| {
            let account = Account::new("alice@contoso.example", Arc::new(sample(flow)));
            account.with_mailbox(mailbox).binding()
        };
        assert_eq!(of(Flow::AuthorizationCode, "support"), first);
        let service = Flow::ServiceAccount;
        assert_ne!(of(service, "support"), of(service, "sales"));
    }

    #[test]
    fn admin_consent_url_names_tenant_and_client() {
        let mut provider = sample(Flow::AuthorizationCode);
        assert_eq!(
            provider.admin_consent_url().as_deref(),
            Some("https://login.example/contoso.example/adminconsent?client_id=client-1")
        );
        provider.tenant = Some("common".into());
        assert!(
            provider
                .admin_consent_url()
                .unwrap()
                .contains("/organizations/")
        );
        provider.microsoft = false;
        assert_eq!(provider.admin_consent_url(), None);
    }
}
