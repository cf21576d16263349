//! Tables of times as people and players write them, and their properties.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect(text)
}

/// What a time means at 12:00, when the last complete segment ended at 11:00.
fn resolve(text: &str) -> Option<String> {
    let expression = TimeExpression::parse(text)?;
    let resolved = expression.resolve(at("2026-11-20T12"), Some(at("2026-11-20T11")));
    Some(resolved.expect("there is a live end").to_string())
}

#[test]
fn every_form_of_a_time_means_an_instant() {
    let rows = [
        ("2026-11-20T10:55:02.5", "2026-11-20T10:55:02.500000Z"),
        ("2026-11-20T10:55:02 01:00", "2026-11-20T09:55:02.000000Z"),
        ("20261120", "2026-11-20T00:00:00.000000Z"),
        ("1795171502", "2026-11-20T10:45:02.000000Z"),
        ("1795171502.25", "2026-11-20T10:45:02.250000Z"),
        ("1795171502.0000009", "2026-11-20T10:45:02.000000Z"),
        ("123456789", "1973-11-29T21:33:09.000000Z"),
        ("001234567", "1970-01-15T06:56:07.000000Z"),
        ("99999999999", "5138-11-16T09:46:39.000000Z"),
        ("now", "2026-11-20T12:00:00.000000Z"),
        ("now-90s", "2026-11-20T11:58:30.000000Z"),
        ("now-90", "2026-11-20T11:58:30.000000Z"),
        ("now+1h", "2026-11-20T13:00:00.000000Z"),
        ("now 1h", "2026-11-20T13:00:00.000000Z"),
        ("live", "2026-11-20T11:00:00.000000Z"),
        ("live-30s", "2026-11-20T10:59:30.000000Z"),
        ("live 1m", "2026-11-20T11:01:00.000000Z"),
        ("-30s", "2026-11-20T10:59:30.000000Z"),
        ("-30", "2026-11-20T10:59:30.000000Z"),
        ("-0s", "2026-11-20T11:00:00.000000Z"),
        ("-0", "2026-11-20T11:00:00.000000Z"),
        ("-1h30m", "2026-11-20T09:30:00.000000Z"),
        ("-1d2h3m4s5ms", "2026-11-19T08:56:55.995000Z"),
        ("-1d5ms", "2026-11-19T10:59:59.995000Z"),
        ("-90m", "2026-11-20T09:30:00.000000Z"),
        ("-12.5s", "2026-11-20T10:59:47.500000Z"),
        ("-1m0.25s", "2026-11-20T10:58:59.750000Z"),
        ("-1.5h", "2026-11-20T09:30:00.000000Z"),
        ("-0.5ms", "2026-11-20T10:59:59.999500Z"),
        ("-0.00000000000000000001d", "2026-11-20T11:00:00.000000Z"),
        ("-1795171502", "1970-01-01T00:14:58.000000Z"),
        // The calendar ends here, the question does not.
        ("now-4000000d", "0001-01-01T00:00:00.000000Z"),
        ("now+4000000d", "9999-12-31T23:59:59.999999Z"),
    ];
    for (text, shown) in rows {
        assert_eq!(resolve(text).as_deref(), Some(shown), "{text}");
    }
}

#[test]
fn other_times_are_refused() {
    let rows = [
        "+ - --30s +30s 30s 30 12345678 12345678.5 1795171502. 1795171502.x 1795171502s +1795171502 123456789012",
        "Now NOW-90s Live now- now+ now90s now--90s now-90s-1s now-90S nowhere livestream live-now tomorrow 2026-02-29",
        "-1h30 -30m1h -1s1s -1s2ms3 -1.5h30m -1h-30m -.5s -5.s -5. -1.2.3 -s -ms -1w -1min -1sms -1e3s -1,5s",
        "-\u{661}s -1\u{b5}s -106751992d -99999999999999999999s -106751991d999999h",
    ];
    let with_spaces = ["", " ", " 30s", "1795171502 ", "now ", "now -90s", "now  90s", "-1h 30m", " now"];
    for text in rows.into_iter().flat_map(|row| row.split(' ')).chain(with_spaces) {
        assert_eq!(TimeExpression::parse(text), None, "{text:?}");
    }
}

#[test]
fn lengths_have_no_sign() {
    assert_eq!(parse_length("1h30m"), Some(Span::from_secs(5400)));
    assert_eq!(parse_length("3600"), Some(Span::from_secs(3600)));
    assert_eq!(parse_length("0"), Some(Span::ZERO));
    for text in ["", "-1s", "+1s", " 1s", "1s ", "now", "live-1s", "1h30"] {
        assert_eq!(parse_length(text), None, "{text:?}");
    }
}

#[test]
fn only_times_from_the_live_end_need_one() {
    let now = at("2026-11-20T12");
    for (text, is_relative, needs_live_end) in [
        ("2026-11-20", false, false),
        ("1795171502", false, false),
        ("now-1s", true, false),
        ("-1s", true, true),
    ] {
        let expression = TimeExpression::parse(text).expect(text);
        assert_eq!(expression.is_relative(), is_relative, "{text}");
        assert_eq!(expression.resolve(now, None).is_none(), needs_live_end, "{text}");
    }
}

/// Numbers of units that may be left out, whether a sign of a fraction follows, and the text of the whole.
fn lengths() -> impl Strategy<Value = (i64, String)> {
    let numbers = proptest::collection::vec(proptest::option::of(0_i64..100_000), UNITS.len());
    (numbers, proptest::option::of(0_u32..1_000_000)).prop_filter_map("some unit", |(numbers, fraction)| {
        let mut last = numbers.iter().rposition(Option::is_some)?;
        let (mut micros, mut text) = (0, String::new());
        for (index, number) in numbers.iter().enumerate() {
            let (Some(number), (name, unit_micros)) = (number, UNITS[index]) else { continue };
            micros += number * unit_micros;
            text += &number.to_string();
            if let (true, Some(fraction)) = (index == last, fraction) {
                last = usize::MAX;
                let _ = write!(text, ".{fraction:06}");
                micros += unit_micros * i64::from(fraction) / 1_000_000;
            }
            text += name;
        }
        Some((micros, text))
    })
}

proptest! {
    #[test]
    fn any_lengths_in_order_of_their_units_add_up((micros, text) in lengths()) {
        prop_assert_eq!(parse_length(&text), Some(Span(micros)));
        let expected = Span(micros);
        for (prefix, meaning) in [
            ("-", TimeExpression::Live(-expected)),
            ("live-", TimeExpression::Live(-expected)),
            ("live ", TimeExpression::Live(expected)),
            ("now+", TimeExpression::Now(expected)),
            ("now-", TimeExpression::Now(-expected)),
        ] {
            prop_assert_eq!(TimeExpression::parse(&format!("{prefix}{text}")), Some(meaning));
        }
    }

    #[test]
    fn units_out_of_order_or_twice_are_refused(first in 0..5_usize, second in 0..5_usize, a in 0..99, b in 0..99) {
        let text = format!("{a}{}{b}{}", UNITS[first].0, UNITS[second].0);
        prop_assert_eq!(parse_length(&text).is_some(), first < second);
    }

    #[test]
    fn seconds_since_1970_are_exact_to_the_microsecond(seconds in 100_000_000..100_000_000_000_i64, micros in 0..1_000_000_i64) {
        let text = format!("{seconds}.{micros:06}");
        let time = Timestamp(seconds * SECOND + micros);
        prop_assert_eq!(TimeExpression::parse(&text), Some(TimeExpression::Absolute(time)));
    }

    #[test]
    fn no_text_makes_the_parser_panic_and_every_result_is_in_the_calendar(text in "(now|live|)[-+ ]?[0-9dhms.é]{0,24}|.{0,20}") {
        if let Some(expression) = TimeExpression::parse(&text) {
            for shift in [Span(i64::MIN), Span::ZERO, Span(i64::MAX)] {
                let time = expression.shifted(shift).resolve(Timestamp::MAX, Some(Timestamp::MIN));
                prop_assert!(time.is_some_and(|time| (Timestamp::MIN..=Timestamp::MAX).contains(&time)), "{}", text);
            }
        }
    }

    #[test]
    fn what_was_iso_8601_keeps_its_meaning(text in "[0-9]{4}-?[0-9]{2}-?[0-9]{2}([T ][0-9]{2}(:[0-9]{2}){0,2}(\\.[0-9]{1,7})?(Z|[ +-][0-9]{2})?)?") {
        if let Some(time) = Timestamp::parse(&text) {
            prop_assert_eq!(TimeExpression::parse(&text), Some(TimeExpression::Absolute(time)));
        }
    }
}
