//! Messages mended.

mod devices;
mod lines;
mod props;
mod sender;

use super::{Charset, Mend, Repairer, Rules, Seen};

fn rules() -> Rules {
    Rules {
        mailbox: "scan@contoso.com".into(),
        rewrite: false,
        headers: true,
        charset: Charset::default(),
        smtputf8: false,
        received: "by relay; Sat, 28 Nov 2026 11:00:00 +0000".into(),
        received_at: 1_795_863_600,
        message_id: "20261128.1@relay".into(),
    }
}

fn repair(rules: &Rules, message: &[u8]) -> (Vec<u8>, Seen) {
    let mut repairer = Repairer::new(rules.clone());
    let mut out = Vec::new();
    repairer.push(message, &mut out);
    let seen = repairer.end(&mut out);
    (out, seen)
}
