//! Chat messages as archivers write them, and how the copies of several receivers become one. Pure.
//!
//! A batch holds one JSON object a line. Of a message, only `tags.id`, `receivers`, `time` and `time_range` have a meaning here:
//! it was sent between `time` and `time + time_range`, in seconds since 1970. Lines stay as they are, except those that are
//! merged.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Number, Value};

use crate::error::{Error, Result};
use crate::fnv::Fnv;

/// The fields in which copies of a message may differ.
const RECEIVERS: &str = "receivers";
const TIME: &str = "time";
const TIME_RANGE: &str = "time_range";

/// After how many messages that are there a cancellation is noticed.
const CHECKED_EVERY: usize = 64;

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// The line.
    text: Box<str>,
    time: f64,
    time_range: f64,
    /// A hash of all in which copies do not differ.
    key: u64,
    /// A hash of its id.
    id: Option<u64>,
}

/// The messages of several batches, without copies.
#[derive(Debug, Default)]
pub(super) struct Messages {
    list: Vec<Message>,
    by_key: HashMap<u64, Vec<usize>>,
    ids: HashSet<u64>,
}

/// The messages of a batch, and how many of its lines are none.
pub(super) fn parse_batch(bytes: &[u8]) -> (Vec<Message>, usize) {
    let mut broken = 0;
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let parsed = lines.filter_map(|line| {
        let message = Message::parse(line);
        broken += usize::from(message.is_none());
        message
    });
    (parsed.collect(), broken)
}

impl Message {
    fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let Value::Object(mut fields) = serde_json::from_str(text).ok()? else { return None };
        let seconds = |value: Option<Value>| value.as_ref().and_then(Value::as_f64);
        let (time, time_range) = (seconds(fields.remove(TIME))?, seconds(fields.remove(TIME_RANGE))?);
        let receivers = fields.remove(RECEIVERS);
        if receivers.is_some_and(|receivers| !receivers.is_object()) || time_range < 0.0 {
            return None;
        }
        let id = id(&fields).map(hash);
        let key = hash(&Value::Object(fields).to_string());
        Some(Self { text: text.into(), time, time_range, key, id })
    }

    fn end(&self) -> f64 {
        self.time + self.time_range
    }

    fn fields(&self) -> Map<String, Value> {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Both as one, if they may be copies of one message: it was sent when both may have been, and has the receivers of both.
    fn merged(&self, other: &Self) -> Option<Self> {
        if self.text == other.text {
            return Some(self.clone());
        }
        let time = self.time.max(other.time);
        let end = self.end().min(other.end());
        if end < time {
            return None;
        }
        let (mut fields, mut others) = (self.fields(), other.fields());
        let mut receivers = Map::new();
        for fields in [&mut fields, &mut others] {
            if let Some(Value::Object(more)) = fields.remove(RECEIVERS) {
                receivers.extend(more);
            }
            fields.remove(TIME);
            fields.remove(TIME_RANGE);
        }
        if fields != others {
            return None;
        }
        let number = |seconds: f64| Number::from_f64(seconds).map_or(Value::Null, Value::Number);
        fields.insert(RECEIVERS.to_owned(), Value::Object(receivers));
        fields.insert(TIME.to_owned(), number(time));
        fields.insert(TIME_RANGE.to_owned(), number(end - time));
        let text = Value::Object(fields).to_string().into();
        Some(Self { text, time, time_range: end - time, key: self.key, id: self.id })
    }
}

impl Messages {
    /// Adds the messages of another batch. One of them is merged with at most one of those that are there. Returns the ids of
    /// messages that are no copies of those that are there with the same id.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once `is_cancelled` returns true. Many messages that are alike at different times take long.
    pub(super) fn add(
        &mut self,
        batch: Vec<Message>,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<String>> {
        let mut added: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, message) in batch.iter().enumerate() {
            added.entry(message.key).or_default().push(index);
        }
        let mut is_merged = vec![false; batch.len()];
        for (key, mut candidates) in added {
            for position in self.by_key.get(&key).into_iter().flatten() {
                if position.is_multiple_of(CHECKED_EVERY) && is_cancelled() {
                    return Err(Error::Cancelled);
                }
                let Some(message) = self.list.get_mut(*position) else { continue };
                let merged = candidates
                    .iter()
                    .enumerate()
                    .find_map(|(place, index)| Some((place, *index, message.merged(batch.get(*index)?)?)));
                if let Some((place, index, merged)) = merged {
                    *message = merged;
                    is_merged[index] = true;
                    candidates.remove(place);
                }
            }
        }
        let (mut conflicts, mut ids) = (Vec::new(), Vec::new());
        for (message, is_merged) in batch.into_iter().zip(is_merged) {
            ids.extend(message.id);
            if is_merged {
                continue;
            }
            if message.id.is_some_and(|id| self.ids.contains(&id)) {
                conflicts.extend(id(&message.fields()).map(str::to_owned));
            }
            self.by_key.entry(message.key).or_default().push(self.list.len());
            self.list.push(message);
        }
        self.ids.extend(ids);
        Ok(conflicts)
    }

    /// Those that may have been sent from `start` on and before `end`, in seconds since 1970, as a JSON array in the order of
    /// time and range of time.
    pub(super) fn into_json(self, (start, end): (f64, f64)) -> Vec<u8> {
        let mut kept = self.list;
        kept.retain(|message| start <= message.end() && message.time < end);
        kept.sort_by(|a, b| a.time.total_cmp(&b.time).then(a.time_range.total_cmp(&b.time_range)));
        let bytes: usize = kept.iter().map(|message| message.text.len() + 1).sum();
        let mut json = Vec::with_capacity(bytes + 2);
        json.push(b'[');
        for message in kept {
            if json.len() > 1 {
                json.push(b',');
            }
            json.extend_from_slice(message.text.as_bytes());
        }
        json.push(b']');
        json
    }
}

fn hash(text: &str) -> u64 {
    let mut hash = Fnv::new();
    hash.write_str(text);
    hash.finish()
}

/// `tags.id`, if it is not empty.
fn id(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("tags")?.get("id")?.as_str().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests;
