//! Times in requests: relative ones and what they resolve to, durations, missing ends, and the addresses of IPTV players.

use restreamer::timestamp::{Span, Timestamp};

use crate::harness::{Answer, Site, ask, time};

const NOON: &str = "2026-11-20T12:00:00";

/// Writes two-second segments of a variant from `start` on.
fn record(site: &Site, variant: &str, start: &str, count: i64) {
    for index in 0..count {
        write(site, variant, time(start) + Span::from_secs(2 * index), "2.000-full-x");
    }
}

/// Writes a segment that starts at `start`; `rest` is its name after that.
fn write(site: &Site, variant: &str, start: Timestamp, rest: &str) {
    let (hour, in_hour) = (start.hour(), (start - start.hour().start()).micros() / 1_000_000);
    let name = format!("{:02}:{:02}.000-{rest}.ts", in_hour / 60, in_hour % 60);
    site.write(&format!("s/{variant}/{hour}/{name}"), b"0123456789");
}

/// When the segments of a playlist start, without date and fraction.
fn starts(playlist: &Answer) -> Vec<String> {
    let text = playlist.text();
    let times = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"));
    times.map(|time| time["2026-11-20T".len()..].trim_end_matches(".000000Z").to_owned()).collect()
}

fn range(answer: &Answer) -> (&str, &str) {
    let shown = |name| answer.header(name).trim_end_matches(".000000Z");
    (shown("x-range-start"), shown("x-range-end"))
}

/// A recording of a minute until 11:00:00, an hour before now.
fn site() -> Site {
    let site = Site::at(NOON);
    record(&site, "v", "2026-11-20T10:59:00", 30);
    site
}

#[test]
fn playlists_take_every_form_of_a_time_and_say_what_relative_ones_mean() {
    let site = site();
    let rows = [
        ("start=2026-11-20T10:59:56", "10:59:56 10:59:58", ("", "")),
        ("start=1795172396&end=1795172398", "10:59:56", ("", "")),
        ("start=1795172396.5&duration=0.5", "10:59:56", ("", "")),
        ("end=2026-11-20T10:59:04&duration=4s", "10:59:00 10:59:02", ("", "")),
        ("start=now-1h0m4s&end=now", "10:59:56 10:59:58", ("2026-11-20T10:59:56", NOON)),
        ("start=now-1h0m4s&duration=2", "10:59:56", ("2026-11-20T10:59:56", "2026-11-20T10:59:58")),
        ("start=2026-11-20T10:59:58&end=now+1h", "10:59:58", ("2026-11-20T10:59:58", "2026-11-20T13:00:00")),
        (
            "start=2026-11-20T10:59:58&end=now%2B1h",
            "10:59:58",
            ("2026-11-20T10:59:58", "2026-11-20T13:00:00"),
        ),
        ("start=-4s", "10:59:54 10:59:56 10:59:58", ("2026-11-20T10:59:56", "2026-11-20T12:00:00")),
        ("start=-4s&end=live-2s", "10:59:56", ("2026-11-20T10:59:56", "2026-11-20T10:59:58")),
        ("start=live-4s&duration=2s", "10:59:56", ("2026-11-20T10:59:56", "2026-11-20T10:59:58")),
        ("end=live&duration=2000ms", "10:59:58", ("2026-11-20T10:59:58", "2026-11-20T11:00:00")),
        ("start=now", "10:59:54 10:59:56 10:59:58", (NOON, NOON)),
        ("start=now&end=now", "", (NOON, NOON)),
        ("start=now-100000000d&end=-58s", "10:59:00", ("0001-01-01T00:00:00", "2026-11-20T10:59:02")),
    ];
    for (query, segments, resolved) in rows {
        let answer = site.get(&format!("/playlist/s/v.m3u8?{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        assert_eq!(starts(&answer).join(" "), segments, "{query}");
        assert_eq!(range(&answer), resolved, "{query}");
        assert!(answer.header("access-control-expose-headers").contains(",X-Range-Start,X-Range-End"));
        let is_relative = resolved != ("", "");
        let is_finished = answer.text().contains("#EXT-X-ENDLIST");
        let expected = if is_finished && !is_relative { "max-age=60" } else { "max-age=1" };
        assert_eq!(answer.header("cache-control"), expected, "{query}");
        let head = ask(site.address, "HEAD", &format!("/playlist/s/v.m3u8?{query}"), &[]);
        assert_eq!((head.status, range(&head)), (200, resolved), "{query}");
    }
}

#[test]
fn bad_times_are_quoted_beside_good_ones() {
    let site = site();
    for (query, shown) in [
        ("start=-1h30", "bad start `-1h30`: expected a time such as `2026-11-20T10:55:02.123`"),
        ("end=now-", "bad end `now-`: expected a time such as"),
        ("end=tomorrow", "bad end `tomorrow`: expected a time such as"),
        ("start=-1h&duration=-5s", "bad duration `-5s`: expected a length of time such as `30s`"),
        ("duration=30s", "missing start or end: expected one of them beside `duration`, as in `start="),
        (
            "start=-1m&end=now&duration=30s",
            "bad duration `30s`: expected `start` or `end` beside it, not both",
        ),
    ] {
        for path in ["/playlist/s.m3u8", "/playlist/s/v.m3u8", "/cut/s/v.ts"] {
            let answer = site.get(&format!("{path}?{query}"));
            assert_eq!(answer.status, 400, "{path}?{query}");
            assert!(answer.text().starts_with(shown), "{path}?{query}: {}", answer.text());
            assert_eq!(answer.header("access-control-allow-origin"), "*");
        }
    }
}

#[test]
fn the_live_end_is_the_greatest_end_of_full_segments_whenever_that_was() {
    let site = Site::at("2026-12-24T18:00:00");
    let resolved = |variant: &str| {
        let answer = site.get(&format!("/playlist/s/{variant}.m3u8?start=live&end=now"));
        if answer.status == 404 {
            assert!(answer.text().starts_with("nothing has been recorded"), "{}", answer.text());
            return "none".to_owned();
        }
        range(&answer).0.to_owned()
    };
    // Weeks ago, and newer hours have no `full` segment.
    record(&site, "old", "2026-11-20T10:59:00", 2);
    write(&site, "old", time("2026-11-20T10:59:04"), "2.000-suspect-x");
    write(&site, "old", time("2026-11-21T10:00:00"), "2.000-partial-x");
    write(&site, "old", time("2026-11-22T10:00:00"), "2.000-temp-x");
    write(&site, "old", time("2026-11-23T10:00:00"), "2.000-full-x");
    site.write("s/old/2026-11-23T10/00:00.000-2.000-full-x.tombstone", b"");
    assert_eq!(resolved("old"), "2026-11-20T10:59:04");
    // The segment that starts last does not end last.
    write(&site, "long", time("2026-11-20T10:50:00"), "1800.000-full-x");
    write(&site, "long", time("2026-11-20T11:00:00"), "2.000-full-x");
    assert_eq!(resolved("long"), "2026-11-20T11:20:00");
    // Of equal starts the longest `full` one counts.
    for rest in ["2.000-full-x", "4.000-full-y", "6.000-suspect-z"] {
        write(&site, "double", time("2026-11-20T10:00:00"), rest);
    }
    assert_eq!(resolved("double"), "2026-11-20T10:00:04");
    // A clock that was ahead.
    record(&site, "future", "2027-01-01T00:00:00", 1);
    assert_eq!(resolved("future"), "2027-01-01T00:00:02");
    write(&site, "partial", time("2026-11-20T10:00:00"), "2.000-partial-x");
    assert_eq!(resolved("partial"), "none");
    let cut = site.get("/cut/s/partial.ts?type=rough&start=-30s&allow_holes=true");
    assert_eq!(cut.status, 406);
    assert_eq!(cut.text(), "We have no content available within the requested time range.\n");

    // It moves as the recording goes on.
    record(&site, "old", "2026-12-24T17:59:56", 1);
    assert_eq!(resolved("old"), "2026-12-24T17:59:58");
}

#[test]
fn every_variant_of_a_multivariant_playlist_has_its_own_live_end() {
    let site = site();
    record(&site, "behind", "2026-11-20T10:30:00", 5);
    write(&site, "partial", time("2026-11-20T10:59:00"), "2.000-partial-x");
    let list = site.get("/playlist/s.m3u8?start=live+-4s");
    assert_eq!(list.status, 400, "a sign too many");
    for query in ["start=-4s&end=live%2B0s", "start=live-4s&duration=4"] {
        let list = site.get(&format!("/playlist/s.m3u8?{query}"));
        assert_eq!((list.status, list.header("cache-control")), (200, "max-age=1"));
        // From the earliest start to the latest end.
        assert_eq!(range(&list), ("2026-11-20T10:30:06", "2026-11-20T11:00:00"), "{query}");
        let text = list.text();
        let uris: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(uris.len(), 2, "{text}");
        for uri in uris {
            let (media, expected) = (
                site.get(&format!("/playlist/{uri}")),
                if uri.contains("behind") { "10:30:06 10:30:08" } else { "10:59:56 10:59:58" },
            );
            assert_eq!(starts(&media).join(" "), expected, "{uri}");
        }
    }
    let list = site.get("/playlist/s.m3u8?start=now+1h");
    assert_eq!(list.text().lines().count(), 2, "{}", list.text());
    assert_eq!(range(&list), ("", ""));
    assert_eq!(range(&site.get("/playlist/s.m3u8?start=2026-11-20T10")), ("", ""));
}

#[test]
fn an_unchanged_relative_playlist_is_a_304_and_a_changed_one_is_not() {
    let site = site();
    for target in [
        "/playlist/s/v.m3u8?start=-30s",
        "/playlist/s/v.m3u8?start=-30s&end=live",
        "/playlist/s.m3u8?start=-30s",
    ] {
        let first = site.get(target);
        let again = ask(site.address, "GET", target, &[("If-None-Match", first.header("etag"))]);
        assert_eq!((again.status, range(&again)), (304, range(&first)), "{target}");
        assert_eq!(again.header("cache-control"), "max-age=1", "{target}");
    }
    let target = "/playlist/s/v.m3u8?start=-30s&end=live";
    let before = site.get(target);
    record(&site, "v", "2026-11-20T11:00:00", 1);
    let after = ask(site.address, "GET", target, &[("If-None-Match", before.header("etag"))]);
    assert_eq!((after.status, range(&after)), (200, ("2026-11-20T10:59:32", "2026-11-20T11:00:02")));
    assert_eq!((starts(&before).len(), starts(&after).len()), (15, 15));
    // The range of a time relative to the clock moves with the clock.
    let target = "/playlist/s/v.m3u8?start=now-90s&end=now";
    site.set_clock("2026-11-20T11:00:20");
    let before = site.get(target);
    site.set_clock("2026-11-20T11:00:40");
    let after = ask(site.address, "GET", target, &[("If-None-Match", before.header("etag"))]);
    assert_eq!((after.status, starts(&before).len(), starts(&after).len()), (200, 31, 26));
}

#[test]
fn cuts_have_relative_ranges_durations_and_ends_that_may_be_missing() {
    let site = site();
    let from =
        |start: &str, end: &str| (format!("2026-11-20T{start}.000000Z"), format!("2026-11-20T{end}.000000Z"));
    let rows = [
        ("", from("10:59:00", "11:00:00"), 30),
        ("&start=-30s", from("10:59:30", "11:00:00"), 15),
        ("&start=now-1h0m30s", from("10:59:30", "11:00:00"), 15),
        ("&start=-30s&duration=10s", from("10:59:30", "10:59:40"), 5),
        ("&end=2026-11-20T10:59:10", from("10:59:00", "10:59:10"), 5),
        ("&end=-50s", from("10:59:00", "10:59:10"), 5),
        ("&end=live&duration=2", from("10:59:58", "11:00:00"), 1),
        ("&start=1795172396", from("10:59:56", "11:00:00"), 2),
    ];
    for (query, (start, end), segments) in rows {
        for method in ["GET", "HEAD"] {
            let answer = ask(site.address, method, &format!("/cut/s/v.ts?type=rough{query}"), &[]);
            assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            assert_eq!(
                (answer.header("x-cut-start"), answer.header("x-cut-end")),
                (&*start, &*end),
                "{query}"
            );
            assert_eq!(answer.header("content-length"), (segments * 10).to_string(), "{query}");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(range(&answer), ("", ""));
        }
    }
    for (query, status, shown) in [
        ("&start=now&end=-30s", 400, "End must be after start"),
        ("&start=live&end=live", 400, "End must be after start"),
        ("&start=-30s&duration=0", 400, "End must be after start"),
        ("&start=now", 406, "We have no content available"),
        ("&end=2026-11-20T10:59:00", 406, "We have no content available"),
        ("&end=now", 406, "Requested time range contains holes"),
    ] {
        let answer = site.get(&format!("/cut/s/v.ts?type=rough{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert!(answer.text().starts_with(shown), "{query}: {}", answer.text());
    }
    for query in ["", "?start=-30s", "?end=live"] {
        let answer = site.get(&format!("/cut/s/none.ts{query}"));
        assert_eq!((answer.status, answer.text().starts_with("there is no variant `none`")), (404, true));
    }
    std::fs::create_dir_all(site.archive.path().join("s/empty")).expect("a variant");
    for query in ["", "?start=-30s", "?end=now", "?start=2026-11-20"] {
        assert_eq!(site.get(&format!("/cut/s/empty.ts{query}")).status, 406, "{query}");
    }
}

/// What a player gets at an address: segments with what players do with them, or a status.
fn outcome(site: &Site, target: &str) -> String {
    let answer = site.get(target);
    let text = answer.text();
    assert_eq!(answer.header("access-control-allow-origin"), "*", "{target}");
    if answer.status != 200 {
        let is_redirect = answer.status == 302;
        assert_eq!(
            (answer.header("cache-control"), text.lines().count()),
            ("no-store", usize::from(!is_redirect))
        );
        assert_eq!(range(&answer).0, if is_redirect { "2026-11-20T10:59:56" } else { "" }, "{target}");
        return format!("{} {}", answer.status, answer.header("location")).trim_end().to_owned();
    }
    let kind = if text.ends_with("#EXT-X-ENDLIST\n") { "finished" } else { "live" };
    let from_start = if text.contains("\n#EXT-X-START:TIME-OFFSET=0\n") { " from start" } else { "" };
    format!("{kind}{from_start} {}", starts(&answer).join(" ")).trim_end().to_owned()
}

/// A recording of a minute that ended five seconds ago.
fn on_air() -> Site {
    let site = Site::at("2026-11-20T11:00:05");
    record(&site, "v", "2026-11-20T10:59:00", 30);
    site
}

#[test]
fn addresses_of_other_servers_are_answered() {
    let site = on_air();
    let rows = [
        // Flussonic: a programme, one that is on air, a delayed stream, a stream that is so long behind.
        ("archive-1795172340-4.m3u8", "finished 10:59:00 10:59:02"),
        ("archive-1795172396-60.m3u8", "live 10:59:56 10:59:58"),
        ("archive-1795172340-0.m3u8", "live"),
        ("archive-1795172396-now.m3u8", "live 10:59:56 10:59:58"),
        ("timeshift_abs-1795172396.m3u8", "live from start 10:59:56 10:59:58"),
        ("timeshift_rel-9.m3u8", "302 timeshift_abs-1795172396.m3u8"),
        ("timeshift_rel-9.m3u8?token=x", "302 timeshift_abs-1795172396.m3u8?token=x"),
        ("timeshift_abs-1795172396.m3u8?token=x", "live from start 10:59:56 10:59:58"),
        // Nimble Streamer.
        ("playlist_dvr_range-1795172340-4.m3u8", "finished 10:59:00 10:59:02"),
        ("playlist_dvr_range-1795172396-now.m3u8", "live 10:59:56 10:59:58"),
        // A template that was not filled in, and what is not served.
        ("archive-{utc}-{duration}.m3u8", "400"),
        ("archive-1795172340.m3u8", "400"),
        ("timeshift_rel--5.m3u8", "400"),
        ("timeshift_rel-9.ts", "404"),
        ("index.m3u8", "404"),
        ("mono-timeshift_rel-9.m3u8", "404"),
    ];
    for (name, expected) in rows {
        assert_eq!(outcome(&site, &format!("/playlist/s/v/{name}")), expected, "{name}");
    }
    assert_eq!(outcome(&site, "/playlist/s/none/archive-1795172340-4.m3u8"), "404");
    assert_eq!(outcome(&site, "/playlist/s/.v/archive-1795172340-4.m3u8"), "403");
    let etag = site.get("/playlist/s/v/timeshift_abs-1795172396.m3u8");
    let unchanged = [("If-None-Match", etag.header("etag"))];
    let other = ask(site.address, "GET", "/playlist/s/v/archive-1795172396-now.m3u8", &unchanged);
    assert_eq!(other.status, 200, "only one of the two has EXT-X-START");
}

#[test]
fn addresses_of_the_list_of_channels_are_answered_as_kodi_fills_them_in() {
    let site = on_air();
    let channels = site.get("/channels.m3u").text();
    let (_, source) = channels.split_once("catchup-source=\"http://test").expect("a source");
    let (source, rest) = source.split_once('"').expect("an end");
    let live = rest.lines().nth(1).and_then(|url| url.strip_prefix("http://test")).expect("an address");
    // IPTV Simple writes whole seconds. A programme that is on air lasts until now.
    let filled = |utc: &str, duration: &str| source.replace("{utc}", utc).replace("{duration}", duration);
    let rows = [
        (filled("1795172340", "4"), "finished 10:59:00 10:59:02"),
        (filled("1795172396", "9"), "live 10:59:56 10:59:58"),
        (filled("1795172340", "0"), "live"),
        (live.replace("-2h", "-4s"), "live 10:59:54 10:59:56 10:59:58"),
    ];
    for (target, expected) in rows {
        let multivariant = site.get(&target);
        assert_eq!(multivariant.status, 200, "{target}: {}", multivariant.text());
        let text = multivariant.text();
        let media = format!("/playlist/{}", text.lines().last().expect("a line"));
        assert_eq!(outcome(&site, &media), expected, "{target}");
    }
    assert_eq!(site.get(live).status, 200);
}

#[test]
fn channels_have_absolute_addresses_by_the_headers_of_the_request() {
    let site = site();
    record(&site, "w", "2026-11-14T10:00:00", 1);
    site.write("a \"b\"/v/2026-11-20T10/00:00.000-2.000-full-x.ts", b"");
    site.write("only/chat/2026-11-20T10/x.json", b"");
    std::fs::create_dir_all(site.archive.path().join("empty/v")).expect("a variant");
    let channels = |headers: &[(&str, &str)]| {
        let answer = ask(site.address, "GET", "/channels.m3u", headers);
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
        assert_eq!(answer.header("content-type"), "audio/x-mpegurl; charset=utf-8");
        answer.text()
    };
    let expected = "#EXTM3U\n\
        #EXTINF:-1 tvg-id=\"a %22b%22\" tvg-name=\"a %22b%22\" catchup=\"default\" catchup-days=\"1\" \
        catchup-source=\"http://test/playlist/a%20%22b%22.m3u8?start={utc}&duration={duration}\",a %22b%22\n\
        http://test/playlist/a%20%22b%22.m3u8?start=-2h\n\
        #EXTINF:-1 tvg-id=\"s\" tvg-name=\"s\" catchup=\"default\" catchup-days=\"7\" \
        catchup-source=\"http://test/playlist/s.m3u8?start={utc}&duration={duration}\",s\n\
        http://test/playlist/s.m3u8?start=-2h\n";
    assert_eq!(channels(&[]), expected);
    let forwarded = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "tv.example:8443"),
        ("X-Forwarded-Prefix", "/x/y/"),
    ];
    assert_eq!(channels(&forwarded), expected.replace("http://test", "https://tv.example:8443/x/y"));
    for header in [
        ("X-Forwarded-Host", "evil\"\u{20}x"),
        ("X-Forwarded-Prefix", "//evil.example"),
        ("X-Forwarded-Prefix", "/{utc}"),
        ("X-Forwarded-Proto", "javascript"),
    ] {
        assert_eq!(channels(&[header]), expected, "{header:?}");
    }
    let front = ask(site.address, "GET", "/", &forwarded).text();
    assert!(front.contains("curl https://tv.example:8443/x/y/channels.m3u\n"), "{front}");
    assert!(front.contains(".ts?start=-30s&type=smart'\n"), "{front}");
    let head = ask(site.address, "HEAD", "/channels.m3u", &[]);
    assert_eq!((head.status, head.header("content-length")), (200, &*expected.len().to_string()));
    assert_eq!(Site::at(NOON).get("/channels.m3u").text(), "#EXTM3U\n");
}
