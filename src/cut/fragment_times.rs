//! When the frames of a fragment are decoded and shown. Pure.
//!
//! Times are on the wall clock, in ticks of 90 kHz since 1970, so that they do not jump where the clock of 33 bits wraps, and
//! that fragments of one run need nothing of each other to be on one time line.

use super::plan::to_90k;
use crate::mpegts::pes::{TICKS_PER_SECOND, Ticks};
use crate::timestamp::Timestamp;

/// The longest pattern in the durations of video frames: 30 frames at 29.97 a second take 1,001 whole milliseconds.
const MAX_PERIOD: usize = 30;

/// How many of the last durations at least must have the pattern, or all if there are fewer.
const MIN_PATTERN: usize = 12;

/// By how much the time of a frame of video may be rounded, in ticks of 90 kHz: to whole milliseconds.
const ROUNDING_90K: i64 = 90;

/// The distance of sound frames from their times in a segment is corrected beyond this part of a second. Below it players
/// insert silence or drop sound where nothing is missing: some recorders round times to milliseconds.
const JITTER_PER_SECOND: u32 = 500;

/// The time line of a fragment.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLine {
    near: i64,
    offset: Ticks,
}

/// The time offset that puts a frame with that PTS at an instant.
pub fn time_offset(instant: Timestamp, pts: Ticks) -> Ticks {
    Ticks::new(since_1970(instant) - pts.get())
}

fn since_1970(instant: Timestamp) -> i64 {
    to_90k(instant - Timestamp::from_micros(0))
}

impl TimeLine {
    /// The time line of a segment that starts at `start` by its name. `offset` is added to its timestamps.
    pub(super) fn new(start: Timestamp, offset: Ticks) -> Self {
        Self { near: since_1970(start), offset }
    }

    /// The time of a timestamp: of those that are the same modulo 2^33 that which is nearest to the start.
    pub(super) fn at(self, timestamp: Ticks) -> i64 {
        self.near + timestamp.plus(self.offset.get()).since(Ticks::new(self.near))
    }
}

/// A time in another unit, rounded to the nearest.
pub(super) fn to_timescale(time_90k: i64, timescale: u32) -> i64 {
    let doubled = i128::from(time_90k) * i128::from(timescale) * 2 + i128::from(TICKS_PER_SECOND);
    i64::try_from(doubled.div_euclid(2 * i128::from(TICKS_PER_SECOND))).unwrap_or(i64::MAX)
}

/// The durations of the pictures with these decoding times, of a segment that lasts `segment_90k` by its name.
///
/// When the next segment goes on is not known. The pictures of most segments come at a fixed rate, so the last one's duration
/// continues the pattern of the others'. Where there is none it lasts until the segment ends by its name; that is rounded, so
/// a duration that others have is preferred.
pub(super) fn video_durations(times: &[i64], segment_90k: i64) -> Vec<u32> {
    let mut durations: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Vec::new() };
    let rest = segment_90k - (last - first);
    durations.push(continued(&durations).unwrap_or_else(|| {
        let nearest = durations.iter().copied().min_by_key(|duration| (duration - rest).abs());
        match nearest {
            Some(nearest) if rest <= 0 || (nearest - rest).abs() <= ROUNDING_90K => nearest,
            _ => rest,
        }
    }));
    durations.into_iter().map(|duration| u32::try_from(duration.max(1)).unwrap_or(u32::MAX)).collect()
}

/// The number that continues the pattern of the last ones, which must be there twice unless all are equal. Encoders may begin
/// with other ones.
fn continued(numbers: &[i64]) -> Option<i64> {
    let repeats = |period: &usize| {
        let seen = numbers.len().min(MIN_PATTERN.max(2 * period));
        let last = &numbers[numbers.len() - seen..];
        last.iter().zip(&last[*period..]).all(|(one, later)| one == later)
    };
    let longest = MAX_PERIOD.min(numbers.len() / 2).max(1);
    let period = (1..=longest).filter(|period| *period <= numbers.len()).find(repeats)?;
    numbers.get(numbers.len() - period).copied()
}

/// The durations of sound frames, in the unit of their track: how many samples each has, unless frames are missing or overlap.
pub(super) fn audio_durations(times: &[i64], samples: &[u32], timescale: u32) -> Vec<u32> {
    let tolerance = i64::from(timescale / JITTER_PER_SECOND);
    let mut end = times.first().copied().unwrap_or(0);
    let mut durations = Vec::with_capacity(samples.len());
    for (index, count) in samples.iter().enumerate() {
        let start = end;
        end += i64::from(*count);
        if let Some(next) = times.get(index + 1).filter(|next| (**next - end).abs() > tolerance) {
            end = (*next).max(start + 1);
        }
        durations.push(u32::try_from(end - start).unwrap_or(u32::MAX));
    }
    durations
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticks(text: &str) -> i64 {
        since_1970(Timestamp::parse(text).expect("a time"))
    }

    #[test]
    fn times_are_those_nearest_to_the_name_with_the_same_33_bits() {
        let start = Timestamp::parse("2026-11-20T10:55:02.123").expect("a time");
        let near = ticks("2026-11-20T10:55:02.123");
        assert_eq!(near, 161_565_489_191_070, "90 a millisecond");
        let wrap = 1_i64 << 33;
        for pts in [0, 1, 90_000, wrap - 1, wrap / 2] {
            let first = Ticks::new(pts);
            let line = TimeLine::new(start, time_offset(start, first));
            // Exact to the tick, also across the wrap of the clock, and back.
            for distance in [0, 1, -1, 3003, 180_000, -90_000, wrap / 2 - 1, -wrap / 2] {
                assert_eq!(line.at(first.plus(distance)), near + distance, "{pts} {distance}");
            }
        }
        for offset in [0, 1, 7_777_777, wrap - 1] {
            let time = TimeLine::new(start, Ticks::new(offset)).at(Ticks::new(123));
            assert_eq!((time - 123 - offset).rem_euclid(wrap), 0);
            assert!((time - near).abs() <= wrap / 2);
        }
    }

    #[test]
    fn the_last_picture_lasts_until_the_next_segment_goes_on() {
        let rates = [(25, 1), (30, 1), (24_000, 1001), (30_000, 1001), (60_000, 1001), (50, 1), (1000, 33)];
        for (num, den) in rates {
            for frames in [2_i64, 3, 8, 9, 10, 11, 12, 60, 61, 121] {
                for phase in 0..7 {
                    let time = |frame: i64| ((frame + phase) * 90_000 * den * 2 + num) / (num * 2);
                    let times: Vec<_> = (0..frames).map(time).collect();
                    // Names have whole milliseconds.
                    let length = (time(frames) - time(0) + 45) / 90 * 90;
                    let durations = video_durations(&times, length);
                    let total: i64 = durations.iter().map(|duration| i64::from(*duration)).sum();
                    let off = times[0] + total - time(frames);
                    let is_short = frames < 9 && den == 1001;
                    assert!(off == 0 || is_short && off.abs() <= 1, "{num}/{den} {frames} {phase}: {off}");
                }
            }
        }
    }

    #[test]
    fn an_irregular_start_does_not_hide_the_pattern() {
        // As libx265 begins at 59.94 frames a second.
        let mut durations = vec![1501, 1502, 1502];
        durations.extend([1501, 1502].repeat(20));
        let times = durations.iter().scan(0, |at, duration| {
            *at += duration;
            Some(*at)
        });
        let times: Vec<i64> = [0].into_iter().chain(times).collect();
        assert_eq!(video_durations(&times, 66_000).last(), Some(&1501));
        assert_eq!(video_durations(&times[..times.len() - 1], 66_000).last(), Some(&1502));
    }

    #[test]
    fn without_a_pattern_the_name_tells_how_long_the_last_picture_lasts() {
        let rows: [(&[i64], i64, &[u32]); 8] = [
            (&[], 180_000, &[]),
            (&[500], 180_000, &[180_000]),
            (&[500], 0, &[1]),
            (&[0, 3000, 9000, 12_000], 15_030, &[3000, 6000, 3000, 3000]),
            (&[0, 3000, 9000, 12_000], 24_000, &[3000, 6000, 3000, 12_000]),
            // A name that is too short.
            (&[0, 3000, 9000, 12_000], 9000, &[3000, 6000, 3000, 3000]),
            // Times that go back.
            (&[9000, 3000, 12_000], 15_000, &[1, 9000, 12_000]),
            (&[0, 3000], 90_000, &[3000, 3000]),
        ];
        for (times, length, durations) in rows {
            assert_eq!(video_durations(times, length), durations, "{times:?} {length}");
        }
    }

    #[test]
    fn sound_frames_last_their_samples_unless_some_are_missing() {
        let rows: [(&[i64], &[u32]); 5] = [
            (&[], &[]),
            (&[7, 1031, 2055], &[1024, 1024, 1024]),
            // Rounded to milliseconds.
            (&[0, 1008, 2064, 3072], &[1024, 1024, 1024, 1024]),
            // One is missing, and then two overlap.
            (&[0, 2048, 3072, 3500], &[2048, 1024, 428, 1024]),
            (&[0, -5000, 1024], &[1, 1024, 1024]),
        ];
        for (times, durations) in rows {
            assert_eq!(audio_durations(times, &vec![1024; times.len()], 48_000), durations, "{times:?}");
        }
    }

    proptest! {
        #[test]
        fn sound_is_never_further_from_its_time_than_the_jitter(
            distances in proptest::collection::vec(1_i64..5000, 1..50),
        ) {
            let times: Vec<_> = distances.iter().scan(0, |at, next| { *at += next; Some(*at) }).collect();
            let durations = audio_durations(&times, &vec![1024; times.len()], 48_000);
            let mut at = times[0];
            for (time, duration) in times.iter().zip(durations) {
                prop_assert!((at - time).abs() <= 96, "{at} and {time}");
                at += i64::from(duration);
            }
        }
    }
}
