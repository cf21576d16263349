//! Levels that are joined to the columns of a picture or the steps of a list. Pure.

use std::ops::Range;

use png::{BitDepth, ColorType, Encoder, EncodingError};

use super::levels::Level;

/// The square of the full scale of a level.
const FULL_SCALE: u64 = 255 * 255;

/// Equal parts of a length of time.
#[derive(Debug)]
pub(super) struct Bins {
    /// The length of all together, in microseconds.
    total_us: i64,
    bins: Vec<Bin>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    /// The greatest peak.
    peak: u8,
    /// The sum of the means, each times the microseconds that it lasts.
    sum: u64,
    /// The microseconds of which a level is known.
    known_us: u64,
}

impl Bins {
    /// So many parts of `total_us` microseconds.
    pub(super) fn new(total_us: i64, count: u32) -> Self {
        Self { total_us: total_us.max(1), bins: vec![Bin::default(); count as usize] }
    }

    /// Adds the level of a range of time.
    pub(super) fn add(&mut self, range_us: Range<i64>, level: Level) {
        let (start, end) = (range_us.start.max(0), range_us.end.min(self.total_us));
        if start >= end || level == Level::NONE {
            return;
        }
        let count = i64::try_from(self.bins.len()).unwrap_or(1);
        let begin_of = |bin: i64| bin * self.total_us / count;
        // The bin that the time is in, or the one before that because of rounding.
        let mut bin = start * count / self.total_us;
        while bin < count && begin_of(bin) < end {
            let part = end.min(begin_of(bin + 1)) - start.max(begin_of(bin));
            if let (Ok(part @ 1..), Ok(index)) = (u64::try_from(part), usize::try_from(bin)) {
                self.bins[index].add(part, level);
            }
            bin += 1;
        }
    }

    /// The peaks and the means as the elements of lists of JSON: from 0 to 1 with three digits, or `null`.
    pub(super) fn json(&self) -> (String, String) {
        let list = |value: fn(&Bin) -> u64| {
            let values = self
                .bins
                .iter()
                .map(|bin| if bin.known_us == 0 { "null".to_owned() } else { thousandths(value(bin)) });
            values.collect::<Vec<_>>().join(",")
        };
        (list(Bin::peak_thousandths), list(Bin::mean_thousandths))
    }

    /// A picture with a bin in each column, as high as the square root of its mean, in the middle of the height. It is black
    /// on a transparent ground.
    pub(super) fn png(&self, height: u32) -> Result<Vec<u8>, EncodingError> {
        let heights: Vec<u32> = self.bins.iter().map(|bin| bin.root_mean(height)).collect();
        let row_bytes = heights.len().div_ceil(8);
        let mut pixels = vec![0; row_bytes * height as usize];
        for (y, row) in (0..height).zip(pixels.chunks_exact_mut(row_bytes)) {
            for (x, filled) in heights.iter().enumerate() {
                let top = (height - filled) / 2;
                let is_black = (top..top + filled).contains(&y);
                row[x / 8] |= u8::from(is_black) << (7 - x % 8);
            }
        }
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, u32::try_from(heights.len()).unwrap_or(0), height);
        encoder.set_color(ColorType::Indexed);
        encoder.set_depth(BitDepth::One);
        // Both colours are black, and the first is transparent.
        encoder.set_palette(vec![0; 6]);
        encoder.set_trns(vec![0, 255]);
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(bytes)
    }
}

impl Bin {
    fn add(&mut self, known_us: u64, level: Level) {
        self.peak = self.peak.max(level.peak);
        self.sum += u64::from(level.mean).pow(2) * known_us;
        self.known_us += known_us;
    }

    fn peak_thousandths(&self) -> u64 {
        (u64::from(self.peak).pow(2) * 1000 + FULL_SCALE / 2) / FULL_SCALE
    }

    fn mean_thousandths(&self) -> u64 {
        let scale = FULL_SCALE * self.known_us.max(1);
        (self.sum * 1000 + scale / 2) / scale
    }

    /// The square root of the mean, in parts of `scale`, rounded down.
    fn root_mean(&self, scale: u32) -> u32 {
        let squared = u128::from(self.sum) * u128::from(scale).pow(2);
        let root = (squared / u128::from(FULL_SCALE * self.known_us.max(1))).isqrt();
        u32::try_from(root).unwrap_or(scale)
    }
}

/// A number of thousandths, up to one, as short as it can be written.
fn thousandths(number: u64) -> String {
    match number {
        0 => "0".to_owned(),
        1000.. => "1".to_owned(),
        _ => format!("0.{number:03}").trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Level = Level { peak: 255, mean: 255 };

    fn bins(total_us: i64, count: u32, levels: &[(Range<i64>, Level)]) -> (String, String) {
        let mut bins = Bins::new(total_us, count);
        for (range, level) in levels {
            bins.add(range.clone(), *level);
        }
        bins.json()
    }

    #[test]
    fn levels_count_for_as_long_as_they_last_in_a_bin() {
        type Row<'a> = (i64, u32, &'a [(Range<i64>, Level)], &'a str, &'a str);
        let half = Level { peak: 180, mean: 128 };
        let silence = Level { peak: 0, mean: 0 };
        let rows: [Row<'_>; 7] = [
            (100, 2, &[], "null,null", "null,null"),
            (100, 2, &[(0..50, FULL)], "1,null", "1,null"),
            (100, 2, &[(25..75, FULL)], "1,1", "1,1"),
            (100, 2, &[(0..50, silence), (40..60, Level::NONE)], "0,null", "0,null"),
            (100, 1, &[(0..75, silence), (75..100, half)], "0.498", "0.063"),
            (
                100,
                4,
                &[(-10..26, half), (99..1000, half)],
                "0.498,0.498,null,0.498",
                "0.252,0.252,null,0.252",
            ),
            // More bins than there are microseconds.
            (3, 7, &[(1..2, FULL)], "null,null,null,null,1,null,null", "null,null,null,null,1,null,null"),
        ];
        for (total, count, levels, peak, mean) in rows {
            assert_eq!(bins(total, count, levels), (peak.to_owned(), mean.to_owned()), "{levels:?}");
        }
        let (total, day) = (21_600_000_000, 0..21_600_000_000);
        assert_eq!(bins(total, 1, &[(day, FULL)]), ("1".to_owned(), "1".to_owned()), "six hours");
    }

    #[test]
    fn a_picture_has_a_column_for_each_bin() {
        let mut bins = Bins::new(90, 9);
        bins.add(0..10, FULL);
        bins.add(10..20, Level { peak: 255, mean: 128 });
        bins.add(80..90, Level { peak: 255, mean: 27 });
        let bytes = bins.png(10).expect("a picture");
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().expect("a head");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut pixels).expect("pixels");
        assert_eq!((info.width, info.height, info.color_type), (9, 10, ColorType::Rgba));
        let rows = pixels.chunks_exact(36);
        let shown: Vec<String> = rows
            .map(|row| {
                assert!(row.chunks_exact(4).all(|pixel| pixel[..3] == [0, 0, 0]));
                row.chunks_exact(4).map(|pixel| if pixel[3] == 255 { '#' } else { '.' }).collect()
            })
            .collect();
        let (one, two, three) = ("#........", "##.......", "##......#");
        assert_eq!(shown, [one, one, two, two, three, two, two, one, one, one]);
    }
}
