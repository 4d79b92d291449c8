//! `mailsplice serve`.

use std::path::PathBuf;

use super::DONE;
use crate::{config, daemon};

pub(super) fn run(file: Option<PathBuf>) -> anyhow::Result<u8> {
    let file = config::find(file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(daemon::serve(&file))?;
    // Blocking work that is still under way (a slow hash, a name lookup) is not waited for.
    runtime.shutdown_background();
    Ok(DONE)
}
