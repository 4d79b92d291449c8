//! A provider with rotating refresh tokens, on its own clock: the former refresh token stays good until
//! its successor has been used; anything older is reuse and revokes the whole sign-in. What it does with
//! a request is decided anew each time; it watches by itself that no account asks twice at a time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::endpoint::read_body;

/// What the provider does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Does what is asked.
    Grant,
    /// Answers this instead: status line, further header lines (each with its end), body.
    Say(&'static str, String, String),
    /// Breaks the connection, before or after the tokens were rotated.
    Break { rotated: bool },
    /// Never answers, before or after the tokens were rotated.
    Silence { rotated: bool },
    /// Rotates the tokens; the answer comes once [`Rotation::release`] is called.
    Hold,
}

impl Act {
    pub fn json(status: &'static str, headers: &str, body: &str) -> Self {
        let headers = format!("Content-Type: application/json\r\n{headers}");
        Self::Say(status, headers, body.to_owned())
    }
}

type Plan = Box<dyn FnMut(&str) -> Act + Send>;

/// One account at the provider.
#[derive(Default)]
struct Family {
    user: String,
    revoked: bool,
    life: Duration,
    /// Refresh tokens issued so far; their places count from 1.
    issued: usize,
    /// The youngest that has been used.
    used: usize,
    reuses: usize,
    at_once: usize,
    most_at_once: usize,
    requests: usize,
    rotations: usize,
}

struct Access {
    family: usize,
    ends: Instant,
    forgotten: bool,
}

struct World {
    plan: Plan,
    families: Vec<Family>,
    /// Refresh token to family and place.
    refresh: HashMap<String, (usize, usize)>,
    access: HashMap<String, Access>,
    serial: u64,
    /// Access tokens that were shown after their end.
    stale: usize,
}

/// What the provider saw of an account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub requests: usize,
    pub rotations: usize,
    pub reuses: usize,
    pub most_at_once: usize,
    pub revoked: bool,
}

pub struct Rotation {
    pub address: SocketAddr,
    world: Arc<Mutex<World>>,
    rotations: watch::Sender<usize>,
    release: watch::Sender<bool>,
}

impl Rotation {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = World {
            plan: Box::new(|_| Act::Grant),
            families: Vec::new(),
            refresh: HashMap::new(),
            access: HashMap::new(),
            serial: 0,
            stale: 0,
        };
        let this = Self {
            address,
            world: Arc::new(Mutex::new(world)),
            rotations: watch::Sender::new(0),
            release: watch::Sender::new(false),
        };
        let desk = Desk {
            world: this.world.clone(),
            rotations: this.rotations.clone(),
            release: this.release.clone(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(desk.clone().serve(stream));
            }
        });
        this
    }

    /// Decides about requests from now on, by the account.
    pub fn plan(&self, plan: impl FnMut(&str) -> Act + Send + 'static) {
        self.world().plan = Box::new(plan);
    }

    /// A refresh token as if somebody had signed in; access tokens live for `life`.
    pub fn sign_in(&self, user: &str, life: Duration) -> String {
        let mut world = self.world();
        world.families.push(Family {
            user: user.to_owned(),
            life,
            ..Family::default()
        });
        let family = world.families.len() - 1;
        world.new_refresh_token(family)
    }

    /// An access token of `user`, outside any refresh.
    pub fn access_token(&self, user: &str) -> String {
        let mut world = self.world();
        let family = world.family(user);
        world.new_access_token(family)
    }

    /// Tells the mail server whether an access token opens a mailbox; `expiry`: tokens end with their
    /// life, and one that is shown after it is counted.
    pub fn judging(&self, expiry: bool) -> super::upstream::Judge {
        let world = self.world.clone();
        Arc::new(move |token| {
            let mut world = world.lock().unwrap();
            if expiry {
                return judge(&mut world, token);
            }
            let access = world.access.get(token);
            access.is_some_and(|access| !access.forgotten && !world.families[access.family].revoked)
        })
    }

    /// How often an access token was shown after its end.
    pub fn stale(&self) -> usize {
        self.world().stale
    }

    /// The time until all access tokens of now have ended.
    pub fn last_end(&self) -> Duration {
        let ends = self.world().access.values().map(|access| access.ends).max();
        ends.map_or(Duration::ZERO, |end| {
            end.saturating_duration_since(Instant::now())
        })
    }

    /// Refuses the access tokens of `user` issued so far.
    pub fn forget_access_tokens(&self, user: &str) {
        let mut world = self.world();
        let family = world.family(user);
        for access in world.access.values_mut() {
            access.forgotten |= access.family == family;
        }
    }

    /// Ends the sign-in of `user`.
    pub fn revoke(&self, user: &str) {
        let mut world = self.world();
        let family = world.family(user);
        world.families[family].revoked = true;
    }

    pub fn seen(&self, user: &str) -> Seen {
        let world = self.world();
        let family = &world.families[world.family(user)];
        Seen {
            requests: family.requests,
            rotations: family.rotations,
            reuses: family.reuses,
            most_at_once: family.most_at_once,
            revoked: family.revoked,
        }
    }

    /// How many refresh tokens were issued after this one to the same account.
    pub fn younger(&self, refresh_token: &str) -> usize {
        let world = self.world();
        let (family, place) = world.refresh[refresh_token];
        world.families[family].issued - place
    }

    /// Waits until tokens were rotated `count` times in all.
    pub async fn rotated(&self, count: usize) {
        let mut rotations = self.rotations.subscribe();
        let reached = rotations.wait_for(|done| *done >= count);
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
        reached.expect("no refresh in time").unwrap();
    }

    /// How often tokens were rotated, in all.
    pub fn rotations(&self) -> usize {
        *self.rotations.borrow()
    }

    /// Lets answers on hold go.
    pub fn release(&self) {
        self.release.send_replace(true);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

fn judge(world: &mut World, token: &str) -> bool {
    let Some(access) = world.access.get(token) else {
        return false;
    };
    let ended = access.ends <= Instant::now();
    let good = !ended && !access.forgotten && !world.families[access.family].revoked;
    world.stale += usize::from(ended);
    good
}

impl World {
    fn family(&self, user: &str) -> usize {
        let found = self.families.iter().rposition(|family| family.user == user);
        found.expect("nobody of that name has signed in")
    }

    fn new_refresh_token(&mut self, family: usize) -> String {
        self.serial += 1;
        self.families[family].issued += 1;
        let token = format!("refresh-{}", self.serial);
        let place = self.families[family].issued;
        self.refresh.insert(token.clone(), (family, place));
        token
    }

    fn new_access_token(&mut self, family: usize) -> String {
        self.serial += 1;
        let token = format!("access-{}", self.serial);
        let access = Access {
            family,
            ends: Instant::now() + self.families[family].life,
            forgotten: false,
        };
        self.access.insert(token.clone(), access);
        token
    }

    /// The answer to a refresh: status line and body.
    fn rotate(&mut self, token: &str) -> (&'static str, String) {
        let refused = ("400 Bad Request", r#"{"error":"invalid_grant"}"#.to_owned());
        let Some(&(number, place)) = self.refresh.get(token) else {
            return refused;
        };
        let family = &mut self.families[number];
        if place < family.used && !family.revoked {
            family.reuses += 1;
            family.revoked = true;
        }
        if family.revoked {
            return refused;
        }
        family.used = place;
        family.rotations += 1;
        let life = family.life.as_secs();
        let (refresh, access) = (
            self.new_refresh_token(number),
            self.new_access_token(number),
        );
        let body = format!(
            r#"{{"access_token":"{access}","refresh_token":"{refresh}","token_type":"Bearer","expires_in":{life}}}"#
        );
        ("200 OK", body)
    }
}

#[derive(Clone)]
struct Desk {
    world: Arc<Mutex<World>>,
    rotations: watch::Sender<usize>,
    release: watch::Sender<bool>,
}

impl Desk {
    async fn serve(self, mut stream: TcpStream) -> Option<()> {
        /// Long enough that two requests of one account at a time would meet.
        const WORK: Duration = Duration::from_millis(10);
        let body = read_body(&mut stream).await?;
        let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        assert_eq!(form["grant_type"], "refresh_token");
        let token = &form["refresh_token"];
        let (here, act) = self.enter(token);
        tokio::time::sleep(WORK).await;
        let rotates = matches!(
            act,
            Act::Grant | Act::Hold | Act::Break { rotated: true } | Act::Silence { rotated: true }
        );
        let processed = rotates.then(|| self.world.lock().unwrap().rotate(token));
        drop(here);
        if rotates {
            self.rotations.send_modify(|count| *count += 1);
        }
        let json = "Content-Type: application/json\r\n";
        let (status, headers, body) = match (act, processed) {
            (Act::Break { .. }, _) => {
                // Without lingering the other side gets a reset.
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                return None;
            }
            (Act::Silence { .. }, _) => {
                // The connection stays open until the other side gives up.
                let _ = read_body(&mut stream).await;
                return None;
            }
            (Act::Say(status, headers, body), _) => (status, headers, body),
            (act, processed) => {
                if matches!(act, Act::Hold) {
                    let mut release = self.release.subscribe();
                    release.wait_for(|released| *released).await.ok()?;
                }
                let (status, body) = processed?;
                (status, json.to_owned(), body)
            }
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.shutdown().await.ok()
    }

    fn enter(&self, token: &str) -> (Here, Act) {
        let mut world = self.world.lock().unwrap();
        let (number, _) = *world.refresh.get(token).expect("a refresh token of ours");
        let family = &mut world.families[number];
        family.requests += 1;
        family.at_once += 1;
        family.most_at_once = family.most_at_once.max(family.at_once);
        let user = family.user.clone();
        let act = (world.plan)(&user);
        let here = Here {
            world: self.world.clone(),
            family: number,
        };
        (here, act)
    }
}

/// A request being worked on.
struct Here {
    world: Arc<Mutex<World>>,
    family: usize,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.world.lock().unwrap().families[self.family].at_once -= 1;
    }
}
