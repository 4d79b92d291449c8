//! Whom the walk is about, and how its values are written into commands.

use crate::config::{self, Account, Config, PresetName, Provider, SecretSource, Server};
use crate::oauth::table::{self, ClientKind, Row, Values};
use crate::oauth::{self, lookup};
use crate::proto::Protocol;

/// One account and one of its servers.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) config: &'a Config,
    pub(super) account: &'a Account,
    pub(super) provider: &'a Provider,
    /// The same account as the token engine knows it.
    pub(super) who: &'a oauth::Account,
    /// Whose tokens it uses: its own, or those of the catch-all that covers it.
    pub(super) holder: &'a oauth::Account,
    pub(super) protocol: Protocol,
    pub(super) server: &'a Server,
}

impl Subject<'_> {
    /// Where a key of the account's provider stands.
    pub(super) fn place(&self, key: &str) -> String {
        let (name, file) = (&self.provider.name, self.config.file.display());
        format!("{key} of provider {name} in {file}")
    }

    /// The key with the server's address, and where it stands.
    pub(super) fn server_place(&self) -> String {
        let key = format!("servers.{}", self.protocol.name());
        match self.provider.preset {
            PresetName::Custom => self.place(&key),
            preset => format!(
                "{} (the preset {} fills it in where it is missing)",
                self.place(&key),
                preset.as_str()
            ),
        }
    }

    /// `host:port`, with brackets where it needs them.
    pub(super) fn address(&self) -> String {
        let config::Server { host, port, .. } = self.server;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// The mailbox that is opened: `user=` of the SASL message.
    pub(super) fn mailbox(&self) -> &str {
        match self.protocol {
            Protocol::Imap | Protocol::Pop3 => &self.account.mailbox,
            Protocol::Smtp => &self.account.smtp_user,
        }
    }

    /// Whether the program itself gets the tokens and nobody signs in.
    pub(super) fn is_userless(&self) -> bool {
        self.provider.flow.is_unattended()
    }

    pub(super) fn is_microsoft(&self) -> bool {
        self.provider.preset.is_microsoft()
    }

    pub(super) fn is_google(&self) -> bool {
        self.provider.preset == PresetName::Google
    }

    /// Microsoft's tenant.
    pub(super) fn tenant(&self) -> String {
        self.values().fill("{tenant}")
    }

    /// Whether `status` is about its tokens.
    pub(super) fn is_about(&self, account: &str) -> bool {
        account == self.who.user || account == self.holder.user
    }

    /// Which rows of the error table are about its client alone.
    fn client_kind(&self) -> Option<ClientKind> {
        self.who.provider.client_kind()
    }

    /// The row of the error table for a code of the token endpoint.
    pub(super) fn row(&self, code: &str) -> Option<&'static Row> {
        let number = code.strip_prefix("AADSTS").and_then(|n| n.parse().ok());
        match number {
            Some(number) => table::aadsts(number),
            None => self
                .client_kind()
                .and_then(|client| table::error_of(client, code))
                .or_else(|| table::suberror(code))
                .or_else(|| table::error(code)),
        }
    }

    /// The steps of a row with this account's values; `detail` may tell the correlation id.
    pub(super) fn steps(&self, row: &Row, detail: &str) -> Vec<String> {
        let traces = lookup::find(detail).traces;
        let mut traces = traces.iter();
        let found = traces.find(|(name, _)| *name == "correlation id");
        let values = self
            .values()
            .correlation_id(found.map(|(_, id)| id.as_str()));
        values.steps(&row.steps)
    }

    /// What stands for the placeholders of the error table.
    pub(super) fn values(&self) -> Values {
        let secret = self.provider.client_secret.as_ref();
        let permission = self.permission();
        let values = Values::of(self.who)
            .user(self.account.user.as_str())
            .file(self.config.file.to_string_lossy().as_ref())
            .secret(secret.map(SecretSource::place).as_deref())
            .host(self.server.host.as_str())
            .mailbox(self.mailbox());
        if self.is_userless() {
            values.app_permission(permission)
        } else {
            values.permission(permission)
        }
    }

    /// The permission that the protocol needs at Microsoft.
    pub(super) fn permission(&self) -> &'static str {
        match (self.protocol, self.is_userless()) {
            (Protocol::Imap, false) => "IMAP.AccessAsUser.All",
            (Protocol::Pop3, false) => "POP.AccessAsUser.All",
            (Protocol::Smtp, false) => "SMTP.Send",
            (Protocol::Imap, true) => "IMAP.AccessAsApp",
            (Protocol::Pop3, true) => "POP.AccessAsApp",
            (Protocol::Smtp, true) => "SMTP.SendAsApp",
        }
    }

    /// The command that signs the account in.
    pub(super) fn login(&self) -> String {
        self.values().fill("{login}")
    }
}

/// `value` as one word for PowerShell, which takes curly quotes for quotes too.
pub(super) fn powershell(value: &str) -> String {
    if is_plain(value) {
        return value.to_owned();
    }
    let mut quoted = String::from("'");
    for c in value.chars() {
        if matches!(c, '\'' | '\u{2018}'..='\u{201b}') {
            quoted.push(c);
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

fn is_plain(value: &str) -> bool {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '_' | '-' | '+');
    value.starts_with(|c: char| c.is_ascii_alphanumeric()) && value.chars().all(harmless)
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::daemon::wiring;
    use crate::ground::command::shell;

    /// A checked configuration with one account, `alice@contoso.com` of provider `contoso`.
    pub(in crate::doctor) struct Sample {
        config: Config,
        who: oauth::Account,
    }

    impl Sample {
        /// `provider` and `account` are further lines of their YAML maps.
        pub(in crate::doctor) fn new(provider: &str, account: &str) -> Self {
            let text = format!(
                "listeners: [{{ name: imap, protocol: imap, bind: '127.0.0.1:1993', tls: implicit }}]\n\
                 providers: [{{ name: contoso, {provider} }}]\n\
                 accounts: [{{ user: alice@contoso.com, provider: contoso{account} }}]\n"
            );
            let mut config = config::parse(&text, Path::new("/etc/mailsplice"))
                .unwrap_or_else(|faults| panic!("{faults}"))
                .config;
            config.file = "/etc/mailsplice/proxy.yaml".into();
            let who = wiring::accounts(&config).remove(0);
            Self { config, who }
        }

        /// A public client of Microsoft's with sign-in in a browser.
        pub(in crate::doctor) fn microsoft() -> Self {
            Self::new(
                "preset: microsoft, tenant: contoso.onmicrosoft.com, client_id: client-1",
                "",
            )
        }

        /// App-only access at Microsoft.
        pub(in crate::doctor) fn app_only() -> Self {
            Self::new(
                "preset: microsoft, tenant: contoso.onmicrosoft.com, client_id: client-1, \
                 client_secret: { file: secrets/contoso }, flow: client_credentials",
                "",
            )
        }

        pub(in crate::doctor) fn subject(&self) -> Subject<'_> {
            let provider = &self.config.providers[0];
            Subject {
                config: &self.config,
                account: &self.config.accounts[0],
                provider,
                who: &self.who,
                holder: &self.who,
                protocol: Protocol::Imap,
                server: provider.servers.of(Protocol::Imap).as_ref().unwrap(),
            }
        }

        pub(in crate::doctor) fn provider(&self) -> Arc<oauth::Provider> {
            self.who.provider.clone()
        }
    }

    #[test]
    fn values_cannot_leave_their_place_in_a_command() {
        assert_eq!(powershell("alice@contoso.com"), "alice@contoso.com");
        assert_eq!(
            powershell("a'; Remove-Mailbox b"),
            "'a''; Remove-Mailbox b'"
        );
        assert_eq!(powershell("a\u{2019}; b"), "'a\u{2019}\u{2019}; b'");
        assert_eq!(powershell("@splat"), "'@splat'");
        assert_eq!(shell("o'neil@x"), r"'o'\''neil@x'");
        assert_eq!(shell("$(id)"), "'$(id)'");
    }
}
