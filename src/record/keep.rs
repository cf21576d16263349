//! `restreamer keep` and `restreamer unkeep`.

use std::io::Write;
use std::process::ExitCode;

use crate::config::{KeepConfig, UnkeepConfig};

/// Protects a range, or lists those that are.
///
/// # Errors
/// One line that says why that is not possible.
pub fn keep(_config: &KeepConfig, _out: &mut impl Write) -> Result<ExitCode, String> {
    Err("not there yet".to_owned())
}

/// Ends the protection of a range, or lists those that are.
///
/// # Errors
/// One line that says why that is not possible.
pub fn unkeep(_config: &UnkeepConfig, _out: &mut impl Write) -> Result<ExitCode, String> {
    Err("not there yet".to_owned())
}
