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
        let (mut gcd, mut rest) = (num, den);
        while rest != 0 {
            (gcd, rest) = (rest, gcd % rest);
        }
        let num = u32::try_from(num.checked_div(gcd)?).ok()?;
        let den = u32::try_from(den.checked_div(gcd)?).ok()?;
        (den > 0 && num >= den && u64::from(num) <= u64::from(den) * 1000).then_some(Self { num, den })
    }

    /// The duration of a frame in ticks of 90 kHz, rounded.
    pub fn frame_90k(self) -> i64 {
        let (num, den) = (i64::from(self.num), i64::from(self.den));
        (TICKS_PER_SECOND * den + num / 2) / num
    }

    /// Whether a frame of this rate takes `ticks` of 90 kHz, to within one part in 2000.
    fn fits(self, ticks: f64) -> bool {
        let frame = 90_000.0 * f64::from(self.den) / f64::from(self.num);
        (frame - ticks).abs() <= frame / 2000.0
    }
}

/// Common frame rates that are integers.
const COMMON: [u64; 11] = [24, 25, 30, 48, 50, 60, 100, 120, 15, 12, 10];
/// Frame rates that are common at 1000/1001 of the integer.
const COMMON_NTSC: [u64; 4] = [24, 30, 60, 120];

/// The frame rate by the differences of presentation timestamps in any order.
///
/// `declared` is the rate in a sequence parameter set. It is returned if the timestamps agree with it, and if there are
/// fewer than three.
pub fn estimate(timestamps: &[Ticks], declared: Option<FrameRate>) -> Option<FrameRate> {
    let Some(first) = timestamps.first().filter(|_| timestamps.len() >= 3) else { return declared };
    let mut sorted: Vec<i64> = timestamps.iter().map(|pts| pts.since(*first)).collect();
    sorted.sort_unstable();
    let mut steps: Vec<i64> =
        sorted.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0).collect();
    steps.sort_unstable();
    let median = *steps.get(steps.len() / 2)?;
    let near: Vec<i64> = steps.into_iter().filter(|step| (step - median).abs() <= 2).collect();
    let (sum, count) = (u64::try_from(near.iter().sum::<i64>()).ok()?, u64::try_from(near.len()).ok()?);
    let mean = f64::from(u32::try_from(sum).ok()?) / f64::from(u32::try_from(count).ok()?);
    if let Some(rate) = declared.filter(|rate| rate.fits(mean)) {
        return Some(rate);
    }
    let ntsc = COMMON_NTSC.map(|rate| FrameRate::new(rate * 1000, 1001));
    let common = COMMON.map(|rate| FrameRate::new(rate, 1));
    let mut rates = ntsc.into_iter().chain(common).flatten();
    rates.find(|rate| rate.fits(mean)).or_else(|| FrameRate::new(90_000 * count, sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_estimated_from_the_differences_of_timestamps() {
        let rows: [(&[i64], Option<FrameRate>, Option<FrameRate>); 6] = [
            (&[0, 1501, 3003, 4504, 6006], None, FrameRate::new(60_000, 1001)),
            (&[0, 6006, 3003, 12_012, 9009], None, FrameRate::new(30_000, 1001)),
            (&[0, 3600, 7200, 18_000], FrameRate::new(50, 1), FrameRate::new(25, 1)),
            (&[0, 3753, 7507, 11_261], None, FrameRate::new(24_000, 1001)),
            (&[0, 3600], FrameRate::new(50, 1), FrameRate::new(50, 1)),
            (&[5, 5, 5], None, None),
        ];
        for (ticks, declared, rate) in rows {
            let timestamps: Vec<_> = ticks.iter().map(|ticks| Ticks::new(*ticks - 5000)).collect();
            assert_eq!(estimate(&timestamps, declared), rate, "{timestamps:?}");
        }
    }
}
