//! Which streams of a plan have something in the range. A stream that a program lists but that has no packets makes players
//! wait for it, and ffmpeg complain.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::mpegts::packet::{NULL_PID, packets};
use crate::mpegts::pes::TICKS_PER_SECOND;
use crate::mpegts::probe::Stream;
use crate::mpegts::retime::Action;
use crate::mpegts::scan::Track;

use super::edit::Muxer;
use super::encode::no_frame;
use super::plan::{Plan, PlannedSegment};
use super::program::counterparts;
use super::segments::LoadedSegment;
use super::transport_stream::TransportStream;

/// Takes the streams out of the plans of a cut of which nothing stays in it, and those that a cut of its type cannot have.
///
/// Segments are read only for streams that the starts of the segments did not show, as a rule none or only those at the
/// ends of the range.
///
/// # Errors
/// [`Error::Cancelled`] once `is_cancelled` returns true; those of [`LoadedSegment::load`].
pub(super) fn drop_absent_streams(plans: &mut [Plan], is_cancelled: &dyn Fn() -> bool) -> Result<()> {
    let mut all_found = Vec::new();
    for (number, plan) in plans.iter_mut().enumerate() {
        if !plan.exact_type.copies() {
            let video = plan.program.streams.iter().position(|stream| stream.codec.is_video());
            let stays = |index: usize, stream: &Stream| Some(index) == video || stream.codec.is_audio();
            retain(plan, stays);
        }
        if number > 0 {
            plan.found_in.clone_from(&all_found);
        }
        find_streams(plan, is_cancelled)?;
        all_found.clone_from(&plan.found_in);
    }
    for plan in plans {
        plan.found_in.clone_from(&all_found);
        retain(plan, |index, _| all_found[index].is_some());
    }
    Ok(())
}

/// Finds for each stream of a plan a segment that has some of it in the range.
fn find_streams(plan: &mut Plan, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
    let last = plan.segments.len() - 1;
    let inner = (1..last).filter(|index| *index < last);
    for index in [0, last, last + 1].into_iter().chain(inner) {
        if plan.found_in.iter().all(Option::is_some) {
            break;
        }
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let Some(planned) = plan.written_at(index) else { continue };
        let loaded = LoadedSegment::written(plan, index, &planned)?;
        let present = if plan.exact_type.copies() {
            written(plan, index, &planned, &loaded)?
        } else {
            overlapping(plan, &planned, &loaded)
        };
        for (stream, found_in) in plan.program.streams.iter().zip(&mut plan.found_in) {
            if found_in.is_none() && present.contains(&stream.pid) {
                *found_in = Some(planned.segment.clone());
            }
        }
    }
    Ok(())
}

/// Keeps the streams for which `stays` returns true. The PCR goes with one of them.
pub(super) fn retain(plan: &mut Plan, stays: impl Fn(usize, &Stream) -> bool) {
    let program = &mut plan.program;
    let stays: Vec<bool> =
        program.streams.iter().enumerate().map(|(index, stream)| stays(index, stream)).collect();
    let dropped: BTreeSet<u16> = {
        let streams = program.streams.iter().zip(&stays);
        streams.filter(|(_, stays)| !**stays).map(|(stream, _)| stream.pid).collect()
    };
    let mut kept = stays.iter();
    program.streams.retain(|_| kept.next().is_none_or(|stays| *stays));
    let mut kept = stays.iter();
    plan.found_in.retain(|_| kept.next().is_none_or(|stays| *stays));
    program.pmt.streams.retain(|listed| !dropped.contains(&listed.pid));
    if dropped.contains(&program.pmt.pcr_pid) {
        let video = program.streams.iter().find(|stream| stream.codec.is_video());
        let carrier = video.or(program.streams.first());
        program.pmt.pcr_pid = carrier.map_or(NULL_PID, |stream| stream.pid);
    }
}

/// The PIDs of which a smart cut has packets with payload from a segment, the `index`th that is written.
fn written(
    plan: &Plan,
    index: usize,
    planned: &PlannedSegment,
    loaded: &LoadedSegment,
) -> Result<BTreeSet<u16>> {
    let action = |pts| if planned.shown.contains(pts) { Action::Copy } else { Action::Drop };
    let units = loaded.video_track().map_or(&[][..], |track| &track.units[..]);
    let actions = units.iter().map(|unit| action(unit.pts)).collect();
    let mut pids = BTreeSet::new();
    let mut take = |bytes: &[u8]| {
        pids.extend(
            packets(bytes).filter(|(_, packet)| packet.has_payload()).map(|(_, packet)| packet.pid()),
        );
        Ok(())
    };
    let mut container = TransportStream::new(plan);
    Muxer::new(plan, &mut container).segment(index, loaded, actions, &mut no_frame, &mut take)?;
    Ok(pids)
}

/// The PIDs of the pictures and of the sounds of which a segment has a part between the ends of the cut.
fn overlapping(plan: &Plan, planned: &PlannedSegment, loaded: &LoadedSegment) -> BTreeSet<u16> {
    let streams = plan.program.streams.iter().zip(counterparts(&plan.program, &loaded.scan));
    let overlaps = |track: &Track| {
        let starts: Vec<i64> = track.units.iter().map(|unit| planned.clock.to_output_90k(unit.pts)).collect();
        let usual = starts.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0).min();
        let usual = usual.unwrap_or(TICKS_PER_SECOND / 10).min(TICKS_PER_SECOND);
        let ends = starts.iter().skip(1).copied().chain(starts.last().map(|last| last + usual));
        starts.iter().zip(ends).any(|(start, end)| *start < plan.end_90k && end > plan.start_90k)
    };
    let present = |(stream, track): (&Stream, Option<&Track>)| {
        (stream.codec.is_video() || track.is_some_and(overlaps)).then_some(stream.pid)
    };
    streams.filter_map(present).collect()
}
