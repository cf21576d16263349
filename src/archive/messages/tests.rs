use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A message of the slow model, in whole seconds.
#[derive(Debug, Clone, PartialEq)]
struct Simple {
    text: u8,
    id: Option<u8>,
    time: u32,
    time_range: u32,
    receivers: BTreeMap<String, u32>,
}

impl Simple {
    fn json(&self) -> Value {
        let mut fields = json!({
            "command": "PRIVMSG", "params": ["#s", self.text], "tags": null, "receivers": self.receivers,
            "time": f64::from(self.time), "time_range": f64::from(self.time_range),
        });
        if let Some(id) = self.id {
            fields["tags"] = json!({"id": id.to_string(), "mod": "0"});
        }
        fields
    }

    fn end(&self) -> u32 {
        self.time + self.time_range
    }

    fn merged(&self, other: &Self) -> Option<Self> {
        let (time, end) = (self.time.max(other.time), self.end().min(other.end()));
        let is_same = self.text == other.text && self.id == other.id && time <= end;
        let receivers = self.receivers.clone().into_iter().chain(other.receivers.clone()).collect();
        is_same.then(|| Self { time, time_range: end.saturating_sub(time), receivers, ..self.clone() })
    }
}

/// The rules word by word: each message that is there is merged with the first of a batch that is a copy of it and was not
/// taken yet; what remains of the batch is added. Returns how many have the id of one that was there.
fn add(messages: &mut Vec<Simple>, mut batch: Vec<Simple>) -> usize {
    for message in messages.iter_mut() {
        let copy = batch.iter().position(|other| message.merged(other).is_some());
        if let Some(copy) = copy {
            *message = message.merged(&batch.remove(copy)).expect("a copy");
        }
    }
    let is_known =
        |other: &&Simple| other.id.is_some() && messages.iter().any(|message| message.id == other.id);
    let conflicts = batch.iter().filter(is_known).count();
    messages.append(&mut batch);
    conflicts
}

fn text(batch: &[Simple]) -> String {
    batch.iter().map(|message| message.json().to_string() + "\n").collect()
}

fn batch(receiver: &'static str) -> impl Strategy<Value = Vec<Simple>> {
    let message = (0..3_u8, prop::option::weighted(0.4, 0..4_u8), 0..12_u32, 0..4_u32, 0..100_u32);
    let message = message.prop_map(move |(text, id, time, time_range, received)| Simple {
        text: id.map_or(text, |id| id / 2 + u8::from(text == 0)),
        id,
        time,
        time_range,
        receivers: BTreeMap::from([(receiver.to_owned(), received)]),
    });
    prop::collection::vec(message, 0..8)
}

proptest! {
    #[test]
    fn merged_batches_equal_those_of_a_slow_model(
        batches in prop::collection::vec(prop_oneof![batch("one"), batch("two")], 0..5),
        start in 0..12_u32,
        length in 1..6_u32,
    ) {
        let (mut messages, mut model) = (Messages::default(), Vec::new());
        for batch in batches {
            let (parsed, broken) = parse_batch(text(&batch).as_bytes());
            prop_assert_eq!((parsed.len(), broken), (batch.len(), 0));
            prop_assert_eq!(messages.add(parsed, &|| false).expect("ids").len(), add(&mut model, batch));
        }
        let end = start + length;
        model.retain(|message| start <= message.end() && message.time < end);
        model.sort_by_key(|message| (message.time, message.time_range));
        let json: Value =
            serde_json::from_slice(&messages.into_json((start.into(), end.into()))).expect("JSON");
        prop_assert_eq!(json, Value::Array(model.iter().map(Simple::json).collect()));
    }
}

/// Adds a batch; returns how many conflicts of ids it has.
fn added(messages: &mut Messages, text: &str) -> usize {
    messages.add(parse_batch(text.as_bytes()).0, &|| false).expect("ids").len()
}

#[test]
fn a_message_that_no_other_is_a_copy_of_stays_as_it_was_written() {
    let lines = [
        r#"{"time": 1795171502.1234567, "time_range": 0, "text":"é\u00e9",  "z": 1e2, "a": null}"#,
        r#"{"tags":{"id":"x"},"receivers":{"n":1795171502.7654321},"time":1795171503,"time_range":0.1}"#,
    ];
    let mut messages = Messages::default();
    for _ in 0..2 {
        let text = format!("\n{}\r\n \n{}", lines[0], lines[1]);
        assert_eq!(added(&mut messages, &text), 0);
    }
    let json = messages.into_json((1_795_171_502.0, 1_795_171_504.0));
    assert_eq!(String::from_utf8(json).expect("text"), format!("[{},{}]", lines[0], lines[1]));
}

#[test]
fn merged_numbers_keep_every_digit() {
    let line = |receiver: &str, time: &str| {
        format!(r#"{{"receivers":{{"{receiver}":1795171502.1234567}},"time":{time},"time_range":10.0}}"#)
    };
    let mut messages = Messages::default();
    for (receiver, time) in [("a", "1795171502.7654321"), ("b", "1795171500.7654321")] {
        added(&mut messages, &line(receiver, time));
    }
    let json = String::from_utf8(messages.into_json((0.0, 1e10))).expect("text");
    let expected = r#"[{"receivers":{"a":1795171502.1234567,"b":1795171502.1234567},"time":1795171502.7654321,"time_range":8.0}]"#;
    assert_eq!(json, expected);
}

#[test]
fn many_messages_with_one_id_that_differ_are_not_compared_with_each_other() {
    // Comparing each with each would take minutes.
    const COUNT: usize = 5_000;
    let mut messages = Messages::default();
    for batch in 0..2 {
        let line =
            |number| format!(r#"{{"tags":{{"id":"x"}},"n":"{batch} {number}","time":1,"time_range":0}}"#);
        let text: Vec<String> = (0..COUNT).map(line).collect();
        assert_eq!(added(&mut messages, &text.join("\n")), batch * COUNT);
    }
    assert_eq!(messages.list.len(), 2 * COUNT);
}

#[test]
fn a_merge_ends_when_it_is_cancelled() {
    let batch = || parse_batch(br#"{"time":1,"time_range":0}"#).0;
    let mut messages = Messages::default();
    messages.add(batch(), &|| true).expect("there is nothing to merge with");
    assert!(matches!(messages.add(batch(), &|| true), Err(Error::Cancelled)));
}

#[test]
fn lines_that_are_no_messages_are_left_out() {
    let good = r#"{"time":1,"time_range":0}"#;
    let rows: [&[u8]; 11] = [
        b"{",
        b"[]",
        b"1",
        b"null",
        b"{}",
        b"\xff",
        br#"{"time":1}"#,
        br#"{"time":"1","time_range":0}"#,
        br#"{"time":1,"time_range":-1}"#,
        br#"{"time":1e999,"time_range":0}"#,
        br#"{"time":1,"time_range":0,"receivers":[]}"#,
    ];
    for row in rows {
        let text = [good.as_bytes(), row, good.as_bytes()].join(&b'\n');
        let (parsed, broken) = parse_batch(&text);
        assert_eq!((parsed.len(), broken), (2, 1), "{}", String::from_utf8_lossy(row));
    }
}
