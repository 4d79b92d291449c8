//! The book as a file in the state directory, shared by all processes that serve from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::warn;

use super::book::Book;
use crate::store::{StoreError, blocking, durable, lock_file};

/// Longest book, in octets: twice what its bound on entries allows.
const LONGEST: usize = 8 * 1024 * 1024;
/// How long another process may hold the book; it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The file, and a copy for when it cannot be written: a full disk must not silence anybody, nor make
/// them be told over and over.
#[derive(Clone)]
pub(super) struct Ledger {
    file: PathBuf,
    lock: PathBuf,
    unsaved: Arc<Mutex<Option<Book>>>,
}

impl Ledger {
    pub(super) fn new(state_dir: &std::path::Path) -> Self {
        Self {
            file: state_dir.join("notices.json"),
            lock: state_dir.join("notices.lock"),
            unsaved: Arc::default(),
        }
    }

    /// Changes the book under its lock.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Book) -> T + Send + 'static,
    ) -> Option<T> {
        let lock = lock_file(&self.lock, "notices", PATIENCE).await;
        if let Err(error) = &lock {
            warn!("notices are told without the book of what was told: {error}");
        }
        let this = self.clone();
        let locked = lock.is_ok();
        let done = blocking(move || {
            let before = this.load();
            let mut book = before.clone();
            let answer = change(&mut book);
            if book != before {
                this.save(book, locked);
            }
            answer
        });
        let done = done.await;
        drop(lock);
        done.map_err(|error: StoreError| warn!("notices: {error}"))
            .ok()
    }

    fn load(&self) -> Book {
        let unsaved = self.unsaved.lock();
        if let Some(book) = &*unsaved {
            return book.clone();
        }
        match durable::read(&self.file, LONGEST) {
            Ok(Some(bytes)) => Book::from_json(&bytes),
            Ok(None) => Book::default(),
            Err(error) => {
                warn!("{} is begun anew: {error}", self.file.display());
                Book::default()
            }
        }
    }

    fn save(&self, book: Book, locked: bool) {
        let saved = if locked {
            durable::replace(&self.file, &book.to_json(), 0o600)
        } else {
            Err(std::io::ErrorKind::WouldBlock.into())
        };
        let mut unsaved = self.unsaved.lock();
        *unsaved = match saved {
            Ok(()) => None,
            Err(error) => {
                warn!("{} is not written: {error}", self.file.display());
                Some(book)
            }
        };
    }
}
