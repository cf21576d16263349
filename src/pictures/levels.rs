//! How loud the sound of a segment is, in steps of 10 ms.
//!
//! The level of a step has two values, both of the channel where they are the greatest: the peak, which is the greatest
//! absolute sample, and the mean of the absolute samples. Both go from 0 to 1, the full scale.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::archive::layout::SegmentName;
use crate::bounded_cache::{BoundedCache, CacheStats};
use crate::fnv::Fnv;
use crate::timestamp::Span;

/// The length of a step.
pub const STEP: Span = Span::from_millis(10);

/// The samples that are measured in a second, whatever rate the sound has.
pub(super) const SAMPLE_RATE: i64 = 48_000;

/// Times of samples are in eighths of a tick of 90 kHz, so that a sample at 48 kHz lasts 15 of them.
const UNITS_PER_TICK: i64 = 8;
const SAMPLE_UNITS: i64 = 90_000 * UNITS_PER_TICK / SAMPLE_RATE;
const STEP_UNITS: i64 = 900 * UNITS_PER_TICK;

/// How far from its segment's range a sound may be: its steps beyond that are left out.
const MARGIN_STEPS: i64 = 100;

/// The full scale of samples of 16 bits.
const FULL_SCALE: u64 = 32_767;

/// The level of a step. The values are square roots, so that a quiet sound is as exact as it looks in a picture, whose scale
/// is that of square roots: 255 is the full scale, and 51 a level of 0.04.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The square root of the peak, in parts of 255.
    pub peak: u8,
    /// The square root of the mean, in parts of 255.
    pub mean: u8,
}

impl Level {
    /// The level of a step without sound that could be decoded. No sound has a mean above its peak.
    pub const NONE: Self = Self { peak: 0, mean: 255 };
}

/// The levels of a segment's sound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentLevels {
    /// Whether the segment lists a sound.
    pub has_sound: bool,
    /// Whether its last frame goes on in the next segment.
    pub(super) depends_on_next: bool,
    /// The number of the first step, counted from the segment's start. It is below 0 if the sound begins before the pictures.
    pub first_step: i64,
    /// The levels from there on.
    pub levels: Box<[Level]>,
}

impl SegmentLevels {
    /// Those of a segment without levels.
    pub(super) fn none(has_sound: bool) -> Self {
        Self { has_sound, ..Self::default() }
    }

    /// Roughly how many bytes of memory they take.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.levels)
    }
}

/// Levels of segments, within a bound of memory.
#[derive(Debug)]
pub struct LevelsCache(BoundedCache<u64, SegmentLevels>);

impl LevelsCache {
    /// A cache of at most about `limit_bytes`; 0 keeps nothing.
    pub fn new(limit_bytes: usize) -> Self {
        Self(BoundedCache::new(limit_bytes))
    }

    /// Counts and sizes.
    pub fn stats(&self) -> CacheStats {
        self.0.stats()
    }

    pub(super) fn find(&self, place: &Place<'_>) -> Option<Arc<SegmentLevels>> {
        let (key, alone) = (place.key(true), place.key(false));
        self.0.find([&key, &alone], |found, levels| *found == key || !levels.depends_on_next)
    }

    pub(super) fn insert(&self, place: &Place<'_>, levels: &Arc<SegmentLevels>) {
        let key = place.key(levels.depends_on_next);
        self.0.insert(key, Arc::clone(levels), levels.memory_bytes());
    }
}

/// The file of a segment and those next to it that its levels may depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    /// The segment that it continues, with whose end its decoder begins.
    pub(super) before: Option<&'a Path>,
    /// The segment that continues it.
    pub(super) next: Option<&'a Path>,
}

impl Place<'_> {
    fn key(&self, with_next: bool) -> u64 {
        let mut key = Fnv::new();
        for path in [Some(self.path), self.before, self.next.filter(|_| with_next)] {
            key.write_str(path.map_or("", identity));
        }
        key.finish()
    }
}

/// The hash of a segment's bytes, if its name has one, else its whole name.
fn identity(path: &Path) -> &str {
    let hash = || SegmentName::parse(path.file_name()?.to_str()?)?.content_hash();
    hash().or(path.to_str()).unwrap_or_default()
}

/// Measures the samples of a segment.
#[derive(Debug)]
pub(super) struct LevelsBuilder {
    /// The steps that are measured.
    steps: Range<i64>,
    first_step: i64,
    levels: Vec<Level>,
    /// The sum of the absolute samples of the current step, by channel.
    sums: Vec<u64>,
    peak: u16,
    /// How many samples a channel the current step has so far.
    samples: u64,
}

impl LevelsBuilder {
    /// For a segment of that duration.
    pub(super) fn new(duration: Span) -> Self {
        let last = duration.micros().div_euclid(STEP.micros()) + MARGIN_STEPS;
        Self {
            steps: -MARGIN_STEPS..last + 1,
            first_step: 0,
            levels: Vec::new(),
            sums: Vec::new(),
            peak: 0,
            samples: 0,
        }
    }

    /// Takes samples of so many channels, interleaved, whose first is at `time_90k` after the segment's start. They come in
    /// the order of their times.
    pub(super) fn push(&mut self, time_90k: i64, samples: &[i16], channels: usize) {
        let mut time = time_90k * UNITS_PER_TICK;
        let mut rest = samples;
        while !rest.is_empty() {
            let step = time.div_euclid(STEP_UNITS);
            let until_next = ((step + 1) * STEP_UNITS - time + SAMPLE_UNITS - 1) / SAMPLE_UNITS;
            let count = usize::try_from(until_next).unwrap_or(1).saturating_mul(channels).min(rest.len());
            let (now, later) = rest.split_at(count);
            if self.steps.contains(&step) {
                self.begin(step);
                self.measure(now, channels);
            }
            time += until_next * SAMPLE_UNITS;
            rest = later;
        }
    }

    /// Makes a step the current one, unless a later one is.
    fn begin(&mut self, step: i64) {
        if self.levels.is_empty() {
            self.first_step = step;
            self.levels.push(Level::NONE);
        }
        let Ok(index) = usize::try_from(step - self.first_step) else { return };
        if index >= self.levels.len() {
            self.end_step();
            self.levels.resize(index + 1, Level::NONE);
        }
    }

    fn measure(&mut self, samples: &[i16], channels: usize) {
        self.sums.resize(channels, 0);
        for frame in samples.chunks_exact(channels) {
            for (sum, sample) in self.sums.iter_mut().zip(frame) {
                let sample = sample.unsigned_abs();
                *sum += u64::from(sample);
                self.peak = self.peak.max(sample);
            }
            self.samples += 1;
        }
    }

    fn end_step(&mut self) {
        if let Some(level) = self.levels.last_mut().filter(|_| self.samples > 0) {
            let loudest = self.sums.iter().copied().max().unwrap_or(0);
            *level =
                Level { peak: square_root(self.peak.into(), 1), mean: square_root(loudest, self.samples) };
        }
        self.sums.fill(0);
        (self.peak, self.samples) = (0, 0);
    }

    pub(super) fn finish(mut self) -> SegmentLevels {
        self.end_step();
        let Self { first_step, levels, .. } = self;
        SegmentLevels { has_sound: true, depends_on_next: false, first_step, levels: levels.into() }
    }
}

/// The square root of the part `sum / count` of the full scale, in parts of 255.
fn square_root(sum: u64, count: u64) -> u8 {
    let squared = sum * 255 * 255 * 4 / (count * FULL_SCALE);
    u8::try_from(squared.isqrt().div_ceil(2)).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The levels of samples at times in ticks: each is a time, the number of samples, and the samples of one instant.
    fn levels(pieces: &[(i64, usize, &[i16])]) -> (i64, Vec<(u8, u8)>) {
        let mut builder = LevelsBuilder::new(Span::from_secs(2));
        for (time_90k, count, frame) in pieces {
            builder.push(*time_90k, &frame.repeat(*count), frame.len());
        }
        let SegmentLevels { first_step, levels, .. } = builder.finish();
        (first_step, levels.iter().map(|level| (level.peak, level.mean)).collect())
    }

    #[test]
    fn samples_are_measured_in_the_step_of_their_time() {
        type Row<'a> = (&'a [(i64, usize, &'a [i16])], i64, &'a [(u8, u8)]);
        let none = (0, 255);
        let full = (255, 255);
        let rows: [Row<'_>; 7] = [
            (&[], 0, &[]),
            (&[(0, 480, &[32_767])], 0, &[full]),
            (&[(0, 481, &[i16::MIN])], 0, &[full, full]),
            (&[(-900, 960, &[0, 0])], -1, &[(0, 0), (0, 0)]),
            // A quarter of the scale, in the louder channel, for half of a step.
            (&[(0, 240, &[0, 8192, 100]), (450, 240, &[0, 0, 0])], 0, &[(128, 90)]),
            // Steps between two sounds have none.
            (&[(0, 480, &[32_767]), (2700, 480, &[32_767])], 0, &[full, none, none, full]),
            // Beyond the segment.
            (&[(-90_900, 480, &[1]), (0, 480, &[32_767]), (3 * 90_900, 480, &[1])], 0, &[full]),
        ];
        for (pieces, first_step, expected) in rows {
            assert_eq!(levels(pieces), (first_step, expected.to_vec()), "{pieces:?}");
        }
        // However the samples are divided, they have the same levels.
        let ramp: Vec<i16> = (0..9600).collect();
        let mut whole = LevelsBuilder::new(Span::from_secs(2));
        whole.push(77, &ramp, 2);
        let mut divided = LevelsBuilder::new(Span::from_secs(2));
        for (index, part) in ramp.chunks(30).enumerate() {
            let time = 77 * 8 + i64::try_from(index).expect("small") * 15 * 15;
            divided.push(time.div_euclid(8), part, 2);
        }
        let (whole, divided) = (whole.finish(), divided.finish());
        assert_eq!((whole.first_step, whole.levels.len()), (divided.first_step, divided.levels.len()));
        for (one, other) in whole.levels.iter().zip(&divided.levels) {
            assert!(one.peak.abs_diff(other.peak) <= 1 && one.mean.abs_diff(other.mean) <= 1);
        }
    }

    #[test]
    fn levels_hold_for_the_neighbours_that_they_depend_on() {
        let [a, b, c] = ["/x/a", "/x/b", "/x/c"].map(Path::new);
        let place = |path, before, next| Place { path, before, next };
        let cache = LevelsCache::new(1 << 20);
        let insert = |place, depends_on_next| {
            cache.insert(&place, &Arc::new(SegmentLevels { depends_on_next, ..SegmentLevels::default() }));
        };
        let finds = |place| cache.find(&place).is_some();
        insert(place(a, None, None), false);
        assert!(finds(place(a, None, None)) && finds(place(a, None, Some(b))));
        assert!(!finds(place(a, Some(b), None)) && !finds(place(b, None, Some(a))));
        insert(place(b, Some(a), None), true);
        assert!(finds(place(b, Some(a), None)) && !finds(place(b, Some(a), Some(c))));
        insert(place(b, Some(a), Some(c)), true);
        assert!(finds(place(b, Some(a), Some(c))) && !finds(place(b, Some(a), Some(a))));
    }
}
