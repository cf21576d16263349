//! `restreamer record` and `restreamer prune`: the only code that writes to an archive.

mod directory;
mod inventory;
pub mod keep;
pub mod prune;
mod removal;
mod retention;

use std::process::ExitCode;

use crossbeam_channel::Receiver;

use crate::config::RecordConfig;

/// Records until the input has ended for good, or a signal stops it.
///
/// # Errors
/// One line that says why it cannot record.
pub fn run(config: &RecordConfig, stop: &Receiver<()>) -> Result<ExitCode, String> {
    let _ = stop;
    Err(format!("cannot record into `{}`: this build has no recorder", config.base_dir.display()))
}
