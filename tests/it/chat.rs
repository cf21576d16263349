//! `/<stream>/chat.json`: the chat of a range, from the batches of archivers, and the routes by which batches are copied.

use std::fs::File;

use serde_json::{Value, json};

use crate::harness::{Site, ask};

/// A message, `at` seconds after 10:00, that one receiver has seen.
fn message(at: f64, time_range: f64, receiver: &str, text: &str, id: Option<&str>) -> String {
    let tags = id.map_or(Value::Null, |id| json!({"id": id, "tmi-sent-ts": "0"}));
    json!({
        "command": "PRIVMSG", "host": "h", "params": ["#s", text], "sender": "u", "tags": tags, "user": "u",
        "receivers": {receiver: at + 1.5}, "time": 1_795_168_800.0 + at, "time_range": time_range,
    })
    .to_string()
}

/// Text, seconds after 10:00, range and number of receivers of each message of an answer.
fn shown(site: &Site, query: &str) -> Vec<(String, f64, f64, usize)> {
    let answer = site.get(&format!("/s/chat.json?{query}"));
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{answer:?}");
    let messages: Vec<Value> = serde_json::from_slice(&answer.body).expect("JSON");
    let shown = messages.iter().map(|message| {
        let number = |name: &str| message[name].as_f64().expect("a number");
        let receivers = message["receivers"].as_object().expect("receivers").len();
        let text = message["params"][1].as_str().expect("text").to_owned();
        (text, number("time") - 1_795_168_800.0, number("time_range"), receivers)
    });
    shown.collect()
}

fn expected(rows: &[(&str, f64, f64, usize)]) -> Vec<(String, f64, f64, usize)> {
    rows.iter().map(|(text, at, range, receivers)| ((*text).to_owned(), *at, *range, *receivers)).collect()
}

#[test]
fn the_copies_of_two_receivers_are_one_message_and_neighbouring_batches_count() {
    let site = Site::at("2026-11-22T00:00:00");
    let write = |name: &str, lines: &[String]| {
        site.write(&format!("s/chat/{name}.json"), lines.join("\n").as_bytes());
    };
    // From 10:00 on two receivers. The hour before has a message that may have been sent much later.
    write("2026-11-20T09/58:00-x", &[message(-120.0, 125.0, "a", "late", None)]);
    write("2026-11-20T09/57:59-x", &[message(-121.0, 125.0, "a", "too early a batch", None)]);
    write(
        "2026-11-20T10/00:00-a",
        &[
            message(2.0, 0.0, "a", "said", Some("1")),
            message(10.0, 10.0, "a", "joined", None),
            message(5.0, 0.0, "a", "changed", Some("2")),
            message(30.0, 0.0, "a", "twice", None),
            message(30.0, 0.0, "a", "twice", None),
        ],
    );
    write(
        "2026-11-20T10/00:00-b",
        &[
            message(18.0, 10.0, "b", "joined", None),
            message(2.0, 0.0, "b", "said", Some("1")),
            "{broken".to_owned(),
            message(5.0, 0.0, "b", "otherwise", Some("2")),
            message(30.0, 0.0, "b", "twice", None),
        ],
    );
    write("2026-11-20T10/01:00-a", &[message(60.0, 0.0, "a", "end", None)]);
    write("2026-11-20T10/02:00-a", &[message(59.0, 0.0, "a", "too late a batch", None)]);
    write("2026-11-20T10/00:30-deleted", &[message(40.0, 0.0, "a", "deleted", None)]);
    site.write("s/chat/2026-11-20T10/00:30-deleted.tombstone", b"");
    site.write("s/chat/2026-11-20T10/notes.json", b"{}");

    let all = [
        ("late", -120.0, 125.0, 1),
        ("said", 2.0, 0.0, 2),
        ("changed", 5.0, 0.0, 1),
        ("otherwise", 5.0, 0.0, 1),
        ("joined", 18.0, 2.0, 2),
        ("twice", 30.0, 0.0, 1),
        ("twice", 30.0, 0.0, 2),
    ];
    let rows: [(&str, &[_]); 5] = [
        ("start=2026-11-20T10&end=2026-11-20T10:01", &all[..]),
        ("start=1795168800&duration=60", &all),
        ("start=2026-11-20T10:00:20&end=2026-11-20T10:00:20.000001", &all[4..5]),
        ("start=2026-11-20T10:00:20.001&end=2026-11-20T10:00:30", &[]),
        ("start=2026-11-21&end=2026-11-21T02", &[]),
    ];
    for (query, messages) in rows {
        let (mut found, mut expected) = (shown(&site, query), expected(messages));
        // Which of two equal messages the other receiver's copy belongs to is not said.
        found.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.3.cmp(&b.3)).then(a.0.cmp(&b.0)));
        expected.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.3.cmp(&b.3)).then(a.0.cmp(&b.0)));
        assert_eq!(found, expected, "{query}");
    }

    // What wubloader's backfiller asks for.
    assert_eq!(site.get("/files/s/chat").text(), r#"["2026-11-20T09","2026-11-20T10"]"#);
    let names = site.get("/files/s/chat/2026-11-20T09?tombstones=true").text();
    assert_eq!(names, r#"["57:59-x.json","58:00-x.json"]"#);
    let batch = site.get("/segments/s/chat/2026-11-20T09/58:00-x.json");
    assert_eq!((batch.status, batch.text()), (200, message(-120.0, 125.0, "a", "late", None)));
    assert_eq!(site.get("/segments/s/chat/2026-11-20T09/58:00-merged.json").status, 404);
}

#[test]
fn the_range_is_checked_and_the_answer_has_an_entity_tag() {
    let site = Site::at("2026-11-20T10:00:30");
    let rows = [
        ("", 400, "missing start: expected a range, as in `start="),
        ("start=2026-11-20T10", 400, "missing end: expected a range"),
        ("start=x&end=2026-11-20T10", 400, "bad start `x`: expected a time"),
        ("start=2026-11-20T10&end=2026-11-20T10", 400, "End must be after start\n"),
        ("start=now&end=now-1s", 400, "End must be after start\n"),
        ("start=2026-11-20T10&end=2026-11-20T12:00:00.001", 400, "Cannot request more than 2h of chat\n"),
        ("start=2026-11-20T10&end=2026-11-20T12", 200, "[]"),
        ("start=0001-01-01&end=0001-01-01T01", 200, "[]"),
        ("start=9999-12-31T23&duration=59m", 200, "[]"),
        ("start=-10s&end=live", 200, "[]"),
    ];
    for (query, status, text) in rows {
        let answer = site.get(&format!("/s/chat.json?{query}"));
        assert!(answer.status == status && answer.text().starts_with(text), "{query}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    let lines: Vec<_> = (0..20).map(|at| message(f64::from(at), 0.0, "a", "x", None)).collect();
    site.write("s/chat/2026-11-20T10/00:00-x.json", lines.join("\n").as_bytes());
    site.write("s/v/2026-11-20T10/00:00.000-20.000-full-x.ts", b"");
    for query in ["start=now-30s&end=now", "start=-20s&end=live"] {
        assert_eq!(shown(&site, query).len(), 20, "{query}");
    }
    let target = "/s/chat.json?start=live-15s&end=live";
    let answer = ask(site.address, "GET", target, &[("Accept-Encoding", "gzip")]);
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert_eq!(answer.header("x-range-start"), "2026-11-20T10:00:05.000000Z");
    let again = ask(site.address, "GET", target, &[("If-None-Match", answer.header("etag"))]);
    assert_eq!((again.status, again.header("vary")), (304, "Accept-Encoding"));

    // More than is held in memory, though none of it is on the disk.
    let path = site.write("s/chat/2026-11-20T10/00:00-y.json", b"");
    File::options().write(true).open(path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    let answer = site.get(target);
    assert!(answer.status == 413 && answer.text().contains("ask for a shorter one"), "{answer:?}");
}
