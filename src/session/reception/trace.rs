//! Where a message came from, as its first header field and its envelope tell it.

use std::net::IpAddr;

use crate::observe::time::rfc5322;
use crate::proto::smtp::Hello;

/// A session, as the trace of its messages tells of it.
pub(in crate::session) struct Origin {
    /// The device.
    pub(in crate::session) address: IpAddr,
    /// Over TLS.
    pub(in crate::session) tls: bool,
    /// By a device password.
    pub(in crate::session) password: bool,
    /// Our name.
    pub(in crate::session) name: String,
}

impl Origin {
    /// The value of a Received field (RFC 5321 §4.4, RFC 3848). It names no recipient.
    pub(super) fn received(&self, hello: &Hello, id: &str, seconds: u64) -> String {
        let by = &self.name;
        let date = rfc5322(seconds);
        format!(
            "{} by {by} (mailsplice) with {} id {id}; {date}",
            self.from(hello),
            self.protocol(hello)
        )
    }

    /// Lines for the envelope.
    pub(super) fn lines(&self, hello: &Hello) -> Vec<String> {
        vec![format!(
            "{} with {}",
            self.from(hello),
            self.protocol(hello)
        )]
    }

    fn from(&self, hello: &Hello) -> String {
        let literal = match self.address.to_canonical() {
            IpAddr::V4(address) => format!("[{address}]"),
            IpAddr::V6(address) => format!("[IPv6:{address}]"),
        };
        format!("from {} ({literal})", harmless(&hello.name))
    }

    fn protocol(&self, hello: &Hello) -> String {
        if !hello.extended {
            return "SMTP".to_owned();
        }
        let tls = if self.tls { "S" } else { "" };
        let password = if self.password { "A" } else { "" };
        format!("ESMTP{tls}{password}")
    }
}

/// A client's name as a domain, or an address in brackets, whatever it says.
fn harmless(name: &str) -> String {
    let inside = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let address = inside.map(|inside| inside.strip_prefix("IPv6:").unwrap_or(inside));
    if address.is_some_and(|address| address.parse::<IpAddr>().is_ok()) {
        return name.to_owned();
    }
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let labels = name.split('.').filter(|label| !label.is_empty());
    let labels: Vec<String> = labels
        .map(|label| label.chars().map(fit).collect())
        .collect();
    match labels.join(".") {
        name if name.is_empty() => "unknown".to_owned(),
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_of_itself_can_t_break_the_field() {
        for (said, told) in [
            ("printer.contoso.com", "printer.contoso.com"),
            ("[192.0.2.7]", "[192.0.2.7]"),
            ("[IPv6:2001:db8::7]", "[IPv6:2001:db8::7]"),
            ("[x); id y; (", "_x___id_y___"),
            ("front desk\r\nX: y\u{e9}", "front_desk__X__y_"),
            ("..a..", "a"),
            ("", "unknown"),
        ] {
            assert_eq!(harmless(said), told, "{said:?}");
        }
    }

    #[test]
    fn the_field_tells_how_the_message_came() {
        let hello = |extended| Hello {
            name: "x".to_owned(),
            extended,
        };
        let origin = |tls, password| Origin {
            address: "::ffff:192.0.2.7".parse().unwrap(),
            tls,
            password,
            name: "relay.example".to_owned(),
        };
        assert_eq!(
            origin(true, true).received(&hello(true), "0-1", 1_795_465_072),
            "from x ([192.0.2.7]) by relay.example (mailsplice) with ESMTPSA id 0-1; \
             Mon, 23 Nov 2026 20:17:52 +0000"
        );
        for (tls, password, extended, word) in [
            (false, false, false, "SMTP"),
            (true, true, false, "SMTP"),
            (false, false, true, "ESMTP"),
            (true, false, true, "ESMTPS"),
            (false, true, true, "ESMTPA"),
        ] {
            assert_eq!(origin(tls, password).protocol(&hello(extended)), word);
        }
    }
}
