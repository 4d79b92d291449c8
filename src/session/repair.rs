//! Stands in for the room `message` until it is here: octets pass as they are.
#![expect(dead_code, reason = "stands in")]

/// The charset of raw octets in headers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Charset(());

/// What may be repaired, and what is put in where something is missing.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) mailbox: String,
    pub(super) rewrite: bool,
    pub(super) headers: bool,
    pub(super) charset: Charset,
    pub(super) smtputf8: bool,
    pub(super) received: String,
    pub(super) received_at: u64,
    pub(super) message_id: String,
}

/// What was seen of a message, and done to it.
pub(super) struct Seen {
    pub(super) repairs: Vec<(Mend, u64)>,
    pub(super) from: Vec<String>,
    pub(super) eight_bit: bool,
}

/// A kind of repair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mend;

impl Mend {
    #[expect(clippy::unused_self, reason = "stands in")]
    pub(super) fn word(self) -> &'static str {
        "none"
    }
}

/// Repairs one message as it comes.
pub(super) struct Repairer {
    rules: Rules,
    begun: bool,
    from: Vec<String>,
    eight_bit: bool,
}

impl Repairer {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            begun: false,
            from: Vec::new(),
            eight_bit: false,
        }
    }

    pub(super) fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            let Rules {
                mailbox,
                rewrite,
                headers,
                charset: Charset(()),
                smtputf8: _,
                received,
                received_at: _,
                message_id: _,
            } = &self.rules;
            out.extend_from_slice(format!("Received: {received}\r\n").as_bytes());
            if *rewrite && *headers {
                self.from.push(mailbox.clone());
            }
        }
        self.eight_bit |= !octets.is_ascii();
        out.extend_from_slice(octets);
    }

    pub(super) fn end(self, _out: &mut Vec<u8>) -> Seen {
        Seen {
            repairs: Vec::new(),
            from: self.from,
            eight_bit: self.eight_bit,
        }
    }
}
