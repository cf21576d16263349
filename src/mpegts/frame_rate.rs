//! Frame rates as fractions, and their estimation from timestamps.

use super::pes::{TICKS_PER_SECOND, Ticks};

/// Frames a second, as a fraction in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameRate {
    /// The numerator.
    pub num: u32,
    /// The denominator.
    pub den: u32,
}

impl FrameRate {
    /// The rate `num / den` in lowest terms; `None` if it is not within 1 to 1000, as that of every recording is.
    pub fn new(num: u64, den: u64) -> Option<Self> {
        let gcd = greatest_common_divisor(num, den);
        let num = u32::try_from(num.checked_div(gcd)?).ok()?;
        let den = u32::try_from(den.checked_div(gcd)?).ok()?;
        (den > 0 && num >= den && u64::from(num) <= u64::from(den) * 1000).then_some(Self { num, den })
    }

    /// The duration of a frame in ticks of 90 kHz, rounded.
    pub fn frame_90k(self) -> i64 {
        let (num, den) = (i64::from(self.num), i64::from(self.den));
        (TICKS_PER_SECOND * den + num / 2) / num
    }

    /// By how much `span_90k` differs from the duration of `frames` at this rate, in millionths of a tick.
    fn error(self, span_90k: u64, frames: u64) -> u128 {
        let (num, den) = (u128::from(self.num), u128::from(self.den));
        let ticks = 90_000 * u128::from(frames) * den;
        (u128::from(span_90k) * num).abs_diff(ticks) * 1_000_000 / num
    }
}

/// Common frame rates that are integers.
const COMMON: [u64; 11] = [24, 25, 30, 48, 50, 60, 100, 120, 15, 12, 10];
/// Frame rates that are common at 1000/1001 of the integer.
const COMMON_NTSC: [u64; 4] = [24, 30, 60, 120];
/// No clock that timestamps are taken from has a coarser resolution: a millisecond.
const MAX_RESOLUTION_90K: u64 = 90;
/// Timestamps that are rounded twice may be off by so much.
const MIN_RESOLUTION_90K: u64 = 2;

/// The usual frame rate, by the differences of presentation timestamps in any order: gaps between frames do not count.
///
/// `declared` is the rate in a sequence parameter set. It is returned if the timestamps agree with it, and if there are
/// fewer than three.
pub fn estimate(timestamps: &[Ticks], declared: Option<FrameRate>) -> Option<FrameRate> {
    if timestamps.len() < 3 {
        return declared;
    }
    let mut steps = steps(timestamps);
    let resolution = resolution_90k(&steps);
    steps.sort_unstable();
    let median = *steps.get(steps.len() / 2)?;
    steps.retain(|step| step.abs_diff(median) <= resolution);
    let (span, frames) = (steps.iter().sum(), steps.len() as u64);
    nearest(span, frames, resolution.max(span / 2000), declared)
}

/// The mean frame rate by presentation timestamps in any order, from the first to the last; `declared` if there are fewer
/// than three.
///
/// It is `declared`, the rate in a sequence parameter set, or a common rate, where the timestamps cannot tell it from that
/// because of the resolution of their clock.
pub fn mean(timestamps: &[Ticks], declared: Option<FrameRate>) -> Option<FrameRate> {
    if timestamps.len() < 3 {
        return declared;
    }
    let steps = steps(timestamps);
    nearest(steps.iter().sum(), steps.len() as u64, resolution_90k(&steps), declared)
}

/// The differences between successive timestamps, without repeated ones.
fn steps(timestamps: &[Ticks]) -> Vec<u64> {
    let Some(first) = timestamps.first() else { return Vec::new() };
    let mut sorted: Vec<i64> = timestamps.iter().map(|pts| pts.since(*first)).collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect()
}

/// The resolution of the clock that the timestamps were taken from: 90 for milliseconds.
fn resolution_90k(steps: &[u64]) -> u64 {
    let common = steps.iter().fold(0, |divisor, step| greatest_common_divisor(divisor, *step));
    common.clamp(MIN_RESOLUTION_90K, MAX_RESOLUTION_90K)
}

/// The rate at which `frames` take `span_90k`: `declared` or the nearest common rate to within `tolerance_90k`, else the
/// exact one.
fn nearest(span_90k: u64, frames: u64, tolerance_90k: u64, declared: Option<FrameRate>) -> Option<FrameRate> {
    if frames == 0 {
        return None;
    }
    let tolerance = u128::from(tolerance_90k) * 1_000_000;
    let error = |rate: &FrameRate| rate.error(span_90k, frames);
    let fits = |rate: &FrameRate| error(rate) <= tolerance;
    if let Some(rate) = declared.filter(fits) {
        return Some(rate);
    }
    let ntsc = COMMON_NTSC.map(|rate| FrameRate::new(rate * 1000, 1001));
    let common = COMMON.map(|rate| FrameRate::new(rate, 1));
    let rates = ntsc.into_iter().chain(common).flatten().filter(fits);
    rates.min_by_key(error).or_else(|| FrameRate::new(90_000 * frames, span_90k))
}

fn greatest_common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The timestamps of `frames` frames of a rate, by a clock of that many steps a second.
    fn by_clock(num: i64, den: i64, steps: i64, frames: i64) -> Vec<Ticks> {
        let time = |frame| (frame * den * steps * 2 + num) / (2 * num) * TICKS_PER_SECOND / steps;
        (0..frames).map(|frame| Ticks::new(time(frame) - 5000)).collect()
    }

    #[test]
    fn rates_are_estimated_from_the_differences_of_timestamps() {
        type Row = (&'static [i64], Option<FrameRate>, Option<FrameRate>, Option<FrameRate>);
        let fps = |rate| FrameRate::new(rate, 1);
        let rows: [Row; 8] = [
            // The timestamps, the declared rate, the usual rate and the mean rate.
            (&[0, 1501, 3003, 4504, 6006], None, FrameRate::new(60_000, 1001), FrameRate::new(60_000, 1001)),
            (
                &[0, 6006, 3003, 12_012, 9009],
                None,
                FrameRate::new(30_000, 1001),
                FrameRate::new(30_000, 1001),
            ),
            (&[0, 3600, 7200, 18_000], fps(50), fps(25), fps(15)),
            (&[0, 3753, 7507, 11_261], None, FrameRate::new(24_000, 1001), FrameRate::new(24_000, 1001)),
            (&[0, 3600, 7200, 18_017], None, fps(25), FrameRate::new(270_000, 18_017)),
            (&[0, 3600], fps(50), fps(50), fps(50)),
            (&[0, 3600], None, None, None),
            (&[5, 5, 5], None, None, None),
        ];
        for (ticks, declared, usual, average) in rows {
            let timestamps: Vec<_> = ticks.iter().map(|ticks| Ticks::new(*ticks - 5000)).collect();
            assert_eq!(estimate(&timestamps, declared), usual, "{timestamps:?}");
            assert_eq!(mean(&timestamps, declared), average, "{timestamps:?}");
        }
    }

    #[test]
    fn rates_are_found_from_clocks_of_any_resolution() {
        let integers = [24, 25, 30, 48, 50, 60].map(|rate| (rate, 1));
        let ntsc = [24, 30, 60].map(|rate| (rate * 1000, 1001));
        for (num, den) in integers.into_iter().chain(ntsc) {
            for (steps, frames) in [(1000, 60), (1000, 250), (10_000, 30), (90_000, 8), (90_000, 4000)] {
                let timestamps = by_clock(num, den, steps, frames);
                let rate = FrameRate::new(num.unsigned_abs(), den.unsigned_abs());
                let found = (estimate(&timestamps, None), mean(&timestamps, None));
                assert_eq!(found, (rate, rate), "{num}/{den} by a clock of {steps} Hz, {frames} frames");
            }
        }
        // Neither a common rate nor the declared one.
        let timestamps = by_clock(26, 1, 90_000, 4001);
        assert_eq!(mean(&timestamps, FrameRate::new(25, 1)).map(FrameRate::frame_90k), Some(3462));
    }
}
