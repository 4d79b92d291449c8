//! The conversation with a client before its login: bytes between its connection and the dialogue.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;
use zeroize::Zeroizing;

use crate::net::opening::Opening;
use crate::net::stream::Stream;
use crate::proto::Credentials;
use crate::proto::dialogue::{ClientEnd, ClientSide, ClientStep};

/// Octets read from a client at a time before login.
const READ: usize = 4096;
/// Octets of a client that are taken in while it waits for its verdict; with more it has to wait, and is
/// not seen to leave.
const READ_AHEAD: usize = 16 * 1024;
/// Time for a last word to a client that is being ended.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// A client and the dialogue with it.
pub(super) struct Talk {
    pub(super) client: Stream,
    pub(super) dialogue: ClientSide,
    /// It has sent something.
    pub(super) heard: bool,
}

/// What a client wants.
pub(super) enum Said {
    /// Its first octets have come, and look like this. Nothing is made of them before [`Talk::next`] is
    /// called again.
    First(Opening),
    /// TLS, to be begun on the bare connection.
    StartTls,
    /// To log in.
    Login(Credentials),
    /// To send mail without a login: as the listener says.
    LoginAs,
    /// Nothing more: it has gone, or the dialogue has ended.
    Ended(&'static str),
    /// The same: it has sent plain text behind STARTTLS.
    Injected,
}

impl Talk {
    pub(super) fn new(client: Stream, dialogue: ClientSide) -> Self {
        Self {
            client,
            dialogue,
            heard: false,
        }
    }

    /// Moves bytes until the client wants something. What has come meanwhile stays, if this is given up.
    pub(super) async fn next(&mut self) -> Said {
        let mut buffer = Zeroizing::new(vec![0; READ]);
        loop {
            match self.dialogue.step() {
                ClientStep::Login(credentials) => return Said::Login(credentials),
                ClientStep::LoginAs => return Said::LoginAs,
                ClientStep::StartTls => return Said::StartTls,
                ClientStep::Close(ClientEnd::Injected(_)) => return Said::Injected,
                ClientStep::Close(end) => return Said::Ended(why(end)),
                ClientStep::Send(bytes) => {
                    let sent = async {
                        self.client.write_all(&bytes).await?;
                        self.client.flush().await
                    };
                    if sent.await.is_err() {
                        return Said::Ended("client lost");
                    }
                }
                ClientStep::Read => {
                    let bytes = match self.client.read(&mut buffer).await {
                        Ok(0) => return Said::Ended("client closed"),
                        Ok(count) => buffer.get(..count).unwrap_or_default(),
                        Err(_) => return Said::Ended("client lost"),
                    };
                    self.dialogue.receive(bytes);
                    if !std::mem::replace(&mut self.heard, true) {
                        return Said::First(Opening::of(bytes));
                    }
                }
            }
        }
    }

    /// Completes when the client, waiting for its verdict, has left. What it sends meanwhile is kept for later.
    /// One that only closes its side, behind commands that it has sent ahead, is still there.
    pub(super) async fn left(&mut self) {
        let mut buffer = Zeroizing::new(vec![0; READ]);
        while self.dialogue.unread() < READ_AHEAD {
            match self.client.read(&mut buffer).await {
                Ok(0) if self.dialogue.unread() > 0 => break,
                Ok(0) | Err(_) => return,
                Ok(count) => self
                    .dialogue
                    .receive(buffer.get(..count).unwrap_or_default()),
            }
        }
        std::future::pending::<()>().await;
    }

    /// Ends the connection, with a last word where there is one.
    pub(super) async fn end(mut self, farewell: Option<&str>) {
        if let Some(text) = farewell {
            debug!(text, "ended before login");
            self.dialogue.bye(text);
            let _ = timeout(FAREWELL, self.next()).await;
        }
        leave(self.client).await;
    }
}

/// Closes a client's connection so that it can read our last words: closing with unread bytes would
/// reset the connection and may throw them away.
pub(super) async fn leave(mut client: Stream) {
    let leaving = async {
        let mut discarded = vec![0; READ];
        if client.shutdown().await.is_ok() {
            while client
                .read(&mut discarded)
                .await
                .is_ok_and(|count| count > 0)
            {}
        }
    };
    let _ = timeout(FAREWELL, leaving).await;
}

fn why(end: ClientEnd) -> &'static str {
    match end {
        ClientEnd::Logout => "logout",
        ClientEnd::TooLong => "line or literal too long",
        ClientEnd::TooManyBadCommands => "too many bad commands",
        ClientEnd::TooManyRefusals => "too many refused logins",
        ClientEnd::Injected(_) => "plain text behind STARTTLS",
        ClientEnd::Bye => "bye",
    }
}
