//! Lists of addresses as devices write them: read leniently, written by RFC 5322.

use super::mend::Mend;
use super::scan::{Parts, pieces};
use super::words::{encoded, questioned, unquoted};

/// One address of a list, or the name of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// As it came, without the white space around.
    raw: String,
    /// The display name, without quotes.
    pub(super) display: Option<String>,
    /// The address, where there is one that may stand in a header.
    pub(super) address: Option<String>,
    /// What stands behind it in the list: `,` `:` `;` or nothing.
    separator: Option<char>,
    /// What is wrong with the way it is written.
    pub(super) fault: Option<Mend>,
}

/// A list of addresses.
#[derive(Debug, Clone)]
pub(super) struct List {
    entries: Vec<Entry>,
    utf8: bool,
    /// Something between the addresses is wrong.
    fault: bool,
}

impl List {
    /// Reads a field's text in one line. With `utf8`, what isn't ASCII may stay.
    pub(super) fn read(text: &str, utf8: bool) -> Self {
        let (pieces, broken) = pieces(text);
        let mut fault = broken;
        let mut entries: Vec<Entry> = Vec::new();
        let (mut in_group, mut behind_group) = (false, false);
        for (raw, mut separator) in pieces {
            let raw = raw.trim();
            let is_comma = raw.is_empty() && separator == Some(',');
            if std::mem::take(&mut behind_group) {
                if is_comma {
                    continue;
                }
                fault |= !raw.is_empty();
            }
            match separator {
                Some(':') if raw.is_empty() || in_group => {
                    fault = true;
                    continue;
                }
                Some(':') => in_group = true,
                Some(';') if in_group => (in_group, behind_group) = (false, true),
                Some(';') => {
                    // A habit of some mail programs.
                    fault = true;
                    separator = Some(',');
                }
                _ => {}
            }
            if raw.is_empty() && separator != Some(';') {
                fault |= separator.is_some();
                continue;
            }
            entries.push(if separator == Some(':') {
                Entry::group(raw, utf8)
            } else {
                Entry::read(raw, separator, utf8)
            });
        }
        if broken {
            // What stays open in one may end in another.
            for entry in &mut entries {
                entry.fault.get_or_insert(Mend::AddressForm);
            }
        }
        Self {
            entries,
            utf8,
            fault: fault || in_group,
        }
    }

    /// For a field that can have only addresses of people: `Doe, John <j@x>` is one of them.
    pub(super) fn with_names_joined(mut self) -> Self {
        let mut entries: Vec<Entry> = Vec::with_capacity(self.entries.len());
        for mut entry in self.entries.drain(..) {
            let name = |last: &Entry| last.address.is_none() && last.separator == Some(',');
            if entry.address.is_some()
                && entry.display.is_some()
                && let Some(last) = entries.pop_if(|last| name(last))
            {
                let display = entry.display.unwrap_or_default();
                entry.display = Some(format!("{}, {display}", unquoted(&last.raw)));
                entry.fault = Some(Mend::AddressForm);
            }
            entries.push(entry);
        }
        self.entries = entries;
        self
    }

    /// Those that have an address, or might have had.
    pub(super) fn people(&self) -> impl Iterator<Item = &Entry> {
        let is_one = |entry: &&Entry| entry.separator != Some(':') && !entry.raw.is_empty();
        self.entries.iter().filter(is_one)
    }

    /// What has to be mended.
    pub(super) fn faults(&self) -> impl Iterator<Item = Mend> {
        let own = self.fault.then_some(Mend::AddressForm);
        let theirs = self.entries.iter().filter_map(|entry| entry.fault);
        theirs.chain(own)
    }

    /// The list as it has to be written.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut in_group = false;
        let mut between = false;
        for entry in &self.entries {
            let written = match entry.separator {
                Some(':') => entry.raw.clone(),
                _ => entry.written(self.utf8, in_group).unwrap_or_default(),
            };
            if !written.is_empty() {
                if between {
                    text.push_str(", ");
                } else if in_group {
                    text.push(' ');
                }
                text.push_str(&written);
                between = true;
            }
            match entry.separator {
                Some(':') => {
                    text.push(':');
                    (in_group, between) = (true, false);
                }
                Some(';') => {
                    text.push(';');
                    (in_group, between) = (false, true);
                }
                _ => {}
            }
        }
        if in_group {
            text.push(';');
        }
        text
    }
}

impl Entry {
    /// As it came.
    pub(super) fn raw(&self) -> &str {
        &self.raw
    }

    fn group(raw: &str, utf8: bool) -> Self {
        let (written, fault) = if is_phrase(raw) && (utf8 || raw.is_ascii()) {
            (raw.to_owned(), None)
        } else {
            let fault = Some(fault_of_phrase(raw));
            (phrase(&unquoted(raw), utf8), fault)
        };
        Self {
            raw: written,
            display: None,
            address: None,
            separator: Some(':'),
            fault,
        }
    }

    fn read(raw: &str, separator: Option<char>, utf8: bool) -> Self {
        let parts = Parts::of(raw);
        let mut entry = Self {
            raw: raw.to_owned(),
            display: None,
            address: None,
            separator,
            fault: None,
        };
        if raw.is_empty() {
            return entry;
        }
        if let Some(angle) = parts.angle {
            entry.read_angle(angle, &parts, utf8);
        } else {
            entry.read_bare(&parts, utf8);
        }
        if entry.fault.is_none() && !utf8 && !raw.is_ascii() {
            entry.fault = Some(Mend::EightBitHeader);
            // What a comment says is a name where there is no other.
            let comment = parts.comment.trim();
            if entry.display.is_none() && !comment.is_empty() {
                entry.display = Some(comment.to_owned());
            }
        }
        entry
    }

    fn read_angle(&mut self, angle: &str, parts: &Parts<'_>, utf8: bool) {
        let name = parts.before.trim();
        if !name.is_empty() {
            self.display = Some(if is_phrase(name) {
                words_of(name)
            } else {
                self.fault = Some(fault_of_phrase(name));
                unquoted_wholly(name)
            });
        }
        let address: String = angle.chars().filter(|c| !c.is_whitespace()).collect();
        // A route (RFC 5322 §4.4) leads nowhere any more.
        let address = match address.split_once(':') {
            Some((route, address)) if route.starts_with('@') => address.to_owned(),
            _ => address,
        };
        let address = dots_quoted(address);
        let is_good = address == angle && parts.closed && parts.after.trim().is_empty();
        self.address = is_address(&address, utf8).then_some(address);
        if self.address.is_none() || !is_good {
            self.fault = self.fault.or(Some(Mend::AddressForm));
        }
    }

    fn read_bare(&mut self, parts: &Parts<'_>, utf8: bool) {
        let core = parts.before.trim();
        if is_address(core, utf8) {
            self.address = Some(core.to_owned());
            return;
        }
        self.fault = Some(Mend::AddressForm);
        let mut names = Vec::new();
        for word in core.split_whitespace() {
            let bare = word.trim_matches(|c: char| "\"'<>[](){},;:".contains(c));
            let bare = dots_quoted(bare.to_owned());
            if self.address.is_none() && is_address(&bare, utf8) {
                self.address = Some(bare);
            } else {
                names.push(word);
            }
        }
        let names = names.join(" ");
        let names = unquoted_wholly(&names);
        if !names.trim().is_empty() {
            self.display = Some(names.trim().to_owned());
        }
    }

    /// As it has to stand in a list; `None` where nothing can.
    fn written(&self, utf8: bool, in_group: bool) -> Option<String> {
        if self.fault.is_none() {
            return Some(self.raw.clone());
        }
        match &self.address {
            Some(address) => Some(mailbox(self.display.as_deref(), address, utf8)),
            None if in_group => None,
            None => {
                let name = self.display.as_deref().unwrap_or(&self.raw);
                Some(format!("{}:;", phrase(name, utf8)))
            }
        }
    }
}

/// An address with its display name.
pub(super) fn mailbox(display: Option<&str>, address: &str, utf8: bool) -> String {
    match display.filter(|display| !display.trim().is_empty()) {
        Some(display) => format!("{} <{address}>", phrase(display, utf8)),
        None => address.to_owned(),
    }
}

/// A display name as it may stand before an address.
fn phrase(name: &str, utf8: bool) -> String {
    let name = name.trim();
    if !utf8 && !name.is_ascii() {
        return encoded(name, 10);
    }
    let plain = |word: &str| !word.is_empty() && word.chars().all(is_atext);
    if name.split(' ').all(plain) {
        return name.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in name.chars() {
        if c == '"' || c == '\\' {
            quoted.push('\\');
        }
        quoted.push(if c.is_control() { ' ' } else { c });
    }
    quoted.push('"');
    quoted
}

fn fault_of_phrase(name: &str) -> Mend {
    let mut quoted = false;
    let mut at = false;
    for c in name.chars() {
        quoted ^= c == '"';
        at |= c == '@' && !quoted;
    }
    if at {
        Mend::UnquotedAt
    } else {
        Mend::AddressForm
    }
}

/// RFC 5322 §3.2.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii()
}

/// Atoms, dots (RFC 5322 §4.1) and quoted strings.
fn is_phrase(name: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for c in name.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            ' ' | '\t' | '.' => {}
            c if is_atext(c) => {}
            _ => return false,
        }
    }
    !quoted && !escaped
}

/// The words of a phrase without their quotes.
fn words_of(name: &str) -> String {
    if name.contains('"') {
        unquoted_wholly(name)
    } else {
        name.to_owned()
    }
}

/// Without quotes, wherever they are.
fn unquoted_wholly(name: &str) -> String {
    let mut result = String::new();
    let (mut quoted, mut chars) = (false, name.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => result.extend(chars.next()),
            _ => result.push(c),
        }
    }
    result.trim().to_owned()
}

/// Whether a text may stand as an address in a header.
pub(super) fn is_address(text: &str, utf8: bool) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let fits = |c: char| utf8 || c.is_ascii();
    if !text.chars().all(fits) || text.len() > 320 {
        return false;
    }
    let dotted = |text: &str| {
        let atom = |atom: &str| !atom.is_empty() && atom.chars().all(is_atext);
        text.split('.').all(atom)
    };
    let quoted = || {
        let inner = local.strip_prefix('"').and_then(|l| l.strip_suffix('"'));
        inner.is_some_and(|inner| {
            let plain = |c: char| c != '"' && c != '\\' && !c.is_control();
            !inner.is_empty() && inner.chars().all(plain)
        })
    };
    let literal = || {
        let inner = domain.strip_prefix('[').and_then(|d| d.strip_suffix(']'));
        let plain = |c: char| c.is_ascii_graphic() && !"[]\\".contains(c);
        inner.is_some_and(|inner| inner.chars().all(plain))
    };
    (dotted(local) || quoted()) && (dotted(domain) || literal())
}

/// Dots where none may be (`a..b@x`) are legal in quotes.
fn dots_quoted(address: String) -> String {
    match address.rsplit_once('@') {
        Some((local, domain))
            if local.split('.').any(str::is_empty)
                && local.chars().all(|c| c == '.' || is_atext(c))
                && !local.is_empty() =>
        {
            format!("\"{local}\"@{domain}")
        }
        _ => address,
    }
}

/// The addresses in a text, as they stand there.
pub(super) fn addresses(text: &str, most: usize) -> Vec<String> {
    let list = List::read(text, true).with_names_joined();
    let found = list.people().take(most).map(|entry| {
        let address = entry.address.clone();
        address.unwrap_or_else(|| questioned(&entry.raw))
    });
    found.collect()
}
