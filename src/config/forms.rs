//! Forms that a text may have: each parsed by one function, for the check and the decoder alike.
//! Messages never hold the text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use time::Date;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use url::Url;

use super::shape::Form;
use crate::ground::loopback;
use crate::input::mail_address::{AddressPattern, is_address};
use crate::input::network;
use crate::input::words::{NoProxy, ProxyKind};
use crate::message::Charset;

/// RFC 5321 §4.5.3.1: 64 octets, an @, 255 octets.
const USER_BYTES: usize = 320;

/// A label or a name of our own.
const NAME_BYTES: usize = 64;

macro_rules! forms {
    ($($name:ident = $what:literal, $parse:expr;)*) => {
        $(pub(super) static $name: Form = Form {
            what: $what,
            check: |text| $parse(text).map(drop),
        };)*
    };
}

forms! {
    NAME = "a name", name;
    USER = "a user name", user;
    PATH = "a path", some;
    WORD = "text", some;
    CLIENT_ID = "a client id", client_id;
    TENANT = "a tenant", tenant;
    ENDPOINT = "a URL", |text| endpoint(text, Some("common"));
    ISSUER = "a URL", issuer;
    SCOPE = "a scope", scope;
    REDIRECT = "a URL on loopback", redirect;
    PARAMETER = "a parameter", parameter;
    BIND = "an address and port", bind;
    CIDR = "a network", cidr;
    ADDRESS = "a host and port", address;
    HOST = "a host name or address", host;
    PROXY = "a URL", proxy;
    PROXY_USER = "a user name", proxy_user;
    NO_PROXY = "a name, an address or a network", no_proxy;
    WEBHOOK = "a URL", webhook;
    DATE = "a date such as 2027-01-31", date;
    CHARSET = "the name of a character set", charset;
    MAIL_ADDRESS = "a mail address", mail_address;
    ADDRESSES = "a mail address or a domain", addresses;
}

/// Text that is there.
pub(super) fn some(text: &str) -> Result<&str, String> {
    if text.trim().is_empty() {
        Err("is empty".to_owned())
    } else {
        Ok(text)
    }
}

/// A name of ours, as it stands in logs and metrics.
pub(super) fn name(text: &str) -> Result<&str, String> {
    if text.len() > NAME_BYTES {
        return Err(format!("is longer than {NAME_BYTES} bytes"));
    }
    some(text)
}

/// What a client may send as user name, and what goes into a SASL string.
pub(super) fn user(text: &str) -> Result<&str, String> {
    if text.len() > USER_BYTES {
        return Err(format!("is longer than {USER_BYTES} bytes"));
    }
    if text.trim() != text {
        return Err("begins or ends with white space".to_owned());
    }
    some(text)
}

/// As it was registered: copied together with a blank it is another one.
fn client_id(text: &str) -> Result<&str, String> {
    without_blanks(text)?;
    some(text)
}

/// Blanks where none belongs: URLs are read without them, or with %20, and no provider says why.
fn without_blanks(text: &str) -> Result<(), String> {
    let message = match text.chars().position(char::is_whitespace) {
        _ if text.trim().is_empty() => return Ok(()),
        None => return Ok(()),
        Some(0) => "has a blank at its beginning: take it out".to_owned(),
        Some(_) if text.trim_end() != text => "has a blank at its end: take it out".to_owned(),
        Some(before) => format!("has a blank in it (character {}): take it out", before + 1),
    };
    Err(message)
}

/// Part of a URL's path: nothing that could change the rest of it.
pub(super) fn tenant(text: &str) -> Result<&str, String> {
    without_blanks(text)?;
    let good = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    if text.is_empty() || !good || text.len() > 255 || text.starts_with('.') {
        let message =
            "must be a tenant's verified domain or id, or common, organizations, consumers";
        return Err(message.to_owned());
    }
    Ok(text)
}

/// An OAuth endpoint; `{tenant}` stands for the tenant.
pub(super) fn endpoint(text: &str, tenant: Option<&str>) -> Result<Url, String> {
    without_blanks(text)?;
    let text = tenant.map_or_else(
        || text.to_owned(),
        |tenant| text.replace("{tenant}", tenant),
    );
    let url = web_url(&text)?;
    if url.fragment().is_some() {
        return Err("must not have a fragment (#…)".to_owned());
    }
    Ok(url)
}

/// An issuer is compared as text, so it is only looked at, not rewritten.
pub(super) fn issuer(text: &str) -> Result<&str, String> {
    let url = web_url(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or fragment (RFC 8414 section 2)".to_owned());
    }
    Ok(text)
}

fn web_url(text: &str) -> Result<Url, String> {
    without_blanks(text)?;
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if url.host().is_none() {
        return Err("must be a URL with a host: https://…".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback::is_url(&url) => Ok(url),
        "http" => Err("http:// is accepted on loopback only: write https://".to_owned()),
        _ => Err("must begin with https://".to_owned()),
    }
}

/// Where notices are posted.
pub(super) fn webhook(text: &str) -> Result<Url, String> {
    endpoint(text, None)
}

/// A day of the calendar, `2027-01-31`: its begin in UTC, Unix seconds.
pub(super) fn date(text: &str) -> Result<u64, String> {
    const FORM: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
    // A sign before the year is part of that form, and none of ours.
    let day = Some(text).filter(|text| text.starts_with(|c: char| c.is_ascii_digit()));
    day.and_then(|text| Date::parse(text, FORM).ok())
        .and_then(|day| day.midnight().assume_utc().unix_timestamp().try_into().ok())
        .ok_or_else(|| "must be a date as in 2027-01-31 (year-month-day)".to_owned())
}

/// A character set by one of its usual names.
pub(super) fn charset(text: &str) -> Result<Charset, String> {
    let message = "is no character set that is known, as in iso-8859-1, windows-1252 or shift_jis";
    Charset::of(text).ok_or_else(|| message.to_owned())
}

/// Where a mail can be sent to.
pub(super) fn mail_address(text: &str) -> Result<&str, String> {
    if is_address(text) {
        return Ok(text);
    }
    Err("must be a mail address, as in it@contoso.com".to_owned())
}

/// An address, or all of a domain.
pub(super) fn addresses(text: &str) -> Result<AddressPattern, String> {
    AddressPattern::read(text).ok_or_else(|| {
        let message = match text.contains('*') {
            true => "takes no *: write contoso.com for all of a domain",
            false => "must be a mail address or a domain, as in scan@contoso.com or contoso.com",
        };
        message.to_owned()
    })
}

/// Where the browser comes back to: this machine alone.
pub(super) fn redirect(text: &str) -> Result<&str, String> {
    without_blanks(text)?;
    let url = web_url(&text.replace("{port}", "1"))?;
    if !loopback::is_url(&url) {
        let message = "must lie on loopback, as in http://localhost:{port}/";
        return Err(message.to_owned());
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#…)".to_owned());
    }
    if text.matches("{port}").count() > 1 {
        return Err("may hold {port} once".to_owned());
    }
    Ok(text)
}

/// RFC 6749 §3.3: no space, no quote, no backslash, printable ASCII.
pub(super) fn scope(text: &str) -> Result<&str, String> {
    let good = text
        .bytes()
        .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    if text.is_empty() || !good {
        return Err("must be one scope without spaces: write several as a list".to_owned());
    }
    Ok(text)
}

/// The name of a free parameter of the authorization request.
fn parameter(name: &str) -> Result<&str, String> {
    const OURS: [&str; 10] = [
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    ];
    if OURS.contains(&name) {
        return Err(format!("must not set {name}: the program sets it"));
    }
    Ok(name)
}

/// `IP:port`, `[IPv6]:port`, or `localhost:port` for both loopbacks.
pub(super) fn bind(text: &str) -> Result<Vec<SocketAddr>, String> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
        return Ok(vec![
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        ]);
    }
    text.parse().map(|address| vec![address]).map_err(|_| {
        "must be an address and port: 127.0.0.1:1993, \"[::1]:1993\" or localhost:1993".to_owned()
    })
}

/// `192.0.2.0/24`, or one address.
pub(super) fn cidr(text: &str) -> Result<IpNet, String> {
    network::parse(text).map_err(|fault| fault.to_string())
}

/// `host:port` of a mail server.
pub(super) fn address(text: &str) -> Result<(String, u16), String> {
    let message = "must be host:port, as in \"imap.example.com:993\" or \"[2001:db8::1]:993\"";
    let wrong = || message.to_owned();
    let (name, digits) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port(digits).filter(|port| *port != 0).ok_or_else(wrong)?;
    if let Some(inner) = name.strip_prefix('[') {
        let address: Ipv6Addr = inner
            .strip_suffix(']')
            .and_then(|inner| inner.parse().ok())
            .ok_or_else(wrong)?;
        return Ok((address.to_string(), port));
    }
    if name.contains(':') {
        return Err(wrong());
    }
    Ok((host(name)?.to_ascii_lowercase(), port))
}

fn port(digits: &str) -> Option<u16> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

/// A host name (in ASCII) or an address without brackets.
pub(super) fn host(text: &str) -> Result<&str, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text);
    }
    let label = |label: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(good)
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // A last label of digits would be an address, and none that parses.
    let numeric = name
        .rsplit('.')
        .next()
        .is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    if name.len() > 253 || !name.split('.').all(label) || numeric {
        return Err("must be a host name in ASCII letters, or an address".to_owned());
    }
    Ok(text)
}

/// What can stand behind the `@` of an address: a host name, and no address literal.
pub(super) fn is_domain(text: &str) -> bool {
    host(text).is_ok() && text.parse::<IpAddr>().is_err() && !text.ends_with('.')
}

/// `http://host:port` or `socks5://host:port`; the port is always written, as no two kinds of
/// proxy agree on a usual one.
pub(super) fn proxy(text: &str) -> Result<(ProxyKind, String, u16), String> {
    if text.contains('@') {
        let message = "must not hold a user name or password: set egress.username, and \
                       egress.password to where the password lies";
        return Err(message.to_owned());
    }
    without_blanks(text)?;
    let form = "must be http://HOST:PORT or socks5://HOST:PORT";
    let (scheme, rest) = text.split_once("://").ok_or(form)?;
    let kind = match scheme.to_ascii_lowercase().as_str() {
        "http" => ProxyKind::Http,
        // curl's word for a proxy that resolves names, as all do here.
        "socks5" | "socks5h" => ProxyKind::Socks5,
        "https" => {
            let message = "TLS to the proxy itself is not spoken: write http:// (what goes through \
                           it is TLS to the server all the same)";
            return Err(message.to_owned());
        }
        _ => return Err(form.to_owned()),
    };
    let (host, port) = address(rest.strip_suffix('/').unwrap_or(rest)).map_err(|_| form)?;
    Ok((kind, host, port))
}

/// A user name for RFC 7617 (no colon) and RFC 1929 (255 octets).
fn proxy_user(text: &str) -> Result<&str, String> {
    if text.contains(':') {
        return Err("must not hold a colon: HTTP Basic takes what follows for the password".into());
    }
    if text.len() > 255 {
        return Err("is longer than 255 bytes".to_owned());
    }
    some(text)
}

/// A name, a `.name`, an address or a network that is reached without the egress proxy.
pub(super) fn no_proxy(text: &str) -> Result<NoProxy, String> {
    if text.parse::<IpAddr>().is_ok() || text.contains('/') {
        return cidr(text).map(NoProxy::Network);
    }
    let name = text.strip_prefix('.').unwrap_or(text);
    host(name).map_err(|_| {
        "must be a host name, .name for all names below it, an address, or a network as in \
         192.0.2.0/24; without ports and asterisks"
    })?;
    let known = name.trim_end_matches('.').to_ascii_lowercase();
    Ok(if name.len() == text.len() {
        NoProxy::Name(known)
    } else {
        NoProxy::Below(known)
    })
}

#[cfg(test)]
mod tests;
