//! What `fuzz/` needs of the inside: one thin function for each reader that no other crate can name.

use crate::daemon::control::{Answer, Question};
use crate::input::network;
use crate::message::{Charset, Repairer, Rules};
use crate::oauth::table;
use crate::proto::Protocol;
use crate::spool::{format, state};
use crate::upstream::{self, FirstWords, Heard};

/// Lets the look at a server's first words hear these pieces until it ends; gives what it found.
pub fn first_words<'a>(protocol: Protocol, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut words = FirstWords::new(protocol);
    for piece in pieces {
        match words.hear(piece) {
            Heard::More => {}
            Heard::Trouble(row, text) => return format!("{}: {text}", row.code()),
            heard => return format!("{heard:?}"),
        }
    }
    format!("{:?}", Heard::More)
}

/// The code of the error table's row for a mail server's words, and the server's own code.
pub fn reply(
    protocol: Protocol,
    text: &str,
    status: Option<&str>,
) -> (Option<String>, Option<String>) {
    let row = table::mail_error(protocol, text, status);
    (
        row.map(table::Row::code),
        upstream::response_code(protocol, text),
    )
}

/// The network that a text names; or the spellings that its fault offers.
///
/// # Errors
/// When it names none.
pub fn network(text: &str) -> Result<String, Vec<String>> {
    match network::parse(text) {
        Ok(network) => Ok(network.to_string()),
        Err(network::NetworkFault::HostBits {
            network, address, ..
        }) => Err(vec![network.to_string(), address.to_string()]),
        Err(_) => Err(Vec::new()),
    }
}

/// The same for what was stored before.
pub fn stored_network(text: &str) -> Option<String> {
    network::parse_stored(text).map(|network| network.to_string())
}

/// Of those texts that name networks: whether all lie among the addresses of all, and whether the public
/// ones are no more than a site's.
pub fn addresses<'a>(texts: impl IntoIterator<Item = &'a str>) -> (bool, bool) {
    let parsed = texts
        .into_iter()
        .filter_map(|text| network::parse(text).ok());
    let networks: Vec<_> = parsed.collect();
    let all = network::Addresses::of(&networks);
    let among = networks.iter().all(|network| all.overlap(*network));
    let public = network::Addresses::public(&networks);
    (among, public.are_a_sites())
}

/// A question of the control socket, written again as it was understood.
pub fn question(line: &str) -> Option<String> {
    let question: Question = serde_json::from_str(line).ok()?;
    serde_json::to_string(&question).ok()
}

/// An answer of the control socket, written again as it was understood, and whether what was asked was
/// done.
pub fn answer(text: &[u8]) -> Option<(String, bool)> {
    let answer: Answer = serde_json::from_slice(text).ok()?;
    let again = serde_json::to_string(&answer).ok()?;
    Some((again, answer.is_done()))
}

/// A file of the spool: where in it the message lies, and all of it written again as it was understood.
pub fn spooled(bytes: &[u8]) -> Option<(std::ops::Range<usize>, Vec<u8>)> {
    let (header, message, repairs) = format::read_whole(bytes).ok()?;
    let again = format::write_whole(&header, bytes.get(message.clone())?, &repairs);
    Some((message, again))
}

/// Header and message, and behind the control character RS lines as they stand behind a message, made a file of
/// the spool by a last line that fits them: past the checksum there is more to read. `None`: the header is none.
pub fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    format::seal(bytes)
}

/// The state of a message, written again as it was understood.
pub fn spool_state(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(state::State::read(bytes)?.write())
}

/// A message as a device sent it, repaired as the switches allow, and the words for what was mended
/// because SMTP can't carry it.
pub fn repaired<'a>(
    switches: u8,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Vec<&'static str>) {
    let mut repairer = Repairer::new(Rules {
        mailbox: "scan@contoso.com".into(),
        rewrite: switches & 1 != 0,
        headers: switches & 2 != 0,
        charset: Charset::of("shift_jis")
            .filter(|_| switches & 4 != 0)
            .unwrap_or_default(),
        smtputf8: switches & 8 != 0,
        received: "by relay; Sat, 28 Nov 2026 11:00:00 +0000".into(),
        received_at: 1_795_863_600,
        message_id: "1@relay".into(),
    });
    let mut out = Vec::new();
    for piece in pieces {
        repairer.push(piece, &mut out);
    }
    let seen = repairer.end(&mut out);
    let transport = seen.repairs.iter().filter(|(mend, _)| mend.is_transport());
    (out, transport.map(|(mend, _)| mend.word()).collect())
}
