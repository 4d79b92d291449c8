//! What stands in the place of a placeholder, for all texts of the table: who knows a value gives it,
//! and a value that nobody gave is shown in one form everywhere.

use std::borrow::Cow;

use super::step::{Only, Step, texts};
use crate::ground::command;
use crate::oauth::provider::Account;

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident: $general:literal;)+) => {
        /// What may stand in braces in a text of the table, and how it is shown where its value isn't
        /// known: so that the reader sees what to put there.
        pub const PLACEHOLDERS: &[(&str, &str)] =
            &[
                ("login", "mailsplice login USER"),
                ("password_add", "mailsplice password add USER"),
                $((stringify!($name), $general)),+
            ];

        /// The values that are known for the placeholders of a text. One that is missing or empty is
        /// shown as [`PLACEHOLDERS`] says.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Values {
            $($name: Option<String>,)+
            facts: Option<Facts>,
        }

        impl Values {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name<'a>(mut self, value: impl Into<Option<&'a str>>) -> Self {
                    let value: Option<&str> = value.into();
                    self.$name = value.filter(|value| !value.is_empty()).map(str::to_owned);
                    self
                }
            )+

            fn who(&self) -> &str {
                self.user.as_deref().unwrap_or("USER")
            }

            /// `None` for a name that is no placeholder.
            fn get(&self, name: &str) -> Option<Cow<'_, str>> {
                match name {
                    "login" => Some(command::login(self.who()).into()),
                    "password_add" => Some(command::password_add(self.who()).into()),
                    $(stringify!($name) => Some(self.$name.as_deref().unwrap_or($general).into()),)+
                    _ => None,
                }
            }
        }
    };
}

values! {
    /// The user name of the account, which `{login}` and `{password_add}` name too.
    user: "USER";
    /// Microsoft's tenant.
    tenant: "TENANT";
    /// The client id of the provider.
    client_id: "CLIENT_ID";
    /// The provider's name in the configuration.
    provider: "PROVIDER";
    /// The configuration's file.
    file: "proxy.yaml";
    /// Where the client secret is kept.
    secret: "the place that client_secret names";
    /// How the provider is asked for tokens.
    flow: "FLOW";
    /// What the provider is asked for.
    scopes: "SCOPES";
    /// The permission that a person's client needs at Microsoft.
    permission: "IMAP.AccessAsUser.All, POP.AccessAsUser.All or SMTP.Send";
    /// The permission that a client without a person needs there.
    app_permission: "IMAP.AccessAsApp, POP.AccessAsApp or SMTP.SendAsApp";
    /// The provider's name for one of its answers.
    correlation_id: "from the log";
    /// The page where an administrator approves the program.
    admin_consent: "the provider's consent page";
    /// The mail server.
    host: "SERVER";
    /// The mailbox at the mail server.
    mailbox: "MAILBOX";
}

/// What decides which steps are the account's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    unattended: bool,
    secret: bool,
    microsoft: bool,
}

impl Values {
    /// What the account and its provider tell.
    pub fn of(account: &Account) -> Self {
        let provider = &account.provider;
        let values = Self::default()
            .user(account.user.as_str())
            .provider(provider.name.as_str())
            .flow(provider.flow.as_str())
            .scopes(provider.scopes.join(" ").as_str())
            .tenant(provider.tenant.as_deref())
            .client_id(provider.client_id.as_str())
            .admin_consent(provider.admin_consent_url().as_deref());
        Self {
            facts: Some(Facts {
                unattended: provider.flow.is_unattended(),
                secret: provider.client_secret.is_some(),
                microsoft: provider.microsoft,
            }),
            ..values
        }
    }

    /// Those of the steps that are the account's, filled in; all of them where no account is known.
    pub fn steps(&self, steps: &[Step]) -> Vec<String> {
        let texts = texts(steps).into_iter();
        let mine = texts.filter(|(only, _)| only.is_none_or(|only| self.is_so(only)));
        mine.map(|(_, text)| self.fill(text)).collect()
    }

    fn is_so(&self, only: Only) -> bool {
        self.facts.is_none_or(|facts| match only {
            Only::Person => !facts.unattended,
            Only::Unattended => facts.unattended,
            Only::Secret => facts.secret,
            Only::NoSecret => !facts.secret,
            Only::Microsoft => facts.microsoft,
        })
    }

    /// `text` with a value in the place of each placeholder. Values are not looked through for
    /// placeholders.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let known = after
                .split_once('}')
                .and_then(|(name, behind)| Some((self.get(name)?, behind)));
            if let Some((value, behind)) = known {
                filled.push_str(&value);
                rest = behind;
            } else {
                filled.push('{');
                rest = after;
            }
        }
        filled.push_str(rest);
        filled
    }
}

/// A text of the table where no account is at hand: `USER` for the user, and so on.
pub fn general(text: &str) -> String {
    Values::default().fill(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_once() {
        let values = Values::default().user("{tenant}").mailbox("box");
        let filled = values.fill("{user}, {mailbox}, {login}, {other}, {");
        assert_eq!(
            filled,
            "{tenant}, box, mailsplice login '{tenant}', {other}, {"
        );
    }

    #[test]
    fn a_missing_value_is_shown_in_one_form() {
        for (name, general) in PLACEHOLDERS {
            let text = format!("{{{name}}}");
            let empty = Values::default().tenant("").client_id("").host(None);
            assert_eq!(Values::default().fill(&text), *general);
            assert_eq!(empty.fill(&text), *general);
        }
    }

    #[test]
    fn a_user_name_is_one_word_of_the_command() {
        let login = |user: &str| Values::default().user(user).fill("{login}");
        assert_eq!(
            login("alice@contoso.com"),
            "mailsplice login alice@contoso.com"
        );
        assert_eq!(login("o'neil@x"), r"mailsplice login 'o'\''neil@x'");
        assert_eq!(login("$(id)"), "mailsplice login '$(id)'");
        let odd = Values::default().user("o'neil@x");
        for row in crate::oauth::table::rows() {
            for step in odd.steps(&row.steps) {
                let bare =
                    ["login", "password add"].map(|verb| format!("mailsplice {verb} o'neil"));
                assert!(!bare.iter().any(|bare| step.contains(bare)), "{step}");
            }
        }
    }
}
