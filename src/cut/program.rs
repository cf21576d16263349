//! The streams of a cut: those of all its segments together, in all its ranges.
//!
//! Pure. A stream may begin after the first segment, be missing in some, or change its PID when a recorder restarts. Of
//! each codec a cut has as many streams as the segment that has most of them.

use crate::mpegts::codec::Codec;
use crate::mpegts::packet::NULL_PID;
use crate::mpegts::probe::{Program, Stream};
use crate::mpegts::psi::ElementaryStream;
use crate::mpegts::scan::{Scan, Track};
use crate::timestamp::{Span, Timestamp};

use super::plan::{CutSegment, ExactType, Facts, ShownRange};

/// The bytes of all entries and descriptors of a PMT, at most (ISO/IEC 13818-1, 2.4.4.9).
const MAX_TABLE_BYTES: usize = 1021 - 9 - 4;
/// The lowest PID that is given to a stream whose own is taken.
const FIRST_PID: u16 = 0x100;
/// What is so far from the ends of a range stays, however clocks are rounded and sound is trimmed.
const MARGIN: Span = Span::from_secs(1);

/// The streams of a cut's segments, gathered in order.
#[derive(Debug, Default)]
pub(super) struct Streams {
    program: Option<Program>,
    /// For each stream a segment that is known to have some of it in the range.
    found_in: Vec<Option<CutSegment>>,
}

impl Streams {
    /// The streams of a program, to which others may be added.
    pub(super) fn of(program: Program) -> Self {
        Self { found_in: vec![None; program.streams.len()], program: Some(program) }
    }

    /// Adds the streams of a segment, of which `scan` is the start.
    ///
    /// # Errors
    /// Why the segment's streams cannot continue those of the segments before.
    pub(super) fn add(
        &mut self,
        exact_type: ExactType,
        (start, end): (Timestamp, Timestamp),
        facts: &Facts,
        (program, scan): (Program, &Scan),
    ) -> Result<(), String> {
        let all = match &mut self.program {
            Some(all) => {
                check_format(exact_type, all, &program)?;
                extend(all, program)?;
                all
            }
            None => self.program.insert(program),
        };
        self.found_in.resize(all.streams.len(), None);
        let inner = ShownRange {
            segment_start: facts.segment.start,
            lowest_pts: facts.lowest_pts,
            start: start + MARGIN,
            end: end - MARGIN,
            after: None,
        };
        for (found_in, track) in self.found_in.iter_mut().zip(counterparts(all, scan)) {
            if found_in.is_none()
                && track.is_some_and(|track| track.units.iter().any(|unit| inner.contains(unit.pts)))
            {
                *found_in = Some(facts.segment.clone());
            }
        }
        Ok(())
    }

    /// The streams of the segments so far.
    pub(super) fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    /// The streams of the segments so far, and for each a segment that is known to have some of it in its range.
    pub(super) fn found(&self) -> Option<(Program, Vec<Option<CutSegment>>)> {
        Some((self.program.clone()?, self.found_in.clone()))
    }
}

/// Checks that the streams of a segment can continue those of the segments before.
///
/// # Errors
/// Why they cannot.
pub(super) fn check_format(exact_type: ExactType, all: &Program, other: &Program) -> Result<(), String> {
    let video = |program: &Program| {
        let stream = program.streams.iter().find(|stream| stream.codec.is_video())?;
        let format = stream.video.as_ref().map(|video| {
            let picture = &video.picture;
            (picture.width, picture.height, picture.chroma, picture.depth)
        });
        Some((stream.codec, format))
    };
    let (old, new) = (video(all), video(other));
    if old.map(|old| old.0) != new.map(|new| new.0) {
        return Err("has pictures of another kind than the ones before".to_owned());
    }
    if !exact_type.copies() {
        return Ok(());
    }
    match old.and_then(|old| old.1).zip(new.and_then(|new| new.1)) {
        Some((old, new)) if old != new => {
            let sizes = if (old.0, old.1) == (new.0, new.1) {
                String::new()
            } else {
                format!(" ({}x{} after {}x{})", new.0, new.1, old.0, old.1)
            };
            Err(format!("has pictures of another format than the ones before{sizes}; type=full can cut it"))
        }
        _ if sound_differs(all, other) => {
            Err("has sound of another format than the ones before; type=full can cut it".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether a sound has another format than the one it continues, or one has taken the place of another.
fn sound_differs(all: &Program, other: &Program) -> bool {
    let assigned = assign(&identities(all), &identities(other));
    let is_missing =
        |(index, stream): (usize, &Stream)| stream.codec.is_audio() && !assigned.contains(&Some(index));
    let some_missing = all.streams.iter().enumerate().any(is_missing);
    let differs = |(stream, output): (&Stream, &Option<usize>)| match output {
        Some(output) => {
            let formats = all.streams[*output].audio.zip(stream.audio);
            formats.is_some_and(|(old, new)| old != new)
        }
        None => stream.codec.is_audio() && some_missing,
    };
    other.streams.iter().zip(&assigned).any(differs)
}

/// Adds the streams of a segment that continue none of `all`, and the formats that were not known.
fn extend(all: &mut Program, other: Program) -> Result<(), &'static str> {
    let assigned = assign(&identities(all), &identities(&other));
    for (mut stream, output) in other.streams.into_iter().zip(assigned) {
        if let Some(known) = output.and_then(|output| all.streams.get_mut(output)) {
            known.codecs = known.codecs.take().or(stream.codecs);
            known.video = known.video.take().or(stream.video);
            known.audio = known.audio.or(stream.audio);
            continue;
        }
        let listed = other.pmt.streams.iter().find(|listed| listed.pid == stream.pid);
        let Some(mut listed) = listed.cloned() else { continue };
        let mut free = std::iter::once(stream.pid).chain(FIRST_PID..NULL_PID);
        let is_taken = |pid: u16| {
            pid == all.pmt_pid || pid == all.pmt.pcr_pid || all.streams.iter().any(|other| other.pid == pid)
        };
        stream.pid = free.find(|pid| !is_taken(*pid)).unwrap_or(NULL_PID);
        listed.pid = stream.pid;
        all.pmt.streams.push(listed);
        all.streams.push(stream);
    }
    let entry = |stream: &ElementaryStream| 5 + stream.descriptors.len();
    let table_len = all.pmt.descriptors.len() + all.pmt.streams.iter().map(entry).sum::<usize>();
    if table_len > MAX_TABLE_BYTES {
        return Err("has other streams than the ones before, too many for one program");
    }
    Ok(())
}

/// What tells one stream from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    pid: u16,
    codec: Codec,
    /// `stream_type`, if the codec alone does not say what it is.
    stream_type: Option<u8>,
}

impl Identity {
    fn new(pid: u16, codec: Codec, listed: &[ElementaryStream]) -> Self {
        let is_vague = matches!(codec, Codec::Data | Codec::OtherAudio | Codec::OtherVideo);
        let listed = listed.iter().find(|stream| stream.pid == pid && is_vague);
        Self { pid, codec, stream_type: listed.map(|stream| stream.stream_type) }
    }

    fn is_same_kind(self, other: Self) -> bool {
        (self.codec, self.stream_type) == (other.codec, other.stream_type)
    }
}

fn identities(program: &Program) -> Vec<Identity> {
    let identity = |stream: &Stream| Identity::new(stream.pid, stream.codec, &program.pmt.streams);
    program.streams.iter().map(identity).collect()
}

/// The output that each input continues: the one with its PID if both are of one kind, else the first of its kind that no
/// other input continues.
fn assign(outputs: &[Identity], inputs: &[Identity]) -> Vec<Option<usize>> {
    let mut assigned: Vec<_> =
        inputs.iter().map(|input| outputs.iter().position(|output| output == input)).collect();
    for (index, input) in inputs.iter().enumerate() {
        if assigned[index].is_none() {
            let mut outputs = outputs.iter().enumerate();
            let is_free = |output: usize| !assigned.contains(&Some(output));
            let found = outputs.find(|(output, other)| other.is_same_kind(*input) && is_free(*output));
            assigned[index] = found.map(|(output, _)| output);
        }
    }
    assigned
}

/// For each stream of a program the track of a segment that continues it.
pub(super) fn counterparts<'a>(program: &Program, scan: &'a Scan) -> Vec<Option<&'a Track>> {
    let identity = |track: &Track| Identity::new(track.pid, track.codec, &scan.pmt.streams);
    let inputs: Vec<_> = scan.tracks.iter().map(identity).collect();
    let mut tracks = vec![None; program.streams.len()];
    for (track, output) in scan.tracks.iter().zip(assign(&identities(program), &inputs)) {
        if let Some(place) = output.and_then(|output| tracks.get_mut(output)) {
            *place = Some(track);
        }
    }
    tracks
}

#[cfg(test)]
mod tests;
