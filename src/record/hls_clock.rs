//! Looks at an HLS list, and at segments in it, to learn which wall clock the source's time stamps are
//! (`EXT-X-PROGRAM-DATE-TIME`). ffmpeg fetches both, so any protocol and encryption that it knows will do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::cutter::times;
use super::hls_list::{List, MediaList, Stretch};
use super::listed::{Anchor, ListNeed, ListedTimes};
use super::source::Address;
use crate::error::Error;
use crate::ffmpeg::Tools;
use crate::mpegts::live::{PacketReader, Program};
use crate::mpegts::packet::Packet;
use crate::mpegts::pes::Ticks;

/// How long a look may take.
const LIMIT: Duration = Duration::from_secs(15);
/// How long it takes at most until a change of the list's clock is seen that nothing else shows.
const INTERVAL: Duration = Duration::from_secs(120);
/// The least time between two looks that frames wait for.
const MIN_INTERVAL: Duration = Duration::from_secs(2);
/// How often a look begins anew because the list has moved on meanwhile.
const MAX_TURNS: usize = 5;
/// Bytes of a segment in which its first frame must begin.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The times in the list of an input.
#[derive(Debug)]
pub(super) struct HlsClock {
    reader: ListReader,
    look: Option<Look>,
    began: Instant,
    /// What was logged last, if the times count.
    told: Option<bool>,
}

/// A look that is being taken on a thread.
#[derive(Debug)]
struct Look {
    /// Whether frames were waiting for it when it began.
    is_awaited: bool,
    is_cancelled: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Option<ListedTimes>, String>>>,
}

impl Drop for Look {
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

impl HlsClock {
    /// The clock of a list, which ffmpeg reads with these arguments in front of it.
    pub(super) fn new(tools: Tools, address: Address, input_args: Vec<String>) -> Self {
        let reader = ListReader { tools, address, input_args };
        Self { reader, look: None, began: Instant::now(), told: None }
    }

    /// Looks at the list before it is recorded; `None` if its times cannot count, which is logged once.
    pub(super) fn first_look(&mut self, is_cancelled: &dyn Fn() -> bool) -> Option<ListedTimes> {
        (self.began, self.look) = (Instant::now(), None);
        let found = self.reader.look(is_cancelled);
        let shown = self.reader.address.shown();
        let told = self.told.replace(matches!(found, Ok(Some(_))));
        match found {
            Ok(Some(times)) => {
                if told != Some(true) {
                    log::info!("the times of `{shown}` are those of its EXT-X-PROGRAM-DATE-TIME");
                }
                Some(times)
            }
            Ok(None) => {
                if told != Some(false) {
                    log::info!("`{shown}` has no EXT-X-PROGRAM-DATE-TIME: its times are those of arrival");
                }
                None
            }
            Err(why) => {
                if told != Some(false) && !is_cancelled() {
                    log::warn!("cannot look at the times of `{shown}`, so they are those of arrival: {why}");
                }
                None
            }
        }
    }

    /// Begins a look, if there is need and time. `take` gets what one has found that has ended since; `None` is nothing.
    pub(super) fn poll(&mut self, need: ListNeed, take: impl FnOnce(Option<ListedTimes>)) {
        let is_awaited = need == ListNeed::Awaited;
        if need == ListNeed::Future && self.told.replace(false) != Some(false) {
            let shown = self.reader.address.shown();
            log::warn!(
                "the EXT-X-PROGRAM-DATE-TIME of `{shown}` are in the future: its times are those of arrival"
            );
        }
        if matches!(need, ListNeed::Unused | ListNeed::Future) {
            return;
        }
        if let Some(look) = &mut self.look {
            let Some(thread) = look.thread.take_if(|thread| thread.is_finished()) else { return };
            let was_awaited = look.is_awaited;
            self.look = None;
            let found = thread.join().unwrap_or_else(|_| Err("it panicked".to_owned()));
            let found = found.unwrap_or_else(|why| {
                let shown = self.reader.address.shown();
                log::debug!("cannot look at the times of `{shown}`: {why}");
                None
            });
            // What was seen before the frames that wait now may not have their clock.
            if was_awaited || !is_awaited {
                take(found);
            }
            return;
        }
        if self.began.elapsed() < if is_awaited { MIN_INTERVAL } else { INTERVAL } {
            return;
        }
        self.began = Instant::now();
        match self.begin(is_awaited) {
            Ok(look) => self.look = Some(look),
            Err(error) => {
                log::warn!("cannot look at the times of `{}`: {error}", self.reader.address.shown());
                take(None);
            }
        }
    }

    fn begin(&self, is_awaited: bool) -> std::io::Result<Look> {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let (reader, flag) = (self.reader.clone(), Arc::clone(&is_cancelled));
        let look = move || reader.look(&|| flag.load(Ordering::Relaxed));
        let thread = thread::Builder::new().name("hls-clock".to_owned()).spawn(look)?;
        Ok(Look { is_awaited, is_cancelled, thread: Some(thread) })
    }
}

/// Reads a list and what is in it.
#[derive(Debug, Clone)]
struct ListReader {
    tools: Tools,
    address: Address,
    input_args: Vec<String>,
}

impl ListReader {
    /// Finds the times of the newest segments; `None` if the list has none.
    fn look(&self, is_cancelled: &dyn Fn() -> bool) -> Result<Option<ListedTimes>, String> {
        let began = Instant::now();
        let is_over = || is_cancelled() || began.elapsed() > LIMIT;
        let (reader, mut first) = match self.list(&is_over)? {
            List::Media(list) => (self.clone(), Some(list)),
            List::Multivariant(variant) => {
                let address = self.address.relative(&variant);
                let address = address.ok_or("the address of its first variant is not in its network")?;
                (Self { address, ..self.clone() }, None)
            }
        };
        for _ in 0..MAX_TURNS {
            let before = first.take().map_or_else(|| reader.media_list(&is_over), Ok)?;
            let stretches = before.stretches();
            if stretches.is_empty() {
                return Ok(None);
            }
            let anchors: Result<Vec<_>, String> =
                stretches.iter().map(|stretch| reader.anchor(*stretch, &is_over)).collect();
            let after = reader.media_list(&is_over)?;
            // ffmpeg has read the list in between. Segments that have moved on in it meanwhile may be other ones.
            if stretches.iter().all(|stretch| before.has_same(&after, stretch.index)) {
                return Ok(Some(ListedTimes { anchors: anchors?, longest_us: before.longest_us() }));
            }
        }
        Err("it changes faster than it can be read".to_owned())
    }

    fn media_list(&self, is_over: &dyn Fn() -> bool) -> Result<MediaList, String> {
        match self.list(is_over)? {
            List::Media(list) => Ok(list),
            List::Multivariant(_) => Err("its first variant is a multivariant list".to_owned()),
        }
    }

    fn list(&self, is_over: &dyn Fn() -> bool) -> Result<List, String> {
        let text = self.tools.output(&self.address.text_args(&self.input_args), LIMIT, is_over);
        let text = text.map_err(|error| self.shown(&error))?;
        List::parse(&String::from_utf8_lossy(&text)).map_err(str::to_owned)
    }

    /// The PTS of the first frame of a stretch's segment.
    fn anchor(&self, stretch: Stretch, is_over: &dyn Fn() -> bool) -> Result<Anchor, String> {
        let mut args = self.input_args.clone();
        args.extend(["-live_start_index".to_owned(), stretch.index.to_string()]);
        let args = self.address.ffmpeg_args(&args, None, true);
        let mut child = self.tools.reading(&args).map_err(|error| self.shown(&error))?;
        let (mut reader, mut head, mut program) = (PacketReader::default(), Vec::new(), None);
        let mut bytes = 0;
        while let Some(chunk) = child.next_chunk(is_over).map_err(|error| self.shown(&error))? {
            for packet in reader.push(&chunk) {
                if program.is_none() {
                    head.extend_from_slice(&packet);
                    program = Program::find(&head)?;
                }
                if let Some(pts) = program.as_ref().and_then(|program| first_time(program, &packet)) {
                    let Stretch { time, before_us, after_us, .. } = stretch;
                    return Ok(Anchor { pts, time, before_us, after_us });
                }
            }
            bytes += chunk.len();
            if bytes > MAX_BYTES {
                break;
            }
        }
        Err("a segment of it has no frame".to_owned())
    }

    fn shown(&self, error: &Error) -> String {
        match error {
            Error::Cancelled => format!("it takes longer than {LIMIT:?}"),
            error => self.address.redact(&error.to_string()),
        }
    }
}

/// The PTS of a frame of the reference stream that begins in a packet.
fn first_time(program: &Program, packet: &[u8; 188]) -> Option<Ticks> {
    let packet = Packet::new(packet).filter(|packet| packet.pid() == program.reference_pid)?;
    times(packet).map(|(pts, _)| pts)
}
