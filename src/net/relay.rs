//! The relay: two connections spliced byte for byte until both ends are done.
//!
//! Bytes read before the hand-over go first. A direction that waits for its receiver reads no
//! more (back-pressure); one that waits for its sender holds no buffer. The end of one direction
//! is passed on as such, because some clients close their side and still wait for answers.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// The buffer of a direction while data is in flight, in octets: two TLS records.
const BUFFER: usize = 32 * 1024;
/// Turns of one direction before the other, and other sessions, get theirs.
const TURNS: usize = 8;

/// One of the two connections.
pub trait Leg: AsyncRead + AsyncWrite + Unpin {
    /// Ends the sending side as one that was cut short: TLS says no goodbye (RFC 8446 §6.1), so that the peer
    /// does not take what it has for the whole. All written bytes must have been flushed.
    fn cut(&self);
}

/// Limits of a relay.
#[derive(Debug, Clone, Copy)]
pub struct RelayLimits {
    /// The session ends when no byte moved either way for this long. RFC 9051 §5.4 demands at
    /// least 30 minutes.
    pub idle: Duration,
    /// The session ends when a peer takes none of the bytes that wait for it for this long.
    pub stall: Duration,
    /// The session ends when one side is done and nothing moved for this long.
    pub half_closed: Duration,
}

/// Bytes read before the hand-over and not yet passed on.
#[derive(Debug, Default)]
pub struct Unread {
    /// From the client, for the upstream.
    pub from_client: Bytes,
    /// From the upstream (or from us in its name), for the client.
    pub from_upstream: Bytes,
}

/// Sees what the upstream sends as it passes, piece by piece as it is read, until it breaks off;
/// the bytes go on unchanged and without delay. From then on nothing of it is left.
pub type Watch = Box<dyn FnMut(&[u8]) -> ControlFlow<()> + Send>;

/// How a relay ended, and what it moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayEnd {
    /// Why.
    pub reason: EndReason,
    /// Octets passed to the upstream, the unread ones included.
    pub to_upstream: u64,
    /// Octets passed to the client, the unread ones included.
    pub to_client: u64,
}

/// Why a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Both sides were done; the client closed first.
    ClientClosed,
    /// Both sides were done; the upstream closed first.
    UpstreamClosed,
    /// The client's connection broke.
    ClientLost,
    /// The upstream's connection broke.
    UpstreamLost,
    /// Nothing moved for the idle limit.
    Idle,
    /// The client took no byte for the stall limit.
    ClientStalled,
    /// The upstream took no byte for the stall limit.
    UpstreamStalled,
    /// We ended it (shutdown, revocation).
    Cancelled,
}

impl EndReason {
    /// A stable word for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::UpstreamClosed => "upstream_closed",
            Self::ClientLost => "client_lost",
            Self::UpstreamLost => "upstream_lost",
            Self::Idle => "idle",
            Self::ClientStalled => "client_stalled",
            Self::UpstreamStalled => "upstream_stalled",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Splices `client` and `upstream` until both are done, a limit is met, or `cancel` fires. `watch`
/// does not see the unread bytes.
pub async fn relay<C, U>(
    mut client: C,
    mut upstream: U,
    unread: Unread,
    watch: Option<Watch>,
    limits: RelayLimits,
    cancel: &CancellationToken,
) -> RelayEnd
where
    C: Leg,
    U: Leg,
{
    let mut relay = Relay {
        to_upstream: Direction::new(unread.from_client, None),
        to_client: Direction::new(unread.from_upstream, watch),
        first_done: None,
        timer: Box::pin(sleep_until(Instant::now() + limits.stall.min(limits.idle))),
        last_move: Instant::now(),
        limits,
    };
    let spliced = poll_fn(|cx| relay.poll(cx, &mut client, &mut upstream));
    let reason = tokio::select! {
        biased;
        () = cancel.cancelled() => EndReason::Cancelled,
        reason = spliced => reason,
    };
    RelayEnd {
        reason,
        to_upstream: relay.to_upstream.moved,
        to_client: relay.to_client.moved,
    }
}

struct Relay {
    to_upstream: Direction,
    to_client: Direction,
    /// Which side ended first.
    first_done: Option<EndReason>,
    timer: Pin<Box<Sleep>>,
    last_move: Instant,
    limits: RelayLimits,
}

impl Relay {
    fn poll<C, U>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        upstream: &mut U,
    ) -> Poll<EndReason>
    where
        C: Leg,
        U: Leg,
    {
        let up = self.to_upstream.poll(cx, client, upstream);
        let down = self.to_client.poll(cx, upstream, client);
        if std::mem::take(&mut self.to_upstream.active) | std::mem::take(&mut self.to_client.active)
        {
            self.last_move = Instant::now();
        }
        match (&up, &down) {
            (Poll::Ready(Err(Broken::Reader)), _) | (_, Poll::Ready(Err(Broken::Writer))) => {
                return Poll::Ready(EndReason::ClientLost);
            }
            (Poll::Ready(Err(Broken::Writer)), _) | (_, Poll::Ready(Err(Broken::Reader))) => {
                return Poll::Ready(EndReason::UpstreamLost);
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                return Poll::Ready(self.first_done.unwrap_or(EndReason::ClientClosed));
            }
            (Poll::Ready(Ok(())), _) => {
                let (closed, lost) = (EndReason::ClientClosed, EndReason::ClientLost);
                let reason = self.to_upstream.ended(closed, lost);
                self.first_done.get_or_insert(reason);
            }
            (_, Poll::Ready(Ok(()))) => {
                let (closed, lost) = (EndReason::UpstreamClosed, EndReason::UpstreamLost);
                let reason = self.to_client.ended(closed, lost);
                self.first_done.get_or_insert(reason);
            }
            _ => {}
        }
        self.poll_limits(cx)
    }

    /// Judges the limits; the timer is only re-armed when it fires, so that moving bytes costs no
    /// timer work.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        loop {
            let (limit, reason) = if self.to_client.waits_for_writer() {
                (self.limits.stall, EndReason::ClientStalled)
            } else if self.to_upstream.waits_for_writer() {
                (self.limits.stall, EndReason::UpstreamStalled)
            } else if let Some(done) = self.first_done {
                (self.limits.half_closed, done)
            } else {
                (self.limits.idle, EndReason::Idle)
            };
            let due = self.last_move + limit;
            if due <= Instant::now() {
                return Poll::Ready(reason);
            }
            // A limit that came nearer (a stall began) moves the timer; one that went further
            // away lets it fire early and be judged anew.
            if due < self.timer.deadline() {
                self.timer.as_mut().reset(due);
            }
            ready!(self.timer.as_mut().poll(cx));
            self.timer.as_mut().reset(due);
        }
    }
}

/// One direction: what was read and is not written yet, and how far along it is.
struct Direction {
    pending: Pending,
    state: State,
    moved: u64,
    watch: Option<Watch>,
    /// Bytes were read or written since the limits were last judged.
    active: bool,
    /// Written bytes wait inside the writer (sealed TLS records) for its socket.
    flushing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Moving,
    /// The reader is done; the writer is told.
    Closing,
    /// The reader was cut short; the writer is cut short too.
    Cutting,
    Done,
    /// The same, after [`State::Cutting`].
    Cut,
}

enum Pending {
    None,
    Unread(Bytes),
    Read {
        buffer: Box<[u8]>,
        from: usize,
        to: usize,
    },
}

enum Broken {
    Reader,
    Writer,
}

impl Direction {
    fn new(unread: Bytes, watch: Option<Watch>) -> Self {
        let pending = if unread.is_empty() {
            Pending::None
        } else {
            Pending::Unread(unread)
        };
        Self {
            pending,
            state: State::Moving,
            moved: 0,
            watch,
            active: false,
            flushing: false,
        }
    }

    fn waits_for_writer(&self) -> bool {
        let waits = self.flushing || !matches!(self.pending, Pending::None);
        waits && !self.is_done()
    }

    fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::Cut)
    }

    /// Why it is done: what follows from its reader's end.
    fn ended(&self, closed: EndReason, lost: EndReason) -> EndReason {
        if self.state == State::Cut {
            lost
        } else {
            closed
        }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<(), Broken>>
    where
        R: Leg,
        W: Leg,
    {
        for _ in 0..TURNS {
            if self.is_done() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_write(cx, writer)).map_err(|_| Broken::Writer)?;
            if self.state == State::Closing {
                // A peer that is gone already cannot be told; its own direction will say so.
                let _ = ready!(Pin::new(&mut *writer).poll_shutdown(cx));
                self.state = State::Done;
                return Poll::Ready(Ok(()));
            }
            if self.state == State::Cutting {
                let _ = ready!(Pin::new(&mut *writer).poll_flush(cx));
                writer.cut();
                self.state = State::Cut;
                return Poll::Ready(Ok(()));
            }
            match self.poll_read(cx, reader) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Reader)),
                Poll::Pending => {
                    // Nothing more to read for now: what was written must leave.
                    let flushed = Pin::new(&mut *writer).poll_flush(cx);
                    self.flushing = flushed.is_pending();
                    return match ready!(flushed) {
                        Ok(()) => Poll::Pending,
                        Err(_) => Poll::Ready(Err(Broken::Writer)),
                    };
                }
            }
        }
        // Others' turn; this one is called again at once.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<io::Result<()>> {
        let mut buffer = match std::mem::replace(&mut self.pending, Pending::None) {
            Pending::Read { buffer, .. } => buffer,
            _ => vec![0; BUFFER].into_boxed_slice(),
        };
        let mut into = ReadBuf::new(&mut buffer);
        let read = ready!(Pin::new(reader).poll_read(cx, &mut into));
        let end = match read {
            Ok(()) => State::Closing,
            // A peer that drops TCP without close_notify has ended all the same; what it sent so
            // far is passed on, and that it may not be all.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => State::Cutting,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if let Some(watch) = &mut self.watch
            && watch(into.filled()).is_break()
        {
            self.watch = None;
        }
        let to = into.filled().len();
        if to == 0 {
            self.state = end;
        } else {
            self.active = true;
            self.pending = Pending::Read {
                buffer,
                from: 0,
                to,
            };
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        loop {
            let bytes = match &self.pending {
                Pending::None => return Poll::Ready(Ok(())),
                Pending::Unread(bytes) => bytes.as_ref(),
                Pending::Read { buffer, from, to } => buffer.get(*from..*to).unwrap_or_default(),
            };
            if bytes.is_empty() {
                if matches!(self.pending, Pending::Unread(_)) {
                    self.pending = Pending::None;
                }
                // A drained buffer stays for the next read of this turn.
                return Poll::Ready(Ok(()));
            }
            let count = ready!(Pin::new(&mut *writer).poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.moved += count as u64;
            self.active = true;
            match &mut self.pending {
                Pending::None => {}
                Pending::Unread(bytes) => bytes.advance(count),
                Pending::Read { from, .. } => *from += count,
            }
        }
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
