//! MPEG-1 and MPEG-2 video (ISO/IEC 13818-2): the start of a picture.

use super::nal::nal_units;
use super::video::AccessUnitStart;

const PICTURE: u8 = 0x00;
const SEQUENCE_HEADER: u8 = 0xB3;
const EXTENSION: u8 = 0xB5;
const GROUP: u8 = 0xB8;
const I_PICTURE: u8 = 1;
const B_PICTURE: u8 = 3;

/// Parses what precedes the slices of a picture; a sequence header counts as parameter sets. An I picture of a closed group
/// is one that no later picture refers beyond, as an IDR picture of H.264.
pub fn access_unit_start(bytes: &[u8]) -> AccessUnitStart {
    let mut start = AccessUnitStart::default();
    let mut is_closed = false;
    // Start codes are those of NAL units.
    for unit in nal_units(bytes) {
        match unit {
            [SEQUENCE_HEADER, ..] => start.parameter_sets = true,
            // closed_gop, behind a time code of 25 bits (6.2.2.6)
            [GROUP, _, _, _, flags, ..] => is_closed = flags & 0x40 != 0,
            // picture_coding_type, behind a temporal reference of 10 bits (6.2.3)
            [PICTURE, _, coding, ..] => {
                let coding_type = coding >> 3 & 7;
                let is_intra = coding_type == I_PICTURE;
                start.idr = is_intra && is_closed;
                start.recovery = is_intra.then_some(0);
                start.reference = coding_type != B_PICTURE;
                start.picture = true;
                return start;
            }
            _ => {}
        }
    }
    AccessUnitStart::default()
}

/// The size of the pictures on the screen by the first sequence header, in square pixels (6.2.2.1, 6.2.2.3, table 6-3).
pub(super) fn display_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut units = nal_units(bytes).skip_while(|unit| unit[0] != SEQUENCE_HEADER);
    let [_, w, wh, h, aspect, ..] = *units.next()? else { return None };
    let [w, wh, h] = [w, wh, h].map(u32::from);
    let (mut width, mut height) = (w << 4 | wh >> 4, (wh & 0x0F) << 8 | h);
    // The sequence extension has two more bits of each side.
    if let Some([EXTENSION, 0x10..=0x1F, progressive, sizes, ..]) = units.next() {
        let bits = u32::from(progressive & 1) << 3 | u32::from(sizes >> 5);
        (width, height) = (width | bits >> 2 << 12, height | (bits & 3) << 12);
    }
    let aspect = match aspect >> 4 {
        2 => Some((4, 3)),
        3 => Some((16, 9)),
        4 => Some((221, 100)),
        _ => None,
    };
    let width = aspect.map_or(width, |(x, y)| (height * x + y / 2) / y);
    (width > 0 && height > 0).then_some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_can_begin_at_i_pictures() {
        const SEQUENCE: &[u8] = &[0, 0, 1, 0xB3, 0x16, 0, 0, 1, 0xB5, 0x14];
        let group = |flags| [SEQUENCE, &[0, 0, 1, 0xB8, 0, 8, 0, flags]].concat();
        let picture = |coding_type: u8| [0, 0, 1, 0, 0, coding_type << 3, 0, 0, 1, 1];
        let start = |idr, recovery, reference, parameter_sets| AccessUnitStart {
            idr,
            recovery,
            reference,
            parameter_sets,
            picture: true,
        };
        let rows = [
            (group(0x40), 1, start(true, Some(0), true, true)),
            (group(0), 1, start(false, Some(0), true, true)),
            (SEQUENCE.to_vec(), 1, start(false, Some(0), true, true)),
            (vec![], 2, start(false, None, true, false)),
            (vec![], 3, start(false, None, false, false)),
        ];
        for (before, coding_type, expected) in rows {
            let bytes = [&before[..], &picture(coding_type)].concat();
            assert_eq!(access_unit_start(&bytes), expected, "{bytes:?}");
        }
        assert_eq!(access_unit_start(SEQUENCE), AccessUnitStart::default());
    }
}
