//! Who has logged in, and by what.

use std::fmt;
use std::sync::Arc;

/// In place of a device password's label, for a device that never logs in.
const BY_NETWORK: &str = "(login_as)";

/// Whom a login is for, and what it was opened by: found out once, carried from there on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    account: Arc<str>,
    covered_by: Option<Arc<str>>,
    opened_by: OpenedBy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum OpenedBy {
    /// A device password of the account, by its label.
    Own(Arc<str>),
    /// One of the catch-all that covers the account.
    Cover(Arc<str>),
    /// The device's network alone.
    Network,
}

impl Identity {
    /// Whoever is in the network of a device that never logs in. `account` is a key, never a catch-all;
    /// `covered_by` is the catch-all that it leads through, where it has no entry of its own.
    pub fn by_network(account: Arc<str>, covered_by: Option<Arc<str>>) -> Self {
        Self {
            account,
            covered_by,
            opened_by: OpenedBy::Network,
        }
    }

    /// Who has shown the device password `label` of the account.
    pub fn by_password(account: Arc<str>, covered_by: Option<Arc<str>>, label: Arc<str>) -> Self {
        Self {
            account,
            covered_by,
            opened_by: OpenedBy::Own(label),
        }
    }

    /// Who has shown the device password `label` of the catch-all that covers the account.
    pub fn by_catch_all(account: Arc<str>, catch_all: Arc<str>, label: Arc<str>) -> Self {
        Self {
            account,
            covered_by: Some(catch_all),
            opened_by: OpenedBy::Cover(label),
        }
    }

    /// The account's key: of the user, also where a catch-all covers it.
    pub fn account(&self) -> &Arc<str> {
        &self.account
    }

    /// The catch-all (`*@contoso.com`) that covers the user, where the configuration has no entry of its own
    /// for it.
    pub fn covered_by(&self) -> Option<&Arc<str>> {
        self.covered_by.as_ref()
    }

    /// The label of the password, as people see it. One of a catch-all opens more than this one mailbox, and
    /// the user may have one of the same label: `device-1 (*@contoso.com)`.
    pub fn label(&self) -> Label<'_> {
        Label(self)
    }

    /// The same where a password was shown; `None` for a device that never logs in.
    pub fn password(&self) -> Option<Label<'_>> {
        (self.opened_by != OpenedBy::Network).then_some(Label(self))
    }

    /// All that can be revoked to take this login back: accounts as a whole, and one password of one account.
    pub fn revocable(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let account = (&*self.account, None);
        let cover = self.covered_by.as_deref().map(|cover| (cover, None));
        let password = match &self.opened_by {
            OpenedBy::Own(label) => Some((&*self.account, Some(&**label))),
            OpenedBy::Cover(label) => self
                .covered_by
                .as_deref()
                .map(|cover| (cover, Some(&**label))),
            OpenedBy::Network => None,
        };
        [Some(account), cover, password].into_iter().flatten()
    }
}

/// See [`Identity::label`].
#[derive(Debug, Clone, Copy)]
pub struct Label<'a>(&'a Identity);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.opened_by, &self.0.covered_by) {
            (OpenedBy::Cover(label), Some(cover)) => write!(f, "{label} ({cover})"),
            (OpenedBy::Own(label) | OpenedBy::Cover(label), _) => f.write_str(label),
            (OpenedBy::Network, _) => f.write_str(BY_NETWORK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A label that looks like a catch-all's is one of the account all the same.
    #[test]
    fn what_is_revoked_is_not_read_from_what_is_shown() {
        let (alice, all) = (Arc::from("alice@contoso.com"), Arc::from("*@contoso.com"));
        let label: Arc<str> = "device-1 (*@contoso.com)".into();
        let own = Identity::by_password(Arc::clone(&alice), Some(Arc::clone(&all)), label);
        let cover = Identity::by_catch_all(Arc::clone(&alice), Arc::clone(&all), "device-1".into());
        assert_eq!(own.label().to_string(), cover.label().to_string());
        let both = [("alice@contoso.com", None), ("*@contoso.com", None)];
        let of = |one: &'static str, label| [both[0], both[1], (one, Some(label))];
        assert!(
            own.revocable()
                .eq(of("alice@contoso.com", "device-1 (*@contoso.com)"))
        );
        assert!(cover.revocable().eq(of("*@contoso.com", "device-1")));
        let network = Identity::by_network(alice, None);
        assert!(network.revocable().eq([both[0]]));
        assert_eq!(network.label().to_string(), "(login_as)");
    }
}
