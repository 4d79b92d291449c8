//! Runs the targets without libFuzzer: all of the corpus first, then what comes of it by chance.
//!
//! `plain [SECONDS] [TARGET…]`, 5 seconds for each unless said otherwise. It needs stable Rust and nothing
//! else; it sees no coverage, so that it finds less than libFuzzer does. An input that breaks a promise is
//! kept in `artifacts/`, and the exit status is not 0.

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use mailsplice_fuzz::{TARGETS, Target};

/// The longest time that one input may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest input that is made, in octets.
const LONGEST: usize = 4096;

/// The input that is being tried, for the one who looks at the clock.
static TRIED: Mutex<(u64, Vec<u8>)> = Mutex::new((0, Vec::new()));

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let seconds = arguments.peek().and_then(|word| word.parse().ok());
    if seconds.is_some() {
        arguments.next();
    }
    let time = Duration::from_secs(seconds.unwrap_or(5));
    let names: Vec<_> = arguments.collect();
    for name in &names {
        if !TARGETS.iter().any(|(target, _)| target == name) {
            return Err(format!("{name} is no target").into());
        }
    }
    let mut sound = true;
    for target in TARGETS {
        if names.is_empty() || names.iter().any(|name| name == target.0) {
            sound &= run(target, time)?;
        }
    }
    Ok(ExitCode::from(u8::from(!sound)))
}

fn run(&(name, body): &Target, time: Duration) -> Result<bool, Box<dyn Error>> {
    let corpus = corpus(name)?;
    let (told, ended) = channel();
    let watch = thread::spawn(move || watch(name, &ended));
    let mut chance = Chance::new();
    let mut count = 0;
    let mut trial = |input: Vec<u8>| {
        count += 1;
        set_tried(count, &input);
        catch_unwind(AssertUnwindSafe(|| body(&input))).is_ok() || !keep(name, &input)
    };
    let mut sound = corpus.iter().all(|input| trial(input.clone()));
    let began = Instant::now();
    while sound && began.elapsed() < time {
        sound = trial(chance.mutated(&corpus));
    }
    drop(told);
    let _ = watch.join();
    let (seeds, seconds) = (corpus.len(), began.elapsed().as_secs());
    println!("{name}: {count} runs, of them {seeds} of the corpus, {seconds} s");
    Ok(sound)
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of a target, which must have some.
fn corpus(name: &str) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let folder = here().join("corpus").join(name);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        paths.push(entry?.path());
    }
    paths.sort();
    if paths.is_empty() {
        return Err(format!("{}: no files", folder.display()).into());
    }
    let read = |path: &PathBuf| fs::read(path).map_err(Into::into);
    paths.iter().map(read).collect()
}

fn set_tried(count: u64, input: &[u8]) {
    if let Ok(mut tried) = TRIED.lock() {
        tried.0 = count;
        tried.1.clear();
        tried.1.extend_from_slice(input);
    }
}

/// Keeps an input that broke something; always true.
fn keep(name: &str, input: &[u8]) -> bool {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(input);
    let folder = here().join("artifacts").join(name);
    let path = folder.join(format!("plain-{:016x}", hasher.finish()));
    match fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input)) {
        Ok(()) => eprintln!("{name}: a finding, kept in {}", path.display()),
        Err(error) => eprintln!(
            "{name}: a finding, not kept: {error}: {}",
            input.escape_ascii()
        ),
    }
    true
}

/// Ends the process where one input takes too long.
fn watch(name: &str, ended: &Receiver<()>) {
    let mut last = 0;
    while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        if let Ok(tried) = TRIED.lock() {
            if tried.0 == last {
                keep(name, &tried.1);
                eprintln!("{name}: it took over {} s", PATIENCE.as_secs());
                std::process::abort();
            }
            last = tried.0;
        }
    }
}

/// Numbers by chance (SplitMix64), another sequence each time.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }

    /// A piece of some input.
    fn piece<'a>(&mut self, corpus: &'a [Vec<u8>]) -> &'a [u8] {
        let other = &corpus[self.below(corpus.len())];
        let from = self.below(other.len());
        let to = from + self.below(other.len() - from + 1);
        &other[from..to]
    }

    /// An input of the corpus, changed in a few places.
    fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        const ODD: &[u8] = b"\0\r\n\x1e {}()\"\\+*-=.:/[]@\x7f\x80\xff09AZaz";
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(5) {
            let at = self.below(input.len() + 1);
            let to = (at + self.below(9)).min(input.len());
            let new = match self.below(6) {
                0 => vec![u8::try_from(self.below(256)).unwrap_or(0)],
                1 => vec![ODD[self.below(ODD.len())]],
                2 => self.piece(corpus).to_vec(),
                3 => input[at..to].repeat(2 + self.below(9)),
                4 => Vec::new(),
                _ => {
                    let flipped = input[at..to].iter().map(|octet| octet ^ 0x20);
                    flipped.collect()
                }
            };
            let to = if self.below(2) == 0 { at } else { to };
            input.splice(at..to, new);
        }
        input.truncate(LONGEST);
        input
    }
}
