//! What a person pastes at `login --paste`, from a terminal or a pipe.
//!
//! A terminal hands out whole lines, cut at 4,095 characters (termios(3), canonical mode), and addresses may
//! be longer. So it is read as it comes, and set back at the end, also by Ctrl-C.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

use super::login::explained;
use super::{show, word};
use crate::oauth::signin::{Code, CodeSignIn};

/// The longest address, in octets; an authorization code takes under 4 KiB.
const LONGEST: usize = 64 * 1024;
/// All that is read, in octets, so that an endless stdin ends.
const ALL: usize = 8 * LONGEST;
/// Where an address looks complete, more of it may be on its way: a paste comes at once.
const MORE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 300_000_000,
};

/// All is ready for what a person pastes, who is asked for it only now.
pub(super) struct Ready {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    _terminal: Option<Terminal>,
}

pub(super) fn ready() -> anyhow::Result<Ready> {
    Ok(Ready {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
        hangup: signal(SignalKind::hangup())?,
        _terminal: Terminal::open(),
    })
}

impl Ready {
    /// Waits for the address of this sign-in.
    pub(super) async fn code(mut self, sign_in: &Arc<CodeSignIn>) -> anyhow::Result<Code> {
        let sign_in = Arc::clone(sign_in);
        let pasted = tokio::task::spawn_blocking(move || read(&sign_in, &mut Input::new()));
        tokio::select! {
            pasted = pasted => pasted?,
            _ = self.interrupt.recv() => bail!("stopped: nothing was saved"),
            _ = self.terminate.recv() => bail!("stopped: nothing was saved"),
            _ = self.hangup.recv() => bail!("stopped: nothing was saved"),
        }
    }
}

/// Reads lines until they are the address. A wrong one can be put right; a refusal by the provider can't.
fn read(sign_in: &CodeSignIn, input: &mut Input) -> anyhow::Result<Code> {
    let mut text = Zeroizing::new(String::with_capacity(2 * LONGEST));
    let mut anything = false;
    loop {
        let line = input.line()?;
        let ends = match &line {
            None if anything => true,
            None => bail!("nothing was pasted, and nothing saved"),
            Some(line) => line.trim().is_empty(),
        };
        match &line {
            Some(line) if !ends => {
                if sign_in.begins_anew(line) || text.len() + line.len() > LONGEST {
                    text.clear();
                }
                text.push_str(line.trim_end());
                text.push('\n');
                anything = true;
            }
            Some(_) if text.is_empty() => continue,
            _ => {}
        }
        if !ends && input.has_more()? {
            continue;
        }
        match sign_in.from_pasted(&text) {
            Ok(code) => return Ok(code),
            Err(error) if error.code.is_some() => return Err(explained(error)),
            Err(error) if line.is_none() => {
                bail!("{}. stdin has ended: nothing was saved", error.sentence)
            }
            Err(error) if ends => {
                word(error.sentence);
                text.clear();
            }
            Err(error) => word(format_args!(
                "{}. (What comes next is added to it; an empty line begins anew.)",
                error.sentence
            )),
        }
        let _ = show();
    }
}

/// The lines of stdin.
struct Input {
    waiting: Zeroizing<Vec<u8>>,
    ended: bool,
    read: usize,
}

impl Input {
    fn new() -> Self {
        Self {
            waiting: Zeroizing::new(Vec::with_capacity(2 * LONGEST)),
            ended: false,
            read: 0,
        }
    }

    /// The next line, as a person has edited it; none at the end.
    fn line(&mut self) -> anyhow::Result<Option<Zeroizing<String>>> {
        loop {
            let end = self.waiting.iter().position(|octet| *octet == b'\n');
            let length = match end {
                Some(end) => end + 1,
                None if self.ended || self.waiting.len() > LONGEST => self.waiting.len(),
                None => {
                    self.fill()?;
                    continue;
                }
            };
            if length == 0 {
                return Ok(None);
            }
            let line: Zeroizing<Vec<u8>> = Zeroizing::new(self.waiting.drain(..length).collect());
            return Ok(Some(edited(&line)));
        }
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        let mut piece = Zeroizing::new([0; 4096]);
        let count = match rustix::io::read(io::stdin(), &mut piece[..]) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("stdin cannot be read"),
        };
        let piece = piece.get(..count).unwrap_or_default();
        // Ctrl-D, which a terminal passes on in this mode.
        self.ended = piece.is_empty() || piece == [4];
        if !self.ended {
            self.waiting.extend_from_slice(piece);
        }
        self.read += count;
        if self.read > ALL {
            bail!("too much was pasted that is no address of this sign-in: nothing was saved");
        }
        Ok(())
    }

    /// Whether more has come, or comes at once.
    fn has_more(&self) -> anyhow::Result<bool> {
        if !self.waiting.is_empty() || self.ended {
            return Ok(!self.ended || !self.waiting.is_empty());
        }
        let stdin = io::stdin();
        let mut asked = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut asked, Some(&MORE)) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error).context("stdin cannot be read"),
        }
    }
}

/// The line after backspace and Ctrl-U, which a terminal passes on in this mode, and without the marks that
/// some put around a paste.
fn edited(line: &[u8]) -> Zeroizing<String> {
    let mut kept = Zeroizing::new(String::with_capacity(line.len()));
    for c in String::from_utf8_lossy(line).chars() {
        match c {
            '\u{8}' | '\u{7f}' => drop(kept.pop()),
            '\u{15}' => kept.clear(),
            c => kept.push(c),
        }
    }
    let plain = kept.replace("\u{1b}[200~", "").replace("\u{1b}[201~", "");
    Zeroizing::new(plain)
}

/// The terminal at stdin, handing out what comes as it comes; set back when dropped.
struct Terminal(Termios);

impl Terminal {
    fn open() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let usual = tcgetattr(&stdin).ok()?;
        let mut modes = usual.clone();
        modes.local_modes.remove(LocalModes::ICANON);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Now, &modes).ok()?;
        Some(Self(usual))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
