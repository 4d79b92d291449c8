//! What the dialogues of all protocols have in common: steps, ends, faults; and one type for each side
//! that is any of them.

use bytes::Bytes;
use secrecy::SecretString;
use thiserror::Error;

use super::sasl::Mechanism;
use super::{Credentials, Limits, Refusal, imap, pop3, smtp};

/// Whether a password may be shown on this connection, and whether TLS can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// TLS is up, or plain text is allowed on this listener.
    LoginAllowed,
    /// Plain text until STARTTLS or STLS (RFC 9051 §6.2.1, RFC 2595 §4, RFC 3207); no login before.
    StartTlsFirst,
}

/// What the driver has to do next. Not `Debug`: it may hold a password.
pub enum ClientStep {
    /// Read from the client and call [`ClientSide::receive`].
    Read,
    /// Send these bytes to the client.
    Send(Bytes),
    /// Start TLS on the client's connection, then call [`ClientSide::tls_started`].
    StartTls,
    /// Decide about these credentials, then call [`ClientSide::refuse`] or
    /// [`ClientSide::accept`].
    Login(Credentials),
    /// The client sends mail without a login, on a listener that allows it: log in as the listener
    /// says, then call [`ClientSide::refuse`] or [`ClientSide::accept`]. SMTP only.
    LoginAs,
    /// Close the connection.
    Close(ClientEnd),
}

/// Why a dialogue ended without a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEnd {
    /// LOGOUT or QUIT.
    Logout,
    /// A line, or a literal sent without waiting, over the limit.
    TooLong,
    /// Too many commands that were not understood.
    TooManyBadCommands,
    /// Too many logins that were refused.
    TooManyRefusals,
    /// Plain text behind STARTTLS or STLS, that many octets: somebody puts words into the client's mouth,
    /// or it is broken (RFC 9051 §6.2.1, RFC 3207 §6).
    Injected(usize),
    /// The driver ended it ([`ClientSide::bye`]).
    Bye,
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamTls {
    /// TLS is up already, or the connection stays on loopback.
    Ready,
    /// STARTTLS or STLS must come first (RFC 8314); there is no way round it.
    StartTls,
}

/// What the driver has to do next. Not `Debug`: it may hold a token.
pub enum UpstreamStep {
    /// Read from the upstream and call [`UpstreamSide::receive`].
    Read,
    /// Send these bytes upstream.
    Send(Bytes),
    /// Start TLS, then call [`UpstreamSide::tls_started`].
    StartTls,
    /// The server is ready for [`UpstreamSide::authenticate`].
    Ready,
    /// The login succeeded; go on with [`UpstreamSide::into_unread`].
    Accepted(Success),
    /// The login was refused; another [`UpstreamSide::authenticate`] may follow.
    Refused(Refused),
    /// The connection is of no more use.
    Failed(Fault),
}

/// The success of a login, as the server told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    /// IMAP: untagged responses before the tagged one, with their line ends. Else empty.
    pub untagged: Bytes,
    /// IMAP: all that followed `OK ` in the tagged response. Else the whole reply, without its last
    /// line end.
    pub text: Bytes,
}

/// A refused login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is to be made of it.
    pub because: RefusedBecause,
    /// The server's words, printable and cut, for the log.
    pub text: String,
    /// `status` of the error challenge, if there was one.
    pub status: Option<String>,
}

impl Refused {
    /// The status of the challenge, where it tells why: a final reply that tells of a passing trouble
    /// wins over it (RFC 5530 §3, RFC 4954 §4).
    pub fn telling_status(&self) -> Option<&str> {
        let passing = self.because == RefusedBecause::Temporary;
        self.status.as_deref().filter(|_| !passing)
    }

    /// The same with the server's words as `hide` leaves them; a status that it changes is dropped.
    #[must_use]
    pub fn with_words(self, hide: impl Fn(&str) -> String) -> Self {
        Self {
            text: hide(&self.text),
            status: self.status.filter(|status| hide(status) == *status),
            ..self
        }
    }
}

/// What a refusal means for the token, by its status and response code; words may say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBecause {
    /// The server does not want this token: a new one may help, once.
    Token,
    /// The server has trouble of its own, or throttles: the token is not to blame.
    Temporary,
    /// The server did not understand the command or the mechanism: a new token does not help.
    Protocol,
}

/// Why a connection is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The server's goodbye (`* BYE`, `-ERR` in place of a greeting, 421 or 554), in its words.
    #[error("the server closed the connection: {0}")]
    Bye(String),
    /// `* PREAUTH`: the login would be somebody else's (RFC 9051 §7.1.4).
    #[error("the server greeted with PREAUTH: it takes us for somebody who has logged in already")]
    PreAuth,
    /// The first line is no greeting of this protocol.
    #[error("what answers there does not speak {0}")]
    WrongProtocol(&'static str),
    /// It took the login before it had seen a token: whose mailbox would that be?
    #[error("the server accepts the login before it has seen the token")]
    EarlySuccess,
    /// Plain text behind the reply to STARTTLS, that many octets: somebody puts words into the
    /// server's mouth, or it is broken (RFC 3207 §6).
    #[error("the server sent {0} octets of plain text behind its reply to STARTTLS")]
    Injected(usize),
    /// STARTTLS refused; we never go on in plain text.
    #[error("the server refuses STARTTLS")]
    NoStartTls,
    /// It does not take the name in our EHLO, in its words. SMTP only.
    #[error("the server refuses the name in our EHLO: {0}")]
    NameRefused(String),
    /// A line, or all lines together, over the limit.
    #[error("the server sends more than mail servers send before login")]
    TooMuch,
    /// The driver called out of turn; a bug of ours, told instead of a panic or of doing nothing.
    #[error("internal error: the dialogue was asked out of turn")]
    OutOfTurn,
}

impl Fault {
    /// The same with the server's words as `hide` leaves them.
    #[must_use]
    pub fn with_words(self, hide: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Bye(text) => Self::Bye(hide(&text)),
            Self::NameRefused(text) => Self::NameRefused(hide(&text)),
            other => other,
        }
    }
}

/// The dialogue with a client, of any protocol.
pub enum ClientSide {
    /// IMAP.
    Imap(imap::ClientSide),
    /// POP3.
    Pop3(pop3::ClientSide),
    /// SMTP submission.
    Smtp(smtp::ClientSide),
}

/// The dialogue with a server, of any protocol.
pub enum UpstreamSide {
    /// IMAP.
    Imap(imap::UpstreamSide),
    /// POP3.
    Pop3(pop3::UpstreamSide),
    /// SMTP submission.
    Smtp(smtp::UpstreamSide),
}

/// What a server announces, in any protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capabilities {
    /// Of `CAPABILITY`.
    Imap(imap::Capabilities),
    /// Of `CAPA`.
    Pop3(pop3::Capabilities),
    /// Of EHLO.
    Smtp(smtp::Capabilities),
}

impl Capabilities {
    /// Those of an SMTP server.
    pub fn smtp(&self) -> Option<&smtp::Capabilities> {
        match self {
            Self::Smtp(list) => Some(list),
            Self::Imap(_) | Self::Pop3(_) => None,
        }
    }

    /// Whether the server offers this SASL mechanism.
    pub fn offers(&self, mechanism: &str) -> bool {
        match self {
            Self::Imap(list) => list.has(&format!("AUTH={mechanism}")),
            Self::Pop3(list) => list.offers(mechanism) == Some(true),
            Self::Smtp(list) => list.offers(mechanism) == Some(true),
        }
    }
}

/// Calls the same method of whatever dialogue it is.
macro_rules! each {
    ($dialogue:expr, $inner:ident => $call:expr) => {
        match $dialogue {
            Self::Imap($inner) => $call,
            Self::Pop3($inner) => $call,
            Self::Smtp($inner) => $call,
        }
    };
}

impl ClientSide {
    /// Begins the dialogue of the protocol that `capabilities` are of; the first step sends the
    /// greeting.
    pub fn new(capabilities: Capabilities, protection: Protection, limits: Limits) -> Self {
        match capabilities {
            Capabilities::Imap(list) => Self::Imap(imap::ClientSide::new(list, protection, limits)),
            Capabilities::Pop3(list) => Self::Pop3(pop3::ClientSide::new(list, protection, limits)),
            Capabilities::Smtp(list) => Self::Smtp(smtp::ClientSide::new(list, protection, limits)),
        }
    }

    /// The same for devices that never log in, see [`ClientStep::LoginAs`]; nothing changes for protocols
    /// other than SMTP.
    #[must_use]
    pub fn login_as(self) -> Self {
        match self {
            Self::Smtp(dialogue) => Self::Smtp(dialogue.login_as()),
            other => other,
        }
    }

    /// The same, and AUTH is not announced; nothing changes for protocols other than SMTP.
    #[must_use]
    pub fn hide_auth(self) -> Self {
        match self {
            Self::Smtp(dialogue) => Self::Smtp(dialogue.hide_auth()),
            other => other,
        }
    }

    /// The same under this name; nothing changes for protocols other than SMTP.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        match self {
            Self::Smtp(dialogue) => Self::Smtp(dialogue.named(name)),
            other => other,
        }
    }

    /// The same, and EHLO without a name is taken; nothing changes for protocols other than SMTP.
    #[must_use]
    pub fn nameless(self) -> Self {
        match self {
            Self::Smtp(dialogue) => Self::Smtp(dialogue.nameless()),
            other => other,
        }
    }

    /// What an SMTP client has said of itself.
    pub fn hello(&self) -> smtp::Hello {
        match self {
            Self::Smtp(dialogue) => dialogue.hello().clone(),
            _ => smtp::Hello::default(),
        }
    }

    /// Adds bytes read from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        each!(self, dialogue => dialogue.receive(bytes));
    }

    /// Octets received and not yet acted upon.
    pub fn unread(&self) -> usize {
        each!(self, dialogue => dialogue.unread())
    }

    /// Replaces the upstream's capabilities with newer ones; those of another protocol are ignored.
    pub fn learn(&mut self, capabilities: Capabilities) {
        match (self, capabilities) {
            (Self::Imap(dialogue), Capabilities::Imap(list)) => dialogue.learn(list),
            (Self::Pop3(dialogue), Capabilities::Pop3(list)) => dialogue.learn(list),
            (Self::Smtp(dialogue), Capabilities::Smtp(list)) => dialogue.learn(list),
            _ => {}
        }
    }

    /// The next thing to do. While a verdict or TLS is outstanding that is [`ClientStep::Read`];
    /// nothing the client sent meanwhile is acted upon.
    pub fn step(&mut self) -> ClientStep {
        each!(self, dialogue => dialogue.step())
    }

    /// TLS is up: the client starts anew.
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless [`ClientStep::StartTls`] came last; nothing has changed then.
    pub fn tls_started(&mut self) -> Result<(), Fault> {
        each!(self, dialogue => dialogue.tls_started())
    }

    /// Refuses the login; the dialogue goes on, unless it was one too many.
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless a login awaits its verdict; nothing has changed then.
    pub fn refuse(&mut self, refusal: &Refusal) -> Result<(), Fault> {
        each!(self, dialogue => dialogue.refuse(refusal))
    }

    /// Accepts the login: gives what to send to the client (the upstream's success) and what the
    /// client has already sent for the upstream.
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless a login awaits its verdict.
    pub fn accept(self, success: &Success) -> Result<(Bytes, Bytes), Fault> {
        each!(self, dialogue => dialogue.accept(success))
    }

    /// Ends the dialogue with a last word.
    pub fn bye(&mut self, text: &str) {
        each!(self, dialogue => dialogue.bye(text));
    }
}

impl UpstreamSide {
    /// Adds bytes read from the upstream.
    pub fn receive(&mut self, bytes: &[u8]) {
        each!(self, dialogue => dialogue.receive(bytes));
    }

    /// The next thing to do.
    pub fn step(&mut self) -> UpstreamStep {
        each!(self, dialogue => dialogue.step())
    }

    /// TLS is up: what was learned before is forgotten and asked again.
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] unless [`UpstreamStep::StartTls`] came last; the connection is of no more
    /// use then.
    pub fn tls_started(&mut self) -> Result<(), Fault> {
        each!(self, dialogue => dialogue.tls_started())
    }

    /// What the server announced, once known.
    pub fn capabilities(&self) -> Option<Capabilities> {
        match self {
            Self::Imap(dialogue) => dialogue.capabilities().cloned().map(Capabilities::Imap),
            Self::Pop3(dialogue) => dialogue.capabilities().cloned().map(Capabilities::Pop3),
            Self::Smtp(dialogue) => dialogue.capabilities().cloned().map(Capabilities::Smtp),
        }
    }

    /// Logs in with this message, once the server is [ready](UpstreamStep::Ready).
    ///
    /// # Errors
    /// [`Fault::OutOfTurn`] when it is not; the connection is of no more use then.
    pub fn authenticate(
        &mut self,
        mechanism: Mechanism,
        message: SecretString,
    ) -> Result<(), Fault> {
        each!(self, dialogue => dialogue.authenticate(mechanism, message))
    }

    /// What the server has sent behind its success.
    pub fn into_unread(self) -> Bytes {
        each!(self, dialogue => dialogue.into_unread())
    }
}
