//! Plays dialogues of any protocol, in either direction, cut wherever a test wants.

use bytes::Bytes;
use secrecy::ExposeSecret;

use super::Refusal;
use super::dialogue::{
    Capabilities, ClientEnd, ClientSide, ClientStep, Fault, Refused, Success, UpstreamSide,
    UpstreamStep,
};
use super::sasl::Mechanism;

/// Inputs up to this length are cut at every pair of bytes too.
const SHORT: usize = 64;

/// All that came of a dialogue with a client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Story {
    pub(super) said: String,
    pub(super) logins: Vec<(Vec<u8>, Vec<u8>)>,
    /// How often the listener was to log in.
    pub(super) login_as: usize,
    pub(super) end: Option<ClientEnd>,
    /// TLS was to be started.
    pub(super) tls: bool,
    /// What came in the clear once TLS was to be started: not the dialogue's matter.
    pub(super) handshake: Vec<u8>,
    pub(super) unread: Vec<u8>,
}

/// What a client sends: in the clear, and over TLS once that is up.
#[derive(Clone, Copy, Default)]
pub(super) struct Input<'a> {
    pub(super) clear: &'a [u8],
    pub(super) tls: &'a [u8],
}

impl<'a> From<&'a [u8]> for Input<'a> {
    fn from(clear: &'a [u8]) -> Self {
        Self { clear, tls: b"" }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Input<'a> {
    fn from(clear: &'a [u8; N]) -> Self {
        Self::from(&clear[..])
    }
}

impl<'a> From<&'a Vec<u8>> for Input<'a> {
    fn from(clear: &'a Vec<u8>) -> Self {
        Self::from(&clear[..])
    }
}

/// Cuts `input` at `cuts`.
pub(super) fn pieces<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut from = 0;
    let mut pieces = Vec::new();
    for &cut in cuts.iter().chain([&input.len()]) {
        pieces.push(&input[from..cut]);
        from = cut;
    }
    pieces
}

/// The success of an upstream, as this protocol puts it.
pub(super) fn success(dialogue: &ClientSide) -> Success {
    let (untagged, text) = match dialogue {
        ClientSide::Imap(_) => (
            "* CAPABILITY IMAP4rev1 IDLE\r\n",
            "[CAPABILITY IMAP4rev1 MOVE] Logged in",
        ),
        ClientSide::Pop3(_) => ("", "+OK User successfully authenticated."),
        ClientSide::Smtp(_) => ("", "235-2.7.0 Authentication\r\n235 2.7.0 successful"),
    };
    Success {
        untagged: Bytes::from_static(untagged.as_bytes()),
        text: Bytes::from_static(text.as_bytes()),
    }
}

/// Feeds what is in the clear cut at `cuts`, what is over TLS whole; logins get `verdict`: a refusal, or
/// acceptance, which ends the dialogue with the hand-over.
pub(super) fn play<'a>(
    dialogue: ClientSide,
    input: impl Into<Input<'a>>,
    cuts: &[usize],
    verdict: Option<&Refusal>,
) -> Story {
    let input = input.into();
    play_cut(dialogue, (input, cuts, &[]), verdict)
}

fn play_cut(
    mut dialogue: ClientSide,
    (input, clear_cuts, tls_cuts): (Input<'_>, &[usize], &[usize]),
    verdict: Option<&Refusal>,
) -> Story {
    let mut story = Story::default();
    let mut pieces_left = pieces(input.clear, clear_cuts).into_iter();
    loop {
        match dialogue.step() {
            ClientStep::Send(bytes) => story.said.push_str(std::str::from_utf8(&bytes).unwrap()),
            ClientStep::Read => match pieces_left.next() {
                Some(piece) => dialogue.receive(piece),
                None => return story,
            },
            ClientStep::StartTls => {
                story.tls = true;
                story.handshake = pieces_left.collect::<Vec<_>>().concat();
                if !story.handshake.is_empty() {
                    return story;
                }
                dialogue.tls_started().unwrap();
                pieces_left = pieces(input.tls, tls_cuts).into_iter();
            }
            ClientStep::Close(end) => {
                story.end = Some(end);
                return story;
            }
            step @ (ClientStep::Login(_) | ClientStep::LoginAs) => {
                match step {
                    ClientStep::Login(credentials) => {
                        let password = credentials.password.expose_secret().to_vec();
                        story.logins.push((credentials.user, password));
                    }
                    _ => story.login_as += 1,
                }
                if let Some(refusal) = verdict {
                    dialogue.refuse(refusal).unwrap();
                    continue;
                }
                for piece in pieces_left.by_ref() {
                    dialogue.receive(piece);
                }
                let success = success(&dialogue);
                let (to_client, unread) = dialogue.accept(&success).unwrap();
                let to_client = std::str::from_utf8(&to_client).unwrap();
                story.said.push_str(to_client);
                story.unread = unread.to_vec();
                return story;
            }
        }
    }
}

/// Every way to cut so many bytes that is tried: once anywhere, twice anywhere where they are few, and
/// everywhere.
pub(super) fn every_cut(len: usize) -> impl Iterator<Item = Vec<usize>> {
    let once = (1..len).map(|cut| vec![cut]);
    let few = if len <= SHORT { len } else { 0 };
    let twice = (1..few).flat_map(move |a| (a + 1..few).map(move |b| vec![a, b]));
    once.chain(twice).chain([(1..len).collect()])
}

/// Runs a row whole and cut in every way: always the same story.
pub(super) fn at_every_split<'a>(
    new: impl Fn() -> ClientSide,
    input: impl Into<Input<'a>>,
    verdict: Option<&Refusal>,
) -> Story {
    let input = input.into();
    let whole = play_cut(new(), (input, &[], &[]), verdict);
    for cuts in every_cut(input.clear.len()) {
        let cut = play_cut(new(), (input, &cuts, &[]), verdict);
        assert_eq!(cut, whole, "cut at {cuts:?}");
    }
    for cuts in every_cut(input.tls.len()) {
        let cut = play_cut(new(), (input, &[], &cuts), verdict);
        assert_eq!(cut, whole, "cut at {cuts:?} over TLS");
    }
    whole
}

/// All that came of a dialogue with a server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UpstreamStory {
    pub(super) said: String,
    /// What it announced.
    pub(super) capabilities: Option<Capabilities>,
    pub(super) tls: bool,
    pub(super) accepted: Option<Success>,
    pub(super) refused: Vec<Refused>,
    pub(super) failed: Option<Fault>,
    pub(super) unread: Vec<u8>,
}

impl UpstreamStory {
    /// The text of the success.
    pub(super) fn success(&self) -> Option<&[u8]> {
        self.accepted.as_ref().map(|success| &success.text[..])
    }
}

/// Feeds what a server says, piece by piece, and logs in again after a refusal while there is more.
pub(super) fn hear<'a>(
    mut dialogue: UpstreamSide,
    mechanism: Mechanism,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> UpstreamStory {
    let mut story = UpstreamStory::default();
    let mut pieces = pieces.into_iter().peekable();
    loop {
        match dialogue.step() {
            UpstreamStep::Send(bytes) => story.said.push_str(std::str::from_utf8(&bytes).unwrap()),
            UpstreamStep::Read => match pieces.next() {
                Some(piece) => dialogue.receive(piece),
                None => return story,
            },
            UpstreamStep::Ready => {
                story.capabilities = dialogue.capabilities();
                if !story.refused.is_empty() && pieces.peek().is_none() {
                    return story;
                }
                dialogue.authenticate(mechanism, "TOKEN".into()).unwrap();
            }
            UpstreamStep::StartTls => {
                story.tls = true;
                dialogue.tls_started().unwrap();
            }
            UpstreamStep::Accepted(success) => {
                story.accepted = Some(success);
                for piece in pieces.by_ref() {
                    dialogue.receive(piece);
                }
                story.unread = dialogue.into_unread().to_vec();
                return story;
            }
            UpstreamStep::Refused(refused) => story.refused.push(refused),
            UpstreamStep::Failed(fault) => {
                story.failed = Some(fault);
                return story;
            }
        }
    }
}

/// Plays whole, and with everything the server says at once cut in every way: always the same story.
/// Nothing of one part comes with the next: so a part may end in clear text, and the next begin over TLS.
pub(super) fn hear_at_every_split(
    new: impl Fn() -> UpstreamSide,
    mechanism: Mechanism,
    says: &[&[u8]],
) -> UpstreamStory {
    let whole = hear(new(), mechanism, says.iter().copied());
    for (at, said) in says.iter().enumerate() {
        for cuts in every_cut(said.len()) {
            let mut cut = says.to_vec();
            cut.splice(at..=at, pieces(said, &cuts));
            let story = hear(new(), mechanism, cut);
            assert_eq!(story, whole, "part {at} cut at {cuts:?}");
        }
    }
    whole
}
