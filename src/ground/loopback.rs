//! What counts as this machine: `localhost`, 127.0.0.0/8 and `::1`, by name or address alone; nothing is resolved.

use std::net::IpAddr;

use url::{Host, Url};

/// Whether the host of a URL is this machine.
pub(crate) fn is_url(url: &Url) -> bool {
    url.host().is_some_and(|host| match host {
        Host::Domain(name) => is_name(name),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    })
}

/// Whether a host, a name or an address without brackets, is this machine.
pub(crate) fn is_host(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    is_name(host) || address.is_ok_and(|address| address.is_loopback())
}

fn is_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_look_alikes() {
        let cases = [
            ("http://localhost:80/token", true),
            ("http://LOCALHOST/token", true),
            ("http://127.0.0.1/token", true),
            ("http://127.9.9.9/token", true),
            ("http://[::1]:9/token", true),
            ("http://localhost.example.com/", false),
            ("http://10.0.0.1/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://[2001:db8::1]/", false),
        ];
        for (text, expected) in cases {
            let url = Url::parse(text).unwrap();
            assert_eq!(is_url(&url), expected, "{text}");
            let host = url.host_str().unwrap().trim_matches(['[', ']']);
            assert_eq!(is_host(host), expected, "{host}");
        }
    }
}
