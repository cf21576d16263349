"""Playlists, lists and segments, compared with nginx sending the same bytes as static files, and with `find`."""

import base64
import dataclasses
import datetime
import hashlib
import os
import re
import shutil
import threading
import time
import urllib.request

from measure import (
    RUN_TIMEOUT, Case, Goal, Timing, end, fail, fetch, figure, load, memory, say, serve, serve_nginx, start,
)

MONTH_START = datetime.datetime(2026, 10, 1)
MONTH_HOURS = 30 * 24
SEGMENT_SECONDS = 2
SEGMENTS_PER_HOUR = 3600 // SEGMENT_SECONDS
SEGMENT_BYTES = 1_500_000
DAY = "/playlist/month/source.m3u8?start=2026-10-10T00&end=2026-10-11T00"
WINDOW = "/playlist/month/source.m3u8?start=-24h"
MONTH = "/playlist/month/source.m3u8?start=2026-10-01T00&end=2026-10-31T00"
PLAYERS = 50


@dataclasses.dataclass
class Live:
    """Results of players that reload a live playlist."""
    p99: float = figure("p99, ms", "{:.2f}")
    reads: float = figure("directory reads per change", "{:.2f}")
    requests: float = figure("requests", "{:.0f}")


@dataclasses.dataclass
class Size:
    """Memory, start time and binary size of the server."""
    memory: float = figure("memory when idle, MiB", "{:.1f}")
    started: float = figure("start to first response, ms", "{:.1f}")
    binary: float = figure("binary, MiB", "{:.2f}")


def hour_name(number):
    return (MONTH_START + datetime.timedelta(hours=number)).strftime("%Y-%m-%dT%H")


def segment_name(index):
    """The name of a segment within its hour, with a hash of the form that recorders write."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(str(index).encode()).digest()).decode().rstrip("=")
    minute, second = divmod(index * SEGMENT_SECONDS, 60)
    return f"{minute:02}:{second:02}.000-{SEGMENT_SECONDS}.000-full-{digest}.ts"


def month(cache):
    """Creates an archive of a month unless it exists: hard links to one file per hour."""
    archive = cache / "month"
    complete = cache / "month.complete"
    if complete.exists() and complete.read_text() == segment_name(1):
        return archive
    shutil.rmtree(archive, ignore_errors=True)
    say(f"creating {MONTH_HOURS * SEGMENTS_PER_HOUR:,} files in {archive}, once")
    for number in range(MONTH_HOURS):
        hour = archive / "month/source" / hour_name(number)
        hour.mkdir(parents=True, exist_ok=True)
        first = hour / segment_name(0)
        first.write_bytes(os.urandom(SEGMENT_BYTES) if number == 0 else b"x")
        for index in range(1, SEGMENTS_PER_HOUR):
            os.link(first, hour / segment_name(index))
    # The server does not cache a directory that has changed within its clock granularity.
    time.sleep(0.1)
    complete.write_text(segment_name(1))
    return archive


def read(url):
    """Requests a URL; returns body and ETag."""
    with urllib.request.urlopen(url, timeout=60) as response:
        return response.read(), response.headers["ETag"]


# ---- Playlists ---------------------------------------------------------------------------------------------

def playlist_cases(bench):
    """Playlists of a day and of a month, with and without cached directories, and a live playlist."""
    archive = month(bench.cache)
    days = [archive / "month/source" / hour_name(number) for number in range(9 * 24, 10 * 24)]
    server = serve(bench.binary, archive, bench.log)
    shared = bench.work / "nginx"
    shared.mkdir(exist_ok=True)
    text, _ = read(server[1] + DAY)
    (shared / "day.m3u8").write_bytes(text)
    peer = serve_nginx(shared, bench.work)
    nginx, find, fresh = "nginx, the same text as a file", "`find` over the directories", "24 hours, fresh process"
    entries = text.count(b"#EXTINF")
    yield Case(f"24 hours, cached directories ({entries:,} segments, {len(text) / 1e6:.1f} MB)", {
        "24 hours": lambda: fetch(server, DAY),
        nginx: lambda: fetch(peer, "/day.m3u8"),
    }, [Goal("total, relative to nginx", lambda runs: runs["24 hours"].total / runs[nginx].total, 3)], times=6)

    yield Case("24 hours, fresh process", {
        fresh: lambda: fetch_fresh(bench, archive, DAY),
        find: lambda: timed(["find", *days]),
    }, [Goal("total, relative to `find`", lambda runs: runs[fresh].total / runs[find].total, 2)], times=3)

    yield Case("24 hours, gzip and 304", {
        "plain": lambda: fetch(server, DAY),
        "gzip": lambda: fetch(server, DAY, "-H", "Accept-Encoding: gzip"),
        "304": lambda etag=read(server[1] + DAY)[1]: fetch(server, DAY, "-H", f"If-None-Match: {etag}"),
    }, [], times=2)

    reload, update_bytes = "reload of a live window", len(read(server[1] + WINDOW + "&_HLS_skip=YES")[0])
    yield Case("live window of 24 hours", {
        reload: lambda: load(server, WINDOW + "&_HLS_skip=YES", 1),
        "all of it": lambda: load(server, WINDOW, 1),
    }, [Goal("processor time of a reload", lambda runs: runs[reload].cpu / 1000, 1, "ms"),
        Goal("bytes of a reload", lambda runs: update_bytes, 4096, "bytes")])

    peaks = []
    long, repeated = "30 days, fresh process", "30 days, repeated"
    month_server = serve(bench.binary, archive, bench.log)
    yield Case("30 days (1.3 million segments, 229 MB)", {
        long: lambda: fetch_fresh(bench, archive, MONTH, peaks=peaks),
        repeated: lambda: fetch(month_server, MONTH),
        fresh: lambda: fetch_fresh(bench, archive, DAY),
    }, [Goal("time per segment, relative to 24 hours", lambda runs: runs[long].total / runs[fresh].total / 30, 1.25),
        Goal("peak memory", lambda runs: max(peaks), 100, "MiB")])
    yield live_case(bench)


def fetch_fresh(bench, archive, path, *options, into=os.devnull, peaks=None):
    """Requests a path from a freshly started server."""
    server = serve(bench.binary, archive, bench.log)
    try:
        timing = fetch(server, path, *options, into=into)
        if peaks is not None:
            peaks.append(memory(server[0], "VmHWM"))
        return timing
    finally:
        end(server[0])


def timed(args):
    began = time.perf_counter()
    process = start(args, stdout=open(os.devnull, "wb"))
    if process.wait(RUN_TIMEOUT):
        fail(f"`{args[0]}` failed")
    total = time.perf_counter() - began
    end(process)
    return Timing(total, total, 0.0)


def live_case(bench):
    """Players reload a live playlist while a recorder adds a segment every 2 s."""
    def run():
        archive = bench.work / "live"
        now = datetime.datetime.now(datetime.timezone.utc)
        hour = archive / "live/source" / now.strftime("%Y-%m-%dT%H")
        hour.mkdir(parents=True, exist_ok=True)
        server = serve(bench.binary, archive, bench.log)
        script = bench.work / "players.lua"
        # A random delay of 1 to 2 s spreads the requests.
        script.write_text("function delay() return math.random(1000, 2000) end\n")
        stop, changes = threading.Event(), []
        recorder = threading.Thread(target=record, args=(hour, stop, changes))
        recorder.start()
        try:
            path = "/playlist/live/source.m3u8?start=" + now.strftime("%Y-%m-%dT%H")
            time.sleep(3)
            reads_before, changes_before = cache_misses(server[1]), len(changes)
            loaded = load(server, path, PLAYERS, seconds=20, script=script)
            reads = (cache_misses(server[1]) - reads_before) / (len(changes) - changes_before)
        finally:
            stop.set()
            recorder.join()
            end(server[0])
        return Live(loaded.p99, reads, loaded.rate * 20)

    return Case(f"live playlist, {PLAYERS} players", {"live": run}, [
        Goal("p99", lambda runs: runs["live"].p99, 10, "ms"),
        Goal("directory reads per change", lambda runs: runs["live"].reads, 2, ""),
    ])


def record(hour, stop, changes):
    """Adds a segment every 2 s. Each changes its directory twice: the file is created, then renamed."""
    hidden = hour / ".part"
    while not stop.is_set():
        now = datetime.datetime.now(datetime.timezone.utc)
        hidden.write_bytes(b"x")
        changes.append("created")
        stop.wait(0.1)
        hidden.rename(hour / f"{now.strftime('%M:%S')}.000-2.000-full-{len(changes)}.ts")
        changes.append("renamed")
        stop.wait(1.9)


def cache_misses(url):
    """How many directories a server has read so far."""
    page, _ = read(url + "/metrics")
    return float(re.search(rb"^hour_cache_misses_total (\S+)", page, re.MULTILINE)[1])


# ---- Coverage ----------------------------------------------------------------------------------------------

def coverage_cases(bench):
    """What was recorded in a month, compared with `find`, and the answer for a month with gaps."""
    archive = month(bench.cache)
    cold, find, warm = "fresh process", "`find` over the month", "repeated"
    path = "/coverage/month/source.json?scale=60"
    server = serve(bench.binary, archive, bench.log)
    read(server[1] + path)
    peaks = []
    yield Case("coverage of a month (1.3 million segments)", {
        cold: lambda: fetch_fresh(bench, archive, path, peaks=peaks),
        find: lambda: timed(["find", archive, "-type", "f"]),
        warm: lambda: fetch(server, path),
    }, [Goal("total, relative to `find`", lambda runs: runs[cold].total / runs[find].total, 1.5),
        Goal("repeated", lambda runs: runs[warm].total * 1e3, 10, "ms"),
        Goal("peak memory", lambda runs: max(peaks), 100, "MiB")], times=3)

    gaps = serve(bench.binary, month_with_gaps(bench.work / "gaps"), bench.log)
    bytes_of = {name: len(read(gaps[1] + "/coverage/gaps/source" + name)[0]) for name in (".json?scale=60", ".svg")}
    yield Case("coverage of a month with gaps", {
        "scale=60": lambda: fetch(gaps, "/coverage/gaps/source.json?scale=60"),
        "all holes": lambda: fetch(gaps, "/coverage/gaps/source.json"),
        "picture": lambda: fetch(gaps, "/coverage/gaps/source.svg"),
    }, [Goal("bytes at scale=60", lambda runs: bytes_of[".json?scale=60"] / 1e3, 50, "kB"),
        Goal("bytes of the picture", lambda runs: bytes_of[".svg"] / 1e3, 500, "kB")], times=3)


def month_with_gaps(archive):
    """A month of segments of 30 s: one in 61 is missing, and four in a row in every fifth hour."""
    for number in range(MONTH_HOURS):
        hour = archive / "gaps/source" / hour_name(number)
        hour.mkdir(parents=True)
        for index in range(120):
            is_long = number % 5 == 0 and 80 <= index < 84
            if not is_long and (number * 120 + index) % 61:
                (hour / f"{index // 2:02}:{index % 2 * 30:02}.000-30.000-full-{index}.ts").touch()
    # The server does not cache a directory that has changed within its clock granularity.
    time.sleep(0.1)
    return archive


# ---- Serving -----------------------------------------------------------------------------------------------

def serving_cases(bench):
    """Segments, lists and 304s under load, and the size of the server."""
    archive = month(bench.cache)
    server = serve(bench.binary, archive, bench.log)
    hour = hour_name(0)
    listing = f"/files/month/source/{hour}"
    segment = f"/segments/month/source/{hour}/{segment_name(0)}".replace(":", "%3A")
    shared = bench.work / "serving"
    (shared / "segments").mkdir(parents=True)
    (shared / "segments/month").symlink_to(archive / "month")
    text, _ = read(server[1] + listing)
    (shared / "names.json").write_bytes(text)
    peer = serve_nginx(shared, bench.work)
    ours, nginx = "ours", "nginx"

    def case(name, run, paths, goals, times=1):
        runs = {ours: lambda: run(server, paths[0]), nginx: lambda: run(peer, paths[-1])}
        return Case(name, runs, goals, times)

    def rate(least):
        return Goal("requests/s, relative to nginx", lambda runs: runs[ours].rate / runs[nginx].rate, least, at_least=True)

    yield case("a segment of 1.5 MB, 16 connections", lambda at, path: load(at, path, 16), [segment], [
        rate(0.95), Goal("CPU time per GB, relative to nginx", lambda runs: runs[ours].cpu / runs[nginx].cpu, 1 / 0.95)], times=4)
    closing = ("-H", "Connection: close")
    yield case("a segment of 1.5 MB, one connection per request", lambda at, path: load(at, path, 1, *closing), [segment],
               [rate(0.8)])
    yield case(f"list of an hour ({len(text) / 1e3:.0f} kB), 16 connections", lambda at, path: load(at, path, 16),
               [listing, "/names.json"], [rate(1)])
    etags = {at[1]: read(at[1] + segment)[1] for at in (server, peer)}
    unchanged = lambda at, path: load(at, path, 16, "-H", f"If-None-Match: {etags[at[1]]}")
    yield case("304, 16 connections", unchanged, [segment], [rate(0.5)])
    yield many_case(bench, server)
    yield Case("size", {"ours": lambda: size(bench)}, [
        Goal("memory when idle", lambda runs: runs["ours"].memory, 10, "MiB"),
        Goal("start to first response", lambda runs: runs["ours"].started, 20, "ms"),
        Goal("binary", lambda runs: runs["ours"].binary, 5, "MiB"),
    ], times=3)


def many_case(bench, server):
    """Many keep-alive connections with few requests each."""
    def requesting(connections, delay):
        script = bench.work / f"delay-{delay}.lua"
        script.write_text(f"function delay() return {delay} end\n")
        return lambda: load(server, "/files/month", connections, seconds=8, threads=2, script=script)

    many, few = "1,000 connections, 1 request/s each", "16 connections, as many requests/s"
    return Case("keep-alive connections", {many: requesting(1000, 1000), few: requesting(16, 16)}, [
        Goal("p99", lambda runs: runs[many].p99, 20, "ms"),
        Goal("CPU time per request, relative to 16 connections", lambda runs: runs[many].cpu / runs[few].cpu, 1.5),
    ])


def size(bench):
    """Measures a freshly started server until its first response, then idle."""
    began = time.perf_counter()
    process, url = serve(bench.binary, month(bench.cache), bench.log)
    try:
        read(url + "/files")
        started = time.perf_counter() - began
        time.sleep(0.5)
        idle = memory(process, "VmRSS")
    finally:
        end(process)
    return Size(idle, started * 1e3, bench.binary.stat().st_size / 2**20)
