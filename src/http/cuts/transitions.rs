//! The transitions between the ranges of a cut: which are asked for, and where those at the ends of a range end and start.

use crate::cut::{MAX_TRANSITION_SECONDS, SegmentList};
use crate::error::{Error, Result};
use crate::http::handler::App;
use crate::http::query::Query;
use crate::timestamp::expression::parse_length;
use crate::timestamp::{Span, Timestamp};

/// The transitions of a cut. The first lies between its first two ranges; `None` is a hard cut, as are those that are missing.
#[derive(Debug, Default)]
pub(super) struct Transitions {
    /// As the request gives them.
    given: Vec<String>,
    found: Vec<Option<Transition>>,
}

/// A transition that is asked for.
#[derive(Debug, Clone)]
pub(super) struct Transition {
    /// Its type, as ffmpeg's filter `xfade` names it.
    pub(super) name: String,
    pub(super) length: Span,
}

impl Transitions {
    pub(super) fn decode(query: Query) -> Self {
        Self { given: query.all("transition"), found: Vec::new() }
    }

    /// Makes all of them hard cuts.
    pub(super) fn ignore(&mut self) {
        self.given.iter_mut().for_each(String::clear);
    }

    /// Parses them. `ranges` is how many ranges the cut has.
    ///
    /// # Errors
    /// [`Error::BadParameter`] for one that is neither empty nor a type and seconds; [`Error::OutOfBounds`] if there are as many as
    /// ranges, or more.
    pub(super) fn check(&mut self, ranges: usize) -> Result<()> {
        let parse =
            |given: &String| if given.is_empty() { Ok(None) } else { Transition::parse(given).map(Some) };
        self.found = self.given.iter().map(parse).collect::<Result<_>>()?;
        if self.found.len() >= ranges.max(1) {
            return Err(Error::OutOfBounds("Too many transitions"));
        }
        Ok(())
    }

    /// Checks that ffmpeg has them.
    ///
    /// # Errors
    /// [`Error::BadTransition`] for one that it does not have; those of [`crate::ffmpeg::Tools::transitions`].
    pub(super) fn check_types(&self, app: &App) -> Result<()> {
        if self.are_hard() {
            return Ok(());
        }
        let tools = app.tools.get();
        let known = tools.transitions()?;
        match self.found.iter().flatten().find(|transition| !known.contains(&transition.name)) {
            None => Ok(()),
            Some(unknown) => {
                let names: Vec<&str> = known.iter().map(String::as_str).collect();
                let (name, names) = (&unknown.name, names.join(", "));
                Err(Error::BadTransition(format!("there is no transition `{name}`: this server has {names}")))
            }
        }
    }

    /// The parameters that ask for them, each after an ampersand.
    pub(super) fn query(&self) -> String {
        let parameters: Vec<String> = self.given.iter().map(|given| format!("&transition={given}")).collect();
        parameters.concat()
    }

    /// Whether all are hard cuts.
    pub(super) fn are_hard(&self) -> bool {
        self.found.iter().all(Option::is_none)
    }

    /// The one behind a range, if it is not a hard cut.
    pub(super) fn after(&self, range: usize) -> Option<&Transition> {
        self.found.get(range).and_then(Option::as_ref)
    }
}

impl Transition {
    fn parse(given: &str) -> Result<Self> {
        let expected = "a type and up to 60 seconds, such as `fade,0.5`, or nothing for a hard cut";
        let bad = || Error::BadParameter { name: "transition", value: given.to_owned(), expected };
        let (name, length) = given.split_once(',').ok_or_else(bad)?;
        let has_unit = |length: &str| length.bytes().any(|byte| byte.is_ascii_alphabetic());
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let length = parse_length(length).filter(|span| is_name && *span > Span::ZERO && !has_unit(length));
        let length =
            length.filter(|length| *length <= Span::from_secs(MAX_TRANSITION_SECONDS)).ok_or_else(bad)?;
        Ok(Self { name: name.to_owned(), length })
    }
}

/// Where the transition at the start of a range ends, and where the one at its end starts, so that each shows as much as it is
/// long: what is missing in gaps is not counted.
///
/// # Errors
/// [`Error::BadTransition`] if the range, the one of this number, is shorter than they are.
pub(super) fn split(
    number: usize,
    segments: &impl SegmentList,
    (start, end): (Timestamp, Timestamp),
    [head, tail]: [Option<&Transition>; 2],
) -> Result<(Timestamp, Timestamp)> {
    let [head, tail] = [head, tail].map(|transition| transition.map(|transition| transition.length));
    let recorded = recorded(segments, (start, end));
    let total = recorded.iter().fold(Span::ZERO, |total, (start, end)| total + (*end - *start));
    let sum = head.unwrap_or(Span::ZERO) + tail.unwrap_or(Span::ZERO);
    if sum > total {
        let what =
            if head.is_some() && tail.is_some() { "the transitions at both ends" } else { "a transition" };
        let why = format!("{what} of range {number} would take {sum} s of its {total} s");
        return Err(Error::BadTransition(why));
    }
    let at = |offset: Span| {
        let mut left = offset;
        for (start, end) in &recorded {
            if left <= *end - *start {
                return *start + left;
            }
            left = left - (*end - *start);
        }
        end
    };
    Ok((head.map_or(start, at), tail.map_or(end, |tail| at(total - tail))))
}

/// The parts of a range without a gap.
fn recorded(
    segments: &impl SegmentList,
    (start, end): (Timestamp, Timestamp),
) -> Vec<(Timestamp, Timestamp)> {
    let mut runs: Vec<(Timestamp, Timestamp)> = Vec::new();
    for segment in (0..).map_while(|number| segments.segment(number)) {
        match runs.last_mut().filter(|_| !segment.gap_before) {
            Some(last) => last.1 = last.1.max(segment.end),
            None => runs.push((segment.start, segment.end)),
        }
    }
    let clipped = runs.into_iter().map(|(from, to)| (from.max(start), to.min(end)));
    clipped.filter(|(from, to)| from < to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::CutSegment;

    fn second(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn gaps_do_not_count_where_a_range_is_split() {
        // From 0 to 4 and from 10 to 14.
        let segment = |start: i64| CutSegment {
            path: "x.ts".into(),
            bytes: None,
            start: second(start),
            end: second(start + 2),
            gap_before: start == 10,
            complete: true,
        };
        let segments: Vec<CutSegment> = [0, 2, 10, 12].map(segment).into();
        let rows = [
            ((0, 14), [Some("fade,1"), Some("fade,1")], Ok((1, 13))),
            ((1, 13), [Some("fade,4"), Some("fade,2")], Ok((11, 11))),
            ((1, 13), [None, Some("fade,3")], Ok((1, 4))),
            ((1, 13), [None, Some("fade,4")], Ok((1, 3))),
            ((1, 13), [Some("fade,3"), None], Ok((4, 13))),
            (
                (1, 13),
                [Some("fade,4"), Some("fade,3")],
                Err("at both ends of range 2 would take 7.000 s of its 6"),
            ),
            (
                (1, 13),
                [None, Some("fade,7")],
                Err("a transition of range 2 would take 7.000 s of its 6.000 s"),
            ),
        ];
        for ((start, end), given, expected) in rows {
            let ends = given.map(|given| given.map(|given| Transition::parse(given).expect("a transition")));
            let found =
                split(2, &segments, (second(start), second(end)), ends.each_ref().map(Option::as_ref));
            match (found, expected) {
                (Ok(found), Ok((head_end, tail_start))) => {
                    assert_eq!(found, (second(head_end), second(tail_start)), "{given:?}");
                }
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                (found, expected) => panic!("{given:?}: {found:?} instead of {expected:?}"),
            }
        }
    }
}
