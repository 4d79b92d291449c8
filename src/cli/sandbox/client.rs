//! The other end of the self-check: lines out, lines in, all shown as they go.

use anyhow::{bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{say, show};

/// The longest answer read in the self-check, in octets.
const LONGEST_ANSWER: usize = 256 * 1024;

/// A mail program or device of the self-check.
pub(super) struct Client<S> {
    stream: S,
    unread: Vec<u8>,
    quiet: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            unread: Vec::new(),
            quiet: false,
        }
    }

    /// The same, and nothing is shown.
    pub(super) fn quiet(self) -> Self {
        Self {
            quiet: true,
            ..self
        }
    }

    /// Sends `line` and shows it as `shown`.
    pub(super) async fn send(&mut self, line: &str, shown: &str) -> anyhow::Result<()> {
        self.send_octets(format!("{line}\r\n").as_bytes(), shown)
            .await
    }

    /// Sends `octets` and shows them as `shown`.
    pub(super) async fn send_octets(&mut self, octets: &[u8], shown: &str) -> anyhow::Result<()> {
        self.show(format_args!("  C: {shown}"));
        self.stream.write_all(octets).await?;
        Ok(self.stream.flush().await?)
    }

    fn show(&self, line: std::fmt::Arguments<'_>) {
        if !self.quiet {
            say(line);
            // As it happens; what fails here is told at the end.
            let _ = show();
        }
    }

    /// Shows and gives the lines up to the one that begins with `last`.
    pub(super) async fn answer(&mut self, last: &str) -> anyhow::Result<String> {
        let mut all = String::new();
        loop {
            let line = self.line().await?;
            self.show(format_args!("  S: {line}"));
            all.push_str(&line);
            all.push('\n');
            if line.starts_with(last) {
                return Ok(all);
            }
            let tag = last.split(' ').next().unwrap_or(last);
            if tag != "*" && line.starts_with(&format!("{tag} ")) {
                bail!("the answer was: {line}");
            }
            ensure!(all.len() < LONGEST_ANSWER, "the answer has no end");
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
            }
            let mut piece = vec![0; 4096];
            let count = self.stream.read(&mut piece).await?;
            ensure!(count > 0, "the connection ended");
            self.unread
                .extend_from_slice(piece.get(..count).unwrap_or_default());
        }
    }
}
