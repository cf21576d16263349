//! Coverage as JSON. It is written piece by piece, so that an answer of many ranges takes no more memory than a short one.

use std::io::{BufWriter, Write};

use super::covered::{Covered, Stretch};
use crate::archive::ranges::Range;
use crate::error::{Error, Result};
use crate::timestamp::{Span, Timestamp};

/// How much text is collected before it is sent.
const CHUNK_BYTES: usize = 64 * 1024;

/// Ranges in order, found anew each time that this is called.
type FindRanges<'a> = &'a dyn Fn() -> Box<dyn Iterator<Item = Result<Range>> + 'a>;

/// Writes the answer for a variant, or for all variants of a stream.
pub(super) fn write_json(covered: &Covered, out: &mut dyn Write) -> Result<()> {
    let mut out = BufWriter::with_capacity(CHUNK_BYTES, out);
    if covered.is_stream {
        write(&mut out, "{\"variants\":{")?;
    }
    for (number, (name, coverage)) in covered.variants.iter().enumerate() {
        if covered.is_stream {
            let comma = if number > 0 { "," } else { "" };
            write(&mut out, &format!("{comma}{}:", serde_json::Value::from(name.as_str())))?;
        }
        write_coverage(covered, &|| coverage.ranges(), (coverage.start, coverage.end), &mut out)?;
    }
    if covered.is_stream {
        write(&mut out, "},\"any\":")?;
        write_coverage(covered, &|| covered.any(), covered.span, &mut out)?;
        write(&mut out, "}")?;
    }
    out.flush().map_err(Error::io("send to", "the client"))
}

/// Writes one coverage.
fn write_coverage(
    covered: &Covered,
    ranges: FindRanges,
    span: (Timestamp, Timestamp),
    out: &mut impl Write,
) -> Result<()> {
    let add = |sum: Span, range: Result<Range>| range.map(|range| sum + (range.end - range.start));
    let recorded = ranges().try_fold(Span::ZERO, add)?;
    let (start, end) = span;
    write(out, &format!("{{\"start\":\"{start}\",\"end\":\"{end}\",\"recorded_seconds\":{recorded},"))?;
    let mut separator = "\"ranges\":[";
    for stretch in covered.stretches(ranges(), span) {
        if let Stretch::Recorded(Range { start, end, segment_type }) = stretch? {
            let segment_type = segment_type.name();
            let item = format!("{{\"start\":\"{start}\",\"end\":\"{end}\",\"type\":\"{segment_type}\"}}");
            write(out, separator)?;
            write(out, &item)?;
            separator = ",";
        }
    }
    write(out, if separator == "," { "],\"holes\":[" } else { "\"ranges\":[],\"holes\":[" })?;
    separator = "";
    for stretch in covered.stretches(ranges(), span) {
        if let Stretch::Hole(start, end) = stretch? {
            write(out, &format!("{separator}{{\"start\":\"{start}\",\"end\":\"{end}\"}}"))?;
            separator = ",";
        }
    }
    write(out, "]}")
}

fn write(out: &mut impl Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(Error::io("send to", "the client"))
}
