//! A listener that takes mail, and a scripted device on a real socket.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::access::{Gatekeeper, Identity};
use crate::input::words::{Sender, TlsMode};
use crate::message::Charset;
use crate::net::dial::dial;
use crate::net::egress::Egress;
use crate::net::relay::RelayLimits;
use crate::net::tls::client_config;
use crate::oauth::Tokens;
use crate::observe::event::Sink;
use crate::observe::{Event, Events, SystemClock};
use crate::proto::sasl::Mechanism;
use crate::proto::{ByProtocol, Limits as Dialogue, Protocol};
use crate::session::{
    Arrivals, Crowd, Intake, Knocks, Limits, Listener, ListenerTls, Plan, Registry, RegistryLimits,
    Route, Shared, Strangers, Troubles, arrive,
};
use crate::spool::tests::files;
use crate::spool::tests::layer::Layer;
use crate::spool::{self, Id, Message, Opened, Spool, Totals};
use crate::upstream::{Pacing, Server};

pub(super) const SCAN: &str = "scan@contoso.com";
/// Sessions of one device.
pub(super) const DEVICE_SESSIONS: usize = 50;
pub(super) const LABEL: &str = "hall-printer";

/// What happened, by its name, and a word of it.
#[derive(Default)]
pub(super) struct Heard(pub(super) Mutex<Vec<String>>);

impl Sink for Heard {
    fn take(&self, _: u64, event: &Event) {
        self.0.lock().push(match event {
            Event::Login(login) => format!("login {} {}", login.account, login.label),
            Event::SessionEnd(end) => {
                let both = end.to_client > 0 && end.to_upstream > 0;
                assert!(both || end.reason == "crowded");
                format!("end {}", end.reason)
            }
            Event::MailAccepted(one) => format!("mail of {} to {}", one.device, one.recipients),
            _ => "else".to_owned(),
        });
    }
}

/// A relay listener with its spool.
pub(super) struct House {
    pub(super) dir: TempDir,
    pub(super) layer: Layer,
    pub(super) opened: Opened,
    pub(super) shared: Arc<Shared>,
    pub(super) heard: Arc<Heard>,
    pub(super) password: SecretString,
    listener: Arc<Listener>,
    door: TcpListener,
}

/// A device.
pub(super) struct Device {
    stream: BufReader<TcpStream>,
    served: JoinHandle<()>,
}

impl House {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}, spool::Limits::default()).await
    }

    /// One whose intake is changed so.
    pub(super) async fn with(change: impl FnOnce(&mut Intake), limits: spool::Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layer = Layer::default();
        let limits = spool::Limits {
            reserve_bytes: 0,
            reserve_inodes: 0,
            ..limits
        };
        let files = Arc::new(layer.clone());
        let clock = Arc::new(SystemClock);
        let path = dir.path().join("spool");
        let opened = Spool::open_on(&path, limits, files, clock).await.unwrap();
        let state = dir.path().join("state");
        let (gatekeeper, password) = Gatekeeper::with_password(&state, SCAN, LABEL).await;
        let mut intake = Intake {
            spool: opened.spool.clone(),
            sender: Sender::Keep,
            headers: false,
            charset: Charset::default(),
            max_size: 1 << 20,
            max_recipients: 10,
            per_minute: None,
            arrivals: Arrivals::default(),
            crowd: Crowd::default(),
            device_sessions: DEVICE_SESSIONS,
            allowed_from: Vec::new(),
            allowed_recipients: Vec::new(),
        };
        change(&mut intake);
        let heard = Arc::new(Heard::default());
        Self {
            dir,
            layer,
            opened,
            shared: shared(gatekeeper, heard.clone()),
            heard,
            password,
            listener: Arc::new(listener(intake)),
            door: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    /// A device that has heard the greeting.
    pub(super) async fn device(&self) -> Device {
        let address = self.door.local_addr().unwrap();
        let client = dial("127.0.0.1", address.port(), Duration::from_secs(60));
        let (client, accepted) = tokio::join!(client, self.door.accept());
        let (socket, peer) = accepted.unwrap();
        let arrival = arrive(&self.shared, self.listener.clone(), socket, peer).unwrap();
        let mut device = Device {
            stream: BufReader::new(client.unwrap()),
            served: tokio::spawn(arrival.serve()),
        };
        assert_eq!(device.hear().await, "220 relay.example ESMTP ready");
        device
    }

    pub(super) fn totals(&self) -> Totals {
        self.opened.spool.totals()
    }

    /// The files of the spool.
    pub(super) fn files(&self) -> usize {
        files(&self.dir.path().join("spool")).len()
    }

    /// The next message that the scheduler hears of.
    pub(super) async fn arrived(&mut self) -> (Message, String) {
        let entry = self.opened.arrivals.try_recv().unwrap();
        self.message(entry.id).await
    }

    async fn message(&self, id: Id) -> (Message, String) {
        let mut message = self.opened.spool.read(id).await.unwrap();
        let mut content = Vec::new();
        while let Some(piece) = message.next().await.unwrap() {
            content.extend_from_slice(&piece);
        }
        (message, String::from_utf8(content).unwrap())
    }

    pub(super) fn plain(&self) -> String {
        let text = format!("\0{SCAN}\0{}", self.password.expose_secret());
        let text = STANDARD.encode(text);
        format!("AUTH PLAIN {text}")
    }
}

impl Device {
    /// Says lines, and hears the answer to the last.
    pub(super) async fn ask(&mut self, text: &str) -> String {
        self.say(&format!("{text}\r\n")).await;
        self.hear().await
    }

    /// Asks each line by itself; answers all.
    pub(super) async fn ask_all(&mut self, lines: &[&str]) -> Vec<String> {
        let mut answers = Vec::new();
        for line in lines {
            answers.push(self.ask(line).await);
        }
        answers
    }

    pub(super) async fn say(&mut self, text: &str) {
        let stream = self.stream.get_mut();
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next reply, its lines in one.
    pub(super) async fn hear(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.unwrap();
            let line = line.trim_end();
            reply.push_str(line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('|');
        }
    }

    /// All that still comes, up to the end of the session.
    pub(super) async fn rest(mut self) -> String {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).await.unwrap();
        self.gone().await;
        rest
    }

    /// Closes the connection, and waits until the session has ended.
    pub(super) async fn gone(self) {
        drop(self.stream);
        self.served.await.unwrap();
    }
}

fn shared(gatekeeper: Gatekeeper, heard: Arc<Heard>) -> Arc<Shared> {
    let events = Events::default();
    events.set_sinks(vec![heard]);
    // Nobody answers there, and nobody is to be asked.
    let server = Arc::new(Server::new(
        ("contoso", Protocol::Smtp),
        ("192.0.2.1", 587),
        TlsMode::StartTls,
        Mechanism::Xoauth2,
        client_config(None).unwrap(),
        Egress::direct(),
    ));
    let mut servers = ByProtocol::<Option<Arc<Server>>>::default();
    *servers.of_mut(Protocol::Smtp) = Some(server.clone());
    let mut all = ByProtocol::<Vec<Arc<Server>>>::default();
    all.of_mut(Protocol::Smtp).push(server);
    let route = Route {
        users: Some(ByProtocol::new(|_| SCAN.to_owned())),
        servers,
    };
    let long = Duration::from_secs(3600);
    let limits = Limits {
        login_time: long,
        connect_time: long,
        sessions: ByProtocol::new(|_| 1),
        session_wait: long,
        relay: RelayLimits {
            idle: long,
            stall: long,
            half_closed: long,
        },
        dialogue: Dialogue::default(),
    };
    let plan = Plan {
        routes: [(SCAN.to_owned(), route)].into(),
        aliases: [].into(),
        servers: all,
        limits,
    };
    Arc::new(Shared {
        gatekeeper,
        tokens: Tokens::of_nobody(),
        registry: Registry::new(RegistryLimits {
            connections: 100,
            waiting: 100,
            waiting_per_address: 100,
        }),
        troubles: Troubles::default(),
        pacing: Pacing::default(),
        knocks: Knocks::new(0, 0, 0),
        strangers: Strangers::default(),
        events,
        plan: ArcSwap::from_pointee(plan),
    })
}

fn listener(intake: Intake) -> Listener {
    Listener {
        name: "scanners".into(),
        protocol: Protocol::Smtp,
        tls: ListenerTls::None,
        allow_from: vec!["127.0.0.0/8".parse().unwrap()],
        most: None,
        proxy_protocol_from: Vec::new(),
        login_as: Some(Identity::by_network(SCAN.into(), None)),
        auth_hidden: false,
        ehlo_name: Some("relay.example".into()),
        intake: Some(Arc::new(intake)),
    }
}
