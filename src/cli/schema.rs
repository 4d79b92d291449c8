//! `mailsplice schema`.

use super::{DONE, say};
use crate::config;

pub(super) fn run() -> anyhow::Result<u8> {
    say(serde_json::to_string_pretty(&config::schema())?);
    Ok(DONE)
}
