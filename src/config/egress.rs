//! The way out of the network.

use std::path::Path;

use super::fault::Report;
use super::forms;
use super::model::Egress;
use super::view::View;
use crate::input::choice::choice;

choice! {
    /// The ways that go through a proxy, as the file names them.
    pub(super) enum Leg {
        Token = "token",
        Mail = "mail",
    }
}

/// The egress proxy; none when there is none, or something was reported.
pub(super) fn read(file: &View<'_>, base: &Path, report: &mut Report) -> Option<Egress> {
    let view = file.map("egress", "egress");
    for (given, other) in [("username", "password"), ("password", "username")] {
        if view.has(given) && !view.has(other) {
            let message = format!("is missing: it belongs to {given}; give both or neither");
            report.fault(view.line(), view.path(other), message);
        }
    }
    let credentials = view.text("username").zip(view.secret("password", base));
    let no_proxy = view.texts("no_proxy", forms::no_proxy);
    let legs = view.words::<Leg>("for");
    let (kind, host, port) = view.parsed("proxy", forms::proxy)?.value;
    let goes = |leg| !view.has("for") || legs.contains(&leg);
    Some(Egress {
        kind,
        host,
        port,
        credentials,
        no_proxy: no_proxy.into_iter().map(|found| found.value).collect(),
        token: goes(Leg::Token),
        mail: goes(Leg::Mail),
    })
}
