//! Coverage as a picture for people (SVG 1.1): a row for each day, hours from left to right.

use std::fmt::Write;

use super::covered::Covered;
use super::days::{Days, KINDS, Kind, Row, Shape, day, days_in};
use crate::error::{Error, Result};
use crate::timestamp::{Span, Timestamp};

/// The most days that the range of a picture has, and the most rows of all variants together.
const MAX_DAYS: i64 = 400;
const MAX_ROWS: i64 = 4000;
/// The most shapes in a picture.
const MAX_SHAPES: usize = 20_000;
/// How many pixels apart things must be to be told apart: the first of these with which a picture has few enough shapes.
/// With the last one, a day has one shape of each kind.
const RESOLUTIONS: [i64; 4] = [1, 4, 16, DAY_WIDTH];

/// How many seconds a pixel is.
const SECONDS_PER_PIXEL: i64 = 90;
const DAY_WIDTH: i64 = 24 * 3600 / SECONDS_PER_PIXEL;
/// Where the rows begin and end.
const LEFT: i64 = 136;
const RIGHT: i64 = LEFT + DAY_WIDTH;
const WIDTH: i64 = RIGHT + 84;
const MARGIN: i64 = 24;
/// From row to row, and the height of a row.
const PITCH: i64 = 20;
const ROW_HEIGHT: i64 = 16;
const HEADER_HEIGHT: i64 = 102;
/// The lines above and below the rows of a variant.
const GROUP_TOP: i64 = 44;
const GROUP_BOTTOM: i64 = 20;
/// How many characters of a name are shown.
const MAX_SHOWN: usize = 80;

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Colours that differ in lightness too, for those who do not tell red from green.
const STYLE: &str = "\
svg{color-scheme:light dark}\
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#59636e}\
.title{font-size:20px;font-weight:600;fill:#1f2328}.name{font-size:14px;font-weight:600;fill:#1f2328}\
.day,.share{font-variant-numeric:tabular-nums}.back{fill:#fff}.out{fill:#eaeef2}.full{fill:#7ccb9a}\
.damaged{fill:#e8850c}.hole{fill:#cf222e}.grid{stroke:#1f2328;stroke-opacity:.13}\
.middle{text-anchor:middle}.end{text-anchor:end}\
@media(prefers-color-scheme:dark){text{fill:#9198a1}.title,.name{fill:#f0f6fc}.back{fill:#0d1117}\
.out{fill:#21262d}.full{fill:#2c7a4b}.damaged{fill:#f0c544}.hole{fill:#ff4f47}\
.grid{stroke:#f0f6fc;stroke-opacity:.14}}";

/// A picture.
#[derive(Debug)]
pub(super) struct Picture {
    title: String,
    groups: Groups,
    span: (Timestamp, Timestamp),
    scale: Span,
}

/// The days of each variant, under its name; without one if it is alone.
type Groups = Vec<(Option<String>, Days)>;

impl Picture {
    /// A picture of a coverage.
    ///
    /// # Errors
    /// [`Error::BadParameter`] if the range is too long for a picture; [`Error::Cancelled`] once `is_cancelled` returns true.
    pub(super) fn new(covered: &Covered, is_cancelled: &dyn Fn() -> bool) -> Result<Self> {
        let Covered { stream, variants, span, .. } = covered;
        let any_days = if variants.len() > 1 { days_in(*span) } else { 0 };
        let of_each = variants.iter().map(|(_, coverage)| days_in((coverage.start, coverage.end)));
        let (rows, longest) = (of_each.clone().sum::<i64>() + any_days, of_each.max().unwrap_or(0));
        if rows > MAX_ROWS || longest.max(any_days) > MAX_DAYS {
            let (start, end) = span;
            return Err(Error::BadParameter {
                name: "range",
                value: format!("{start} to {end}"),
                expected: "at most 400 days, and 4,000 of all variants together, as in \
                    `start=2026-11-20&end=2026-12-20`; JSON has no limit",
            });
        }
        let mut groups = None;
        for pixels in RESOLUTIONS {
            let resolution = Span::from_secs(SECONDS_PER_PIXEL * pixels);
            groups = groups_of(covered, resolution, is_cancelled)?;
            if groups.is_some() {
                break;
            }
        }
        let groups = groups.unwrap_or_default();
        let title = match variants.as_slice() {
            [(variant, _)] if !covered.is_stream => format!("{stream} / {variant}"),
            _ => stream.clone(),
        };
        Ok(Self { title, groups, span: *span, scale: covered.scale })
    }

    /// The text of the picture.
    pub(super) fn render(&self) -> Vec<u8> {
        let rows = |(_, days): &(_, Days)| GROUP_TOP + PITCH * row_count(days) + GROUP_BOTTOM;
        let height = HEADER_HEIGHT + self.groups.iter().map(rows).sum::<i64>();
        let (start, end) = self.span;
        let title = escape(&shortened(&self.title));
        // What was joined counts as recorded.
        let joined = if self.scale > Span::ZERO {
            format!("; holes shorter than {} are not shown", length(self.scale))
        } else {
            String::new()
        };
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\">\n<title>Coverage of {}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"{MARGIN}\" y=\"38\">{title}</text>\n\
             <text x=\"{MARGIN}\" y=\"60\">{} to {} UTC{joined}</text>\n",
            escape(&self.title),
            date_and_time(start),
            date_and_time(end),
        );
        legend(&mut text);
        let mut top = HEADER_HEIGHT;
        for (name, days) in &self.groups {
            group(&mut text, top, name.as_deref(), days);
            top += GROUP_TOP + PITCH * row_count(days) + GROUP_BOTTOM;
        }
        text.push_str("</svg>\n");
        text.into_bytes()
    }
}

/// The days of each variant, or `None` if they have too many shapes.
fn groups_of(covered: &Covered, resolution: Span, is_cancelled: &dyn Fn() -> bool) -> Result<Option<Groups>> {
    let mut groups = Vec::new();
    let mut left = MAX_SHAPES;
    if covered.variants.len() > 1 {
        let stretches = covered.stretches(covered.any(), covered.span);
        let Some(days) = Days::new(stretches, resolution, &mut left)? else { return Ok(None) };
        groups.push((Some("any variant".to_owned()), days));
    }
    for (name, coverage) in &covered.variants {
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let stretches = covered.stretches(coverage.ranges(), (coverage.start, coverage.end));
        let Some(days) = Days::new(stretches, resolution, &mut left)? else { return Ok(None) };
        groups.push((covered.is_stream.then(|| name.clone()), days));
    }
    Ok(Some(groups))
}

/// The number of lines that days take; one that says so if there are none.
fn row_count(days: &Days) -> i64 {
    i64::try_from(days.rows.len()).unwrap_or(i64::MAX).max(1)
}

fn legend(text: &mut String) {
    let entries = [
        ("full", "recorded"),
        ("damaged", "suspect or partial"),
        ("hole", "missing"),
        ("out", "outside the range"),
    ];
    let mut x = MARGIN;
    for (class, label) in entries {
        let _ =
            write!(text, "<rect class=\"{class}\" x=\"{x}\" y=\"74\" width=\"12\" height=\"12\" rx=\"2\"/>");
        let _ = writeln!(text, "<text x=\"{}\" y=\"84\">{label}</text>", x + 18);
        x += 44 + 6 * i64::try_from(label.len()).unwrap_or(0);
    }
}

/// The rows of one variant, below its name, a summary and the hours.
fn group(text: &mut String, top: i64, name: Option<&str>, days: &Days) {
    let _ = writeln!(text, "<g transform=\"translate(0 {top})\">");
    let mut summary = format!("{} recorded", length(days.recorded));
    let _ = match days.holes {
        0 => write!(summary, ", nothing missing"),
        1 => write!(summary, ", one hole of {}", length(days.missing)),
        holes => write!(summary, ", {holes} holes, {} missing", length(days.missing)),
    };
    let name = name.map_or(String::new(), |name| {
        format!("<tspan class=\"name\">{}</tspan>  ", escape(&shortened(name)))
    });
    let _ = writeln!(text, "<text x=\"{MARGIN}\" y=\"14\" xml:space=\"preserve\">{name}{summary}</text>");
    for hour in (0..=24).step_by(2) {
        let x = LEFT + hour * 3600 / SECONDS_PER_PIXEL;
        let _ = writeln!(text, "<text class=\"middle\" x=\"{x}\" y=\"36\">{hour:02}</text>");
    }
    for (number, row) in (0..).zip(&days.rows) {
        let _ = writeln!(text, "<g transform=\"translate(0 {})\">", GROUP_TOP + PITCH * number);
        day_row(text, row);
        text.push_str("</g>\n");
    }
    let bottom = GROUP_TOP + PITCH * row_count(days) - (PITCH - ROW_HEIGHT);
    let mut lines = String::new();
    for hour in 1..24 {
        let _ = write!(lines, "M{}.5 {GROUP_TOP}V{bottom}", LEFT + hour * 3600 / SECONDS_PER_PIXEL);
    }
    let _ = writeln!(text, "<path class=\"grid\" pointer-events=\"none\" d=\"{lines}\"/>");
    if days.rows.is_empty() {
        let _ = writeln!(text, "<text x=\"{LEFT}\" y=\"{}\">nothing</text>", GROUP_TOP + 12);
    }
    text.push_str("</g>\n");
}

fn day_row(text: &mut String, row: &Row) {
    let date = row.midnight.to_string();
    let date = date.get(.."2026-11-20".len()).unwrap_or(&date);
    let weekday = WEEKDAYS[usize::try_from(day(row.midnight).rem_euclid(7)).unwrap_or(0)];
    let _ = writeln!(text, "<text class=\"day\" x=\"{MARGIN}\" y=\"12\">{weekday} {date}</text>");
    let _ = writeln!(
        text,
        "<rect class=\"out\" x=\"{LEFT}\" width=\"{DAY_WIDTH}\" height=\"{ROW_HEIGHT}\"><title>outside the range</title></rect>"
    );
    for (kind, shapes) in KINDS.into_iter().zip(&row.shapes) {
        for shape in shapes {
            shape_rect(text, row.midnight, kind, shape);
        }
    }
    let share = share(row.recorded, row.inside.1 - row.inside.0);
    let _ = writeln!(text, "<text class=\"share end\" x=\"{}\" y=\"12\">{share}</text>", WIDTH - MARGIN);
}

/// A shape, at least a pixel wide, so that everything is seen.
fn shape_rect(text: &mut String, midnight: Timestamp, kind: Kind, shape: &Shape) {
    let tenths = |time: Timestamp| (time - midnight).micros() / (SECONDS_PER_PIXEL * 100_000);
    let (from, until) = (tenths(shape.start), tenths(shape.end));
    let width = (until - from).max(10);
    let x = LEFT * 10 + from.min(DAY_WIDTH * 10 - width);
    let class = match kind {
        Kind::Full => "full",
        Kind::Damaged => "damaged",
        Kind::Hole => "hole",
    };
    let _ = write!(
        text,
        "<rect class=\"{class}\" x=\"{}.{}\" width=\"{}.{}\" height=\"{ROW_HEIGHT}\"><title>{}",
        x / 10,
        x % 10,
        width / 10,
        width % 10,
        match kind {
            Kind::Full => "recorded",
            Kind::Damaged => "suspect or partial",
            Kind::Hole => "missing",
        }
    );
    let _ =
        write!(text, " {} to {} ({}", time_of_day(shape.start), time_of_day(shape.end), length(shape.total));
    if shape.count > 1 {
        let _ = write!(text, " in {} parts", shape.count);
    }
    text.push_str(")</title></rect>\n");
}

/// How much of a day was recorded. 100 % is all of it.
fn share(recorded: Span, of: Span) -> String {
    match recorded.micros() * 1000 / of.micros().max(1) {
        1000 => "100 %".to_owned(),
        0 if recorded > Span::ZERO => "&lt;0.1 %".to_owned(),
        0 => "0 %".to_owned(),
        thousandths => format!("{}.{} %", thousandths / 10, thousandths % 10),
    }
}

/// A length of time for people: its two largest units.
fn length(span: Span) -> String {
    let units = [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("min", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1000),
        ("µs", 1),
    ];
    let micros = span.micros();
    let first = units.iter().position(|(_, unit)| micros >= *unit).unwrap_or(3);
    let mut rest = micros;
    let mut shown = Vec::new();
    for (name, unit) in units.iter().skip(first).take(2) {
        if rest / unit > 0 || shown.is_empty() {
            shown.push(format!("{} {name}", rest / unit));
        }
        rest %= unit;
    }
    shown.join(" ")
}

/// `2026-11-20 10:55:02`.
fn date_and_time(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(.."2026-11-20T10:55:02".len()).unwrap_or(&text).replace('T', " ")
}

/// `10:55:02.123`.
fn time_of_day(time: Timestamp) -> String {
    let text = time.to_string();
    text.get("2026-11-20T".len().."2026-11-20T10:55:02.123".len()).unwrap_or(&text).to_owned()
}

/// The beginning of a long name.
fn shortened(name: &str) -> String {
    let mut shown: String = name.chars().take(MAX_SHOWN).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown
}

/// A text in XML 1.0, where control characters cannot be written.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            _ if character.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            _ => escaped.push(character),
        }
    }
    escaped
}
