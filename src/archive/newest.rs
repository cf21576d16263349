//! When the newest segments of all variants ended, which tells whether their recorders live.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::layout::VariantName;
use super::tree::Archive;
use crate::error::{Error, Result};
use crate::timestamp::Timestamp;

/// How many variants are looked at.
const MOST_VARIANTS: usize = 1000;
/// How many of a variant's newest hours are looked through for a segment.
const HOURS: usize = 2;
/// For how long what was found is good enough.
const REMEMBERED: Duration = Duration::from_secs(1);

/// A variant and the end of its newest segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// The stream.
    pub stream: String,
    /// The variant of the stream.
    pub variant: String,
    /// When its newest segment ended.
    pub end: Timestamp,
}

/// What was found a moment ago.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<Option<(Instant, Arc<[Newest]>)>>);

impl Archive {
    /// When the newest segments ended, of the first 1,000 variants, where they have one. What cannot be read is left out.
    /// The disk is asked once a second at most, however often this is called.
    pub fn newest_segment_ends(&self) -> Arc<[Newest]> {
        let remembered = self.newest.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((when, found)) = remembered
            && when.elapsed() < REMEMBERED
        {
            return found;
        }
        let mut found = Vec::new();
        let mut left = MOST_VARIANTS;
        for stream in self.streams().inspect_err(log_it).unwrap_or_default() {
            let variants = self.variants(&stream).inspect_err(log_it).unwrap_or_default();
            for variant in variants.into_iter().take(left) {
                left -= 1;
                let name = VariantName { stream: &stream, variant: &variant };
                if let Some(end) = self.newest_end(name).inspect_err(log_it).ok().flatten() {
                    found.push(Newest { stream: stream.clone(), variant, end });
                }
            }
        }
        let found: Arc<[Newest]> = found.into();
        *self.newest.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), Arc::clone(&found)));
        found
    }

    fn newest_end(&self, name: VariantName) -> Result<Option<Timestamp>> {
        for hour in self.hours(name)?.iter().rev().take(HOURS) {
            if let Some(segment) = self.hour(name, *hour)?.segments().next_back() {
                return Ok(Some(segment.end()));
            }
        }
        Ok(None)
    }
}

fn log_it(error: &Error) {
    log::warn!("cannot look for the newest segments: {error}");
}
