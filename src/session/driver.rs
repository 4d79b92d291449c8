//! Drives one connection up to its login: dialogue, access, token, upstream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, debug, error, info_span};

use super::audit::{Denied, client_of};
use super::clients::{TLS, wrong_opening};
use super::destination::Destination;
use super::handover::{Beyond, Done, Onward};
use super::plan::{Listener, Plan, Shared};
use super::registry::{Evicted, Waiting};
use super::strangers::Stranger;
use super::talk::{Said, Talk};
use crate::access::Identity;
use crate::observe::{Event, event};
use crate::proto::{Credentials, Refusal, RefusalKind, later};
use crate::upstream::Ahead;

/// The answer to a wrong password, or to one that was not looked at, waits this long, as at most servers:
/// guessing costs the sender a connection and time, us only a place among those waiting.
const WRONG_PASSWORD_DELAY: Duration = Duration::from_secs(1);
/// What a client is told that made room for newer ones.
const CROWDED: &str = "Too many connections are waiting to log in, try again later";

/// A connection before its login.
pub(super) struct Login {
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Arc<Plan>,
    pub(super) listener: Arc<Listener>,
    pub(super) client: SocketAddr,
    /// `client` is the client. Else it is a load balancer that did not say who the client is: the
    /// connection lies in no network of any rule.
    pub(super) named: bool,
    /// A PROXY header has been taken.
    pub(super) behind: bool,
}

/// Why a connection ends without a login.
enum End {
    /// The client has gone, or the dialogue has ended.
    Over(&'static str),
    Evicted(Evicted),
    TimedOut,
}

impl Login {
    /// `None`: it ended without a login.
    pub(super) async fn run(self, waiting: Waiting, socket: TcpStream) -> Option<Onward> {
        let mut deadline = Instant::now() + self.plan.limits.login_time;
        // The client's time does not run while it waits for us, but not for ever either.
        let mut patience = self.plan.limits.login_time;
        let (mut talk, mut ahead) = tokio::select! {
            biased;
            // Nothing can be said before the greeting.
            _ = waiting.evicted() => return None,
            greeted = self.greet(socket, deadline, &waiting) => greeted?,
        };
        let end = loop {
            let said = tokio::select! {
                biased;
                why = waiting.evicted() => break End::Evicted(why),
                said = timeout_at(deadline, talk.next()) => said,
            };
            let Ok(said) = said else {
                break End::TimedOut;
            };
            let credentials = match said {
                Said::Login(credentials) => Some(credentials),
                Said::LoginAs => None,
                Said::First(opening) => {
                    waiting.heard();
                    if talk.client.is_tls() {
                        continue;
                    }
                    // What is of another protocol would wait for an answer for ever.
                    if let Some(cause) = wrong_opening(&self.listener, opening, self.behind) {
                        self.failed(cause);
                        break End::Over("not this protocol");
                    }
                    ahead = self.start_ahead();
                    continue;
                }
                Said::StartTls => {
                    talk = tokio::select! {
                        biased;
                        _ = waiting.evicted() => return None,
                        secured = timeout_at(deadline, self.start_tls(talk)) => secured.ok()??,
                    };
                    continue;
                }
                Said::Injected => {
                    let cause = "it sends plain text behind STARTTLS: it must wait for the answer, or \
                                 somebody in between adds that";
                    self.failed((TLS, cause.to_owned()));
                    break End::Over("plain text behind STARTTLS");
                }
                Said::Ended(why) => break End::Over(why),
            };
            let began = Instant::now();
            match self
                .decide(credentials, &mut talk, &mut ahead, &waiting)
                .await
            {
                Ok(Some(done)) => return self.hand_over(talk, waiting, done),
                Ok(None) => {}
                Err(why) => break End::Evicted(why),
            }
            let waited = began.elapsed().min(patience);
            patience -= waited;
            deadline += waited;
        };
        self.end(end, talk).await;
        None
    }

    /// Decides about a login; `None`: it was refused, and the dialogue goes on.
    ///
    /// # Errors
    /// A client without a right password may have to make room meanwhile.
    async fn decide(
        &self,
        credentials: Option<Credentials>,
        talk: &mut Talk,
        ahead: &mut Option<Ahead>,
        waiting: &Waiting,
    ) -> Result<Option<Done>, Evicted> {
        let begun = self.shared.registry.moment();
        let who = tokio::select! {
            biased;
            why = waiting.evicted() => return Err(why),
            who = self.who(credentials) => who,
        };
        let denied = match who {
            Ok(identity) => {
                waiting.enter();
                match self.log_in(&identity, begun, talk, ahead).await {
                    Ok(done) => return Ok(Some(done)),
                    Err(denied) => {
                        waiting.wait_again(self.client.ip());
                        denied.of(&identity)
                    }
                }
            }
            Err(denied) => denied,
        };
        let slow = denied.stranger.is_some();
        let refusal = denied.refusal.clone();
        self.tell(denied);
        if slow {
            tokio::select! {
                biased;
                why = waiting.evicted() => return Err(why),
                () = tokio::time::sleep(WRONG_PASSWORD_DELAY) => {}
            }
        }
        if let Err(fault) = talk.dialogue.refuse(&refusal) {
            error!(%fault, "a refused login");
        }
        Ok(None)
    }

    /// Who logs in, if the password or the network allow it.
    async fn who(&self, credentials: Option<Credentials>) -> Result<Identity, Denied> {
        match credentials {
            Some(credentials) => self.admit(&credentials).await,
            None => self.without_login(),
        }
    }

    /// From a right password to the upstream's verdict.
    async fn log_in(
        &self,
        identity: &Identity,
        begun: u64,
        talk: &mut Talk,
        ahead: &mut Option<Ahead>,
    ) -> Result<Done, Denied> {
        let to = Destination::of(&self.plan, self.listener.protocol, identity)?;
        if let Some(intake) = &self.listener.intake {
            // Whether its server takes the mail is seen when it is delivered.
            let beyond = Beyond::Queue(Arc::clone(intake));
            return Ok(Done { to, begun, beyond });
        }
        let ready = async {
            let place = self.place(&to).await?;
            Ok::<_, Denied>((place, self.token(&to).await?))
        };
        let (place, token) = tokio::select! {
            biased;
            ready = ready => ready?,
            // What is under way goes on for others; nothing of it goes upstream.
            () = talk.left() => {
                let text = "You closed your side before the login was decided; log in again";
                let refusal = Refusal::new(RefusalKind::Temporary, text);
                return Err(Denied::new("client_left", refusal));
            }
        };
        let ahead = ahead.take();
        let ahead = ahead.filter(|_| self.plan.only_server(self.listener.protocol).is_some());
        let upstream = self
            .authenticate(&to, ahead, token)
            .instrument(info_span!("login", account = &**to.account()))
            .await?;
        let beyond = Beyond::Upstream(Box::new(upstream), place);
        Ok(Done { to, begun, beyond })
    }

    /// Tells of a refused login: of a stranger's in few words, of one with a right password always.
    fn tell(&self, denied: Denied) {
        let Some(cause) = &denied.stranger else {
            self.emit(&denied.event(self.client()));
            return;
        };
        let mut stranger = Stranger::new(&self.listener, self.client, denied.reason, &**cause);
        stranger.account = denied.account.as_deref().map(str::to_owned);
        stranger.text = denied.refusal.text;
        self.shared.turn_away(stranger);
    }

    pub(super) fn emit(&self, event: &Event) {
        self.shared.events.emit(event);
    }

    pub(super) fn client(&self) -> event::Client {
        client_of(&self.listener, self.client)
    }

    /// Ends a connection that has not logged in.
    async fn end(&self, end: End, talk: Talk) {
        let protocol = self.listener.protocol;
        let farewell = match end {
            End::Over(why) => {
                debug!(why, "ended before login");
                None
            }
            End::TimedOut => Some("Too slow to log in, goodbye".to_owned()),
            End::Evicted(why @ (Evicted::Crowded | Evicted::Flooded)) => {
                let cause = "ended to make room: limits.waiting_connections or waiting_per_address";
                let mut stranger = Stranger::new(&self.listener, self.client, "crowded", cause);
                stranger.text = CROWDED.to_owned();
                self.shared.turn_away(stranger);
                if why == Evicted::Flooded {
                    return;
                }
                Some(later(protocol, CROWDED))
            }
            End::Evicted(Evicted::Shutdown | Evicted::Revoked) => {
                Some(later(protocol, "The proxy is stopping, try again later"))
            }
        };
        talk.end(farewell.as_deref()).await;
    }
}
