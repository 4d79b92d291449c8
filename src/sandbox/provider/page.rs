//! The HTML pages: small, without scripts, readable by a screen reader.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use url::{Host, Url};

use super::{Provider, path};
use crate::sandbox::grants::AuthRequest;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:10vh auto;padding:0 1rem}\
h1{font-size:1.4rem}\
.card{border:1px solid #8888;border-radius:.75rem;padding:1.5rem}\
.note{border-left:.3rem solid #c80;padding-left:.8rem}\
input{font:inherit;padding:.5rem;letter-spacing:.15em;text-transform:uppercase}\
button{font:inherit;padding:.6rem 1.4rem;margin:1rem .5rem 0 0;border-radius:.5rem;\
border:1px solid #0a58ca;background:#fff;color:#0a58ca;cursor:pointer}\
button.main{background:#0a58ca;color:#fff}\
button:focus-visible,input:focus-visible{outline:3px solid #f90;outline-offset:2px}\
small{opacity:.8}";

/// The consent page of the authorization endpoint.
pub(super) fn consent(user: &str, request: &AuthRequest, ticket: &str, to: &Url) -> Response {
    let hint = request
        .login_hint
        .as_deref()
        .filter(|h| !h.eq_ignore_ascii_case(user));
    let hint = hint.map(|h| {
        format!(
            "<p class=\"note\">The program asked for <b>{}</b>, which is another account: signing \
             in as the one above practises that mistake.</p>",
            escape(h)
        )
    });
    let body = format!(
        "<p>A program on this computer asks to use this mailbox:</p>\
         <p><b>{}</b></p>{}{}\
         <form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"request\" value=\"{}\">{}</form>",
        escape(user),
        hint.unwrap_or_default(),
        scopes(&request.scope),
        path::AUTHORIZE,
        escape(ticket),
        BUTTONS,
    );
    page(StatusCode::OK, "Allow access?", &body, &origin(to))
}

/// Where to type a device's code.
pub(super) fn device(code: &str, fault: Option<&str>) -> Response {
    let fault = fault.map(|f| format!("<p class=\"note\" role=\"alert\">{}</p>", escape(f)));
    let body = format!(
        "{}<form method=\"post\" action=\"{}\"><p><label for=\"code\">The code that the device \
         shows:</label></p><input id=\"code\" name=\"user_code\" value=\"{}\" autocomplete=\"off\" \
         maxlength=\"20\" required autofocus><div><button class=\"main\">Continue</button></div></form>",
        fault.unwrap_or_default(),
        path::DEVICE,
        escape(code),
    );
    page(StatusCode::OK, "Sign a device in", &body, "")
}

/// The consent page for a device.
pub(super) fn device_consent(user: &str, scope: &str, code: &str) -> Response {
    let body = format!(
        "<p>The device with the code <b>{}</b> asks to use this mailbox:</p><p><b>{}</b></p>{}\
         <form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"user_code\" value=\"{}\">{}</form>",
        escape(code),
        escape(user),
        scopes(scope),
        path::DEVICE,
        escape(code),
        BUTTONS,
    );
    page(StatusCode::OK, "Allow access?", &body, "")
}

pub(super) fn done(words: &str) -> Response {
    page(
        StatusCode::OK,
        "Done",
        &format!("<p role=\"status\">{}</p>", escape(words)),
        "",
    )
}

pub(super) fn fault(words: &str) -> Response {
    let body = format!("<p class=\"note\" role=\"alert\">{}</p>", escape(words));
    page(
        StatusCode::BAD_REQUEST,
        "This request cannot be granted",
        &body,
        "",
    )
}

pub(super) fn index(provider: &Provider) -> Response {
    let body = format!(
        "<p>It has one account, <b>{}</b>, and lives until the program that runs it ends.</p>\
         <ul><li><a href=\"{}\">Sign a device in</a></li><li><a href=\"{}\">Endpoints</a></li></ul>",
        escape(provider.grants.user()),
        path::DEVICE,
        path::METADATA,
    );
    page(StatusCode::OK, "Practice provider", &body, "")
}

const BUTTONS: &str = "<button class=\"main\" name=\"decision\" value=\"allow\">Allow</button>\
     <button name=\"decision\" value=\"deny\">Deny</button>";

fn scopes(scope: &str) -> String {
    let items = scope
        .split_ascii_whitespace()
        .take(50)
        .map(|s| format!("<li>{}</li>", escape(s)));
    format!(
        "<p>It would be allowed:</p><ul>{}</ul>",
        items.collect::<String>()
    )
}

/// `form_origin` is where the form's answer may lead besides this server: browsers hold
/// `form-action` against redirects too.
fn page(status: StatusCode, title: &str, body: &str, form_origin: &str) -> Response {
    let title = escape(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title} - mailsplice sandbox</title><style>{STYLE}</style></head>\
         <body><main class=\"card\"><h1>{title}</h1>{body}</main>\
         <p><small>Practice provider of the mailsplice sandbox: no real account is touched.</small></p>\
         </body></html>"
    );
    let style_hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; \
         frame-ancestors 'none'; form-action 'self' {form_origin}"
    );
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(policy.trim_end()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A source for `form-action`; its grammar knows no IPv6 address, so that one is named by scheme.
fn origin(to: &Url) -> String {
    match to.host() {
        Some(Host::Ipv6(_)) | None => "http:".to_owned(),
        Some(host) => format!("http://{host}:{}", to.port_or_known_default().unwrap_or(80)),
    }
}

/// For text and for attribute values in double quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
