//! `mailsplice queue`: the messages of the relay, looked at and changed; through a running `serve`, else by itself.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::{DONE, FAILED, load, output, runtime, say, show, word};
use crate::config::Config;
use crate::daemon::control::{self, Answer, Change, Question, queue_answer};
use crate::daemon::queue_limits;
use crate::delivery::Delivery;
use crate::delivery::view::{DetailView, MessageView, Standing};
use crate::ground::text::{one_line, printable};
use crate::message::Mend;
use crate::spool::{self, Id, Spool, SpoolError};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List what waits and what has failed, in order of receipt.
    List {
        /// Print JSON (`version` tells its form).
        #[arg(long)]
        json: bool,
    },
    /// Show a message with its story: every attempt, the server's replies, what was mended, why it waits.
    Show {
        /// Its name, as `queue list` shows it.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Print the message's header fields too.
        #[arg(long, conflicts_with = "json")]
        header: bool,
    },
    /// Try messages at once, also those that are held or have failed.
    Retry(Chosen),
    /// Remove messages for good: nobody gets them.
    Drop(Chosen),
    /// Keep messages back until they are retried.
    Hold(Chosen),
    /// Write a message's octets to stdout.
    Export {
        /// Its name, as `queue list` shows it.
        id: String,
    },
}

#[derive(clap::Args)]
pub(super) struct Chosen {
    /// Their names, as `queue list` shows them.
    #[arg(required_unless_present = "all", value_name = "ID")]
    ids: Vec<String>,
    /// All that are in the queue.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

pub(super) fn run(file: Option<PathBuf>, command: &Command) -> anyhow::Result<u8> {
    let config = load(file)?.config;
    runtime()?.block_on(async {
        match command {
            Command::List { json } => list(&config, *json).await,
            Command::Show { id, json, header } => show_one(&config, id, *json, *header).await,
            Command::Retry(chosen) => change(&config, chosen, Change::Retry).await,
            Command::Drop(chosen) => change(&config, chosen, Change::Drop).await,
            Command::Hold(chosen) => change(&config, chosen, Change::Hold).await,
            Command::Export { id } => export(&config, id).await,
        }
    })
}

/// Who answers for the queue.
enum Keeper<'a> {
    /// The `serve` that has it.
    Serve(&'a Config),
    /// This command, since no `serve` runs.
    Own(Delivery),
    /// There is no queue.
    Nobody,
}

impl<'a> Keeper<'a> {
    async fn find(config: &'a Config) -> anyhow::Result<Self> {
        let statuses = control::statuses(&config.state_dir).await;
        if statuses.iter().any(|one| one.queue.is_some()) {
            return Ok(Self::Serve(config));
        }
        let folder = &config.relay.spool_dir;
        if folder.exists() && !folder.is_dir() {
            let folder = folder.display();
            bail!(
                "relay.spool_dir {folder} is not a folder: move the file away or choose another folder"
            );
        }
        if !spool::holds_mail(folder) {
            return Ok(Self::Nobody);
        }
        let opened = Spool::open(folder, queue_limits(config)).await?;
        for aside in &opened.found.aside {
            word(format_args!("mailsplice: warning: {}", aside.why));
        }
        Ok(Self::Own(Delivery::still(opened)))
    }

    /// Asks; what can't be done is an error in the words of who was asked.
    async fn ask(&self, question: &Question) -> anyhow::Result<Answer> {
        let answer = match self {
            Self::Serve(config) => {
                let mut answers = control::ask(&config.state_dir, question).await;
                // Of several processes one has the queue.
                let has = answers
                    .iter()
                    .position(|one| !matches!(one, Answer::Fault { .. }));
                let at = has.unwrap_or_default();
                if answers.is_empty() {
                    bail!("the running serve did not answer");
                }
                answers.swap_remove(at)
            }
            Self::Own(delivery) => queue_answer(delivery, question).await,
            Self::Nobody => match question {
                Question::QueueList { .. } => return Ok(Answer::no_messages()),
                Question::QueueShow { id } | Question::QueueChange { id, .. } => bail!(
                    "there is no message {} in the queue: it is empty",
                    printable(id)
                ),
                _ => bail!("there is no queue"),
            },
        };
        match answer {
            Answer::Fault { error } => bail!("{error}"),
            answer => Ok(answer),
        }
    }

    async fn all(&self) -> anyhow::Result<Vec<MessageView>> {
        let mut all: Vec<MessageView> = Vec::new();
        loop {
            let after = all.last().map(|last| last.id.clone());
            let Answer::Messages { messages, more, .. } =
                self.ask(&Question::QueueList { after }).await?
            else {
                bail!("the running serve is of another version: it has no queue");
            };
            let came = !messages.is_empty();
            all.extend(messages);
            if !more || !came {
                return Ok(all);
            }
        }
    }
}

/// The form of `list --json`.
#[derive(Serialize)]
struct Listed {
    version: u32,
    messages: Vec<MessageView>,
}

/// The form of `show --json`.
#[derive(Serialize)]
struct Shown {
    version: u32,
    #[serde(flatten)]
    message: Box<DetailView>,
}

async fn list(config: &Config, json: bool) -> anyhow::Result<u8> {
    let messages = Keeper::find(config).await?.all().await?;
    if json {
        let listed = Listed {
            version: 1,
            messages,
        };
        say(serde_json::to_string(&listed)?);
        return Ok(DONE);
    }
    let octets = messages.iter().map(|one| one.size).sum();
    let count = match messages.len() {
        0 => "The queue is empty".to_owned(),
        1 => format!("1 message, {}", size(octets)),
        count => format!("{count} messages, {}", size(octets)),
    };
    say(count);
    for one in &messages {
        say("");
        print_line(one);
    }
    Ok(DONE)
}

fn print_line(one: &MessageView) {
    let recipients = match one.recipients.as_slice() {
        [only] => only.address.clone(),
        [first, rest @ ..] => format!("{} and {} more", first.address, rest.len()),
        [] => String::new(),
    };
    say(format_args!(
        "{}  {}  {}  {} -> {recipients}",
        one.id,
        standing(one.state),
        size(one.size),
        one.device
    ));
    let next = match &one.next_try {
        Some(at) => format!(", next try {at}"),
        None => String::new(),
    };
    let attempts = match one.attempts {
        1 => "1 attempt".to_owned(),
        count => format!("{count} attempts"),
    };
    say(format_args!(
        "  received {}, {attempts}{next}",
        one.received
    ));
    if !one.why.is_empty() {
        say(format_args!("  {}", one.why));
    }
}

async fn show_one(config: &Config, id: &str, json: bool, header: bool) -> anyhow::Result<u8> {
    let keeper = Keeper::find(config).await?;
    let question = Question::QueueShow { id: id.to_owned() };
    let Answer::Message { message, .. } = keeper.ask(&question).await? else {
        bail!("the running serve is of another version: it has no queue");
    };
    if json {
        let shown = Shown {
            version: 1,
            message,
        };
        say(serde_json::to_string_pretty(&shown)?);
        return Ok(DONE);
    }
    print_story(&message);
    if header {
        say("\nheader");
        print_header(config, id).await?;
    }
    Ok(DONE)
}

fn print_story(shown: &DetailView) {
    let one = &shown.message;
    let line = |name: &str, value: &dyn std::fmt::Display| say(format_args!("{name:<10} {value}"));
    line("message", &one.id);
    line("state", &standing(one.state));
    if !one.why.is_empty() {
        line("why", &one.why);
    }
    line("account", &one.account);
    line("listener", &one.listener);
    line("device", &one.device);
    line("sender", &one.sender);
    line("size", &size(one.size));
    line("received", &one.received);
    if let Some(at) = &one.next_try {
        line("next try", at);
    }
    line("attempts", &one.attempts);
    for to in &one.recipients {
        let state = serde_json::to_value(to.state).unwrap_or_default();
        let state = state.as_str().unwrap_or_default().to_owned();
        let reply = match to.reply.is_empty() {
            true => String::new(),
            false => format!(": {}", to.reply),
        };
        line(
            "recipient",
            &format_args!("{} ({state}{reply})", to.address),
        );
    }
    for repair in &shown.repairs {
        let told = Mend::of(&repair.what).map(Mend::sentence);
        let told = told.unwrap_or_default();
        line(
            "mended",
            &format_args!("{} {}: {told}", repair.count, repair.what),
        );
    }
    for step in &shown.trace {
        let server = match step.server.is_empty() {
            true => String::new(),
            false => format!(" {}, {:.1} s", step.server, step.seconds),
        };
        line(
            "",
            &format_args!("{} {}{server}  {}", step.time, step.event, step.reply),
        );
    }
}

/// The header fields as they are, one line each.
async fn print_header(config: &Config, id: &str) -> anyhow::Result<()> {
    let mut message = read(config, id).await?;
    let mut octets = Vec::new();
    while let Some(piece) = message.next().await? {
        octets.extend_from_slice(&piece);
        let end = memchr::memmem::find(&octets, b"\r\n\r\n");
        if let Some(end) = end {
            octets.truncate(end);
            break;
        }
    }
    for line in String::from_utf8_lossy(&octets).split("\r\n") {
        say(format_args!("  {}", one_line(2000, line)));
    }
    Ok(())
}

async fn change(config: &Config, chosen: &Chosen, change: Change) -> anyhow::Result<u8> {
    let keeper = Keeper::find(config).await?;
    let ids = match chosen.all {
        true => keeper.all().await?.into_iter().map(|one| one.id).collect(),
        false => chosen.ids.clone(),
    };
    let done = match change {
        Change::Retry => "is tried again",
        Change::Drop => "is removed",
        Change::Hold => "is held",
    };
    let mut status = DONE;
    for id in ids {
        let question = Question::QueueChange {
            id: id.clone(),
            change,
        };
        match keeper.ask(&question).await {
            Ok(_) => say(format_args!("{id} {done}")),
            Err(error) => {
                word(format_args!("mailsplice: {error}"));
                status = FAILED;
            }
        }
    }
    if let (Keeper::Own(_), Change::Retry) = (&keeper, change) {
        word("mailsplice: serve is not running: it is sent when it runs");
    }
    Ok(status)
}

async fn export(config: &Config, id: &str) -> anyhow::Result<u8> {
    if output::leads_nowhere() {
        word("mailsplice: warning: stdout leads nowhere");
    }
    let mut message = read(config, id).await?;
    show()?;
    let mut stdout = io::stdout().lock();
    while let Some(piece) = message.next().await? {
        stdout.write_all(&piece).context("stdout")?;
    }
    stdout.flush().context("stdout")?;
    Ok(DONE)
}

async fn read(config: &Config, name: &str) -> anyhow::Result<spool::Message> {
    let unknown = || {
        let name = printable(name);
        anyhow::anyhow!(
            "there is no message {name} in the queue: mailsplice queue list shows what is there"
        )
    };
    let id: Id = name.parse().map_err(|_| unknown())?;
    match spool::read(&config.relay.spool_dir, id).await {
        Err(SpoolError::Unknown(_)) => Err(unknown()),
        read => Ok(read?),
    }
}

fn standing(state: Standing) -> &'static str {
    match state {
        Standing::Waiting => "waiting",
        Standing::Sending => "sending",
        Standing::Held => "held",
        Standing::Unknown => "outcome unknown",
        Standing::Failed => "failed",
    }
}

/// Octets for people.
fn size(octets: u64) -> String {
    match octets {
        0..1024 => format!("{octets} B"),
        1024..1_048_576 => format!("{} KiB", octets.div_ceil(1024)),
        _ => format!("{} MiB", octets.div_ceil(1_048_576)),
    }
}
