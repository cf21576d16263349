"""Playlists, lists and files beside nginx, which sends the same bytes as finished files, and `find`."""

import base64
import dataclasses
import datetime
import hashlib
import os
import pathlib
import re
import shutil
import threading
import time
import urllib.request

from measure import (
    FAR, TARGET, Case, Mark, Timing, build, end, fail, fetch, figure, load, say, serve, serve_nginx, start,
)

MONTH_START = datetime.datetime(2026, 10, 1)
MONTH_HOURS = 30 * 24
SEGMENT_SECONDS = 2
SEGMENTS_AN_HOUR = 3600 // SEGMENT_SECONDS
SEGMENT_BYTES = 1_500_000
DAY = "/playlist/month/source.m3u8?start=2026-10-10T00&end=2026-10-11T00"
MONTH = "/playlist/month/source.m3u8?start=2026-10-01T00&end=2026-10-31T00"
PLAYERS = 50


@dataclasses.dataclass
class Live:
    """Players that ask again and again for a list that grows."""
    p99: float = figure("p99, ms", "{:.2f}")
    readings: float = figure("readings a change", "{:.2f}")
    requests: float = figure("requests", "{:.0f}")


@dataclasses.dataclass
class Size:
    """How large a server is."""
    memory: float = figure("memory when idle, MiB", "{:.1f}")
    begun: float = figure("start to first answer, ms", "{:.1f}")
    binary: float = figure("binary, MiB", "{:.2f}")


def hour_name(number):
    return (MONTH_START + datetime.timedelta(hours=number)).strftime("%Y-%m-%dT%H")


def segment_name(index):
    """The name of a segment of an hour, with a hash as recorders write it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(str(index).encode()).digest()).decode().rstrip("=")
    minute, second = divmod(index * SEGMENT_SECONDS, 60)
    return f"{minute:02}:{second:02}.000-{SEGMENT_SECONDS}.000-full-{digest}.ts"


def month(cache):
    """An archive of a month of names, hard links of one file an hour, made unless it is there."""
    archive = cache / "month"
    made = cache / "month.made"
    if made.exists() and made.read_text() == segment_name(1):
        return archive
    shutil.rmtree(archive, ignore_errors=True)
    say(f"making {MONTH_HOURS * SEGMENTS_AN_HOUR:,} names in {archive}, once")
    for number in range(MONTH_HOURS):
        hour = archive / "month/source" / hour_name(number)
        hour.mkdir(parents=True, exist_ok=True)
        first = hour / segment_name(0)
        first.write_bytes(os.urandom(SEGMENT_BYTES) if number == 0 else b"x")
        for index in range(1, SEGMENTS_AN_HOUR):
            os.link(first, hour / segment_name(index))
    # What has changed just now is not remembered by the server.
    time.sleep(0.1)
    made.write_text(segment_name(1))
    return archive


def read(address):
    """The body that an address gives, and its ETag."""
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.read(), answer.headers["ETag"]


def peak_memory(process):
    """The most memory that a process has had, in MiB."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) / 1024


# ---- Playlists ---------------------------------------------------------------------------------------------

def playlist_cases(bench):
    """Playlists of a day and of a month, of hours that are known and of hours that are not, and one that grows."""
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
    yield Case(f"24 hours, known ({entries:,} segments, {len(text) / 1e6:.1f} MB)", {
        "24 hours": lambda: fetch(server, DAY),
        nginx: lambda: fetch(peer, "/day.m3u8"),
    }, [Mark("total, of nginx's", lambda of: of["24 hours"].total / of[nginx].total, 3)], times=6)

    yield Case("24 hours, never read before", {
        fresh: lambda: fetch_fresh(bench, archive),
        find: lambda: timed(["find", *days]),
    }, [Mark("total, of `find`'s", lambda of: of[fresh].total / of[find].total, 2)], times=3)

    yield Case("24 hours, gzip and unchanged", {
        "plain": lambda: fetch(server, DAY),
        "gzip": lambda: fetch(server, DAY, "-H", "Accept-Encoding: gzip"),
        "304": lambda etag=read(server[1] + DAY)[1]: fetch(server, DAY, "-H", f"If-None-Match: {etag}"),
    }, [], times=2)

    peaks = []
    long, again = "30 days, fresh process", "30 days, once more"
    keeper = serve(bench.binary, archive, bench.log)
    yield Case("30 days (1.3 million segments, 229 MB)", {
        long: lambda: fetch_fresh(bench, archive, MONTH, peaks),
        again: lambda: fetch(keeper, MONTH),
        fresh: lambda: fetch_fresh(bench, archive),
    }, [Mark("a segment's time, of that in 24 hours", lambda of: of[long].total / of[fresh].total / 30, 1.25),
        Mark("most memory", lambda of: max(peaks), 100, "MiB")])
    yield live_case(bench)


def fetch_fresh(bench, archive, path=DAY, peaks=None):
    """A playlist from a server that has read nothing yet."""
    server = serve(bench.binary, archive, bench.log)
    try:
        timing = fetch(server, path)
        if peaks is not None:
            peaks.append(peak_memory(server[0]))
        return timing
    finally:
        end(server[0])


def timed(args):
    began = time.perf_counter()
    process = start(args, stdout=open(os.devnull, "wb"))
    if process.wait(FAR):
        fail(f"`{args[0]}` failed")
    total = time.perf_counter() - began
    end(process)
    return Timing(total, total, 0.0)


def live_case(bench):
    """Players at the live edge, while a recorder adds a file every 2 s."""
    def run():
        archive = bench.work / "live"
        now = datetime.datetime.now(datetime.timezone.utc)
        hour = archive / "live/source" / now.strftime("%Y-%m-%dT%H")
        hour.mkdir(parents=True, exist_ok=True)
        server = serve(bench.binary, archive, bench.log)
        script = bench.work / "players.lua"
        # Every 1 to 2 s, so that they do not ask all at once.
        script.write_text("function delay() return math.random(1000, 2000) end\n")
        stop, changes = threading.Event(), []
        recorder = threading.Thread(target=record, args=(hour, stop, changes))
        recorder.start()
        try:
            path = "/playlist/live/source.m3u8?start=" + now.strftime("%Y-%m-%dT%H")
            time.sleep(3)
            before, changed = misses(server[1]), len(changes)
            loaded = load(server, path, PLAYERS, seconds=20, script=script)
            readings = (misses(server[1]) - before) / (len(changes) - changed)
        finally:
            stop.set()
            recorder.join()
            end(server[0])
        return Live(loaded.p99, readings, loaded.rate * 20)

    return Case(f"the live edge, {PLAYERS} players", {"live": run}, [
        Mark("p99", lambda of: of["live"].p99, 10, "ms"),
        Mark("readings of the directory for each change", lambda of: of["live"].readings, 2, ""),
    ])


def record(hour, stop, changes):
    """Adds a segment every 2 s; each is two changes of its directory: a name that comes, and one that changes."""
    hidden = hour / ".part"
    while not stop.is_set():
        now = datetime.datetime.now(datetime.timezone.utc)
        hidden.write_bytes(b"x")
        changes.append("made")
        stop.wait(0.1)
        hidden.rename(hour / f"{now.strftime('%M:%S')}.000-2.000-full-{len(changes)}.ts")
        changes.append("renamed")
        stop.wait(1.9)


def misses(address):
    """How many directories a server has read so far."""
    page, _ = read(address + "/metrics")
    return float(re.search(rb"^hour_cache_misses_total (\S+)", page, re.MULTILINE)[1])


# ---- Serving -----------------------------------------------------------------------------------------------

def serving_cases(bench):
    """Segments, lists and 304s by load, and how large the server is."""
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

    def case(name, run, paths, marks, times=1):
        runs = {ours: lambda: run(server, paths[0]), nginx: lambda: run(peer, paths[-1])}
        return Case(name, runs, marks, times)

    def rate(least):
        return Mark("requests/s, of nginx's", lambda of: of[ours].rate / of[nginx].rate, least, least=True)

    yield case("a segment of 1.5 MB, 16 connections", lambda at, path: load(at, path, 16), [segment], [
        rate(0.95), Mark("processor time a GB, of nginx's", lambda of: of[ours].cpu / of[nginx].cpu, 1 / 0.95)], times=4)
    closing = ("-H", "Connection: close")
    yield case("a segment of 1.5 MB, a connection each", lambda at, path: load(at, path, 1, *closing), [segment],
               [rate(0.8)])
    yield case(f"the names of an hour ({len(text) / 1e3:.0f} kB), 16 connections", lambda at, path: load(at, path, 16),
               [listing, "/names.json"], [rate(0.5)])
    etags = {at[1]: read(at[1] + segment)[1] for at in (server, peer)}
    unchanged = lambda at, path: load(at, path, 16, "-H", f"If-None-Match: {etags[at[1]]}")
    yield case("304, 16 connections", unchanged, [segment], [rate(0.7)])
    yield many_case(bench, server)
    yield Case("size", {"ours": lambda: size(bench)}, [
        Mark("memory when idle", lambda of: of["ours"].memory, 10, "MiB"),
        Mark("start to first answer", lambda of: of["ours"].begun, 20, "ms"),
        Mark("binary", lambda of: of["ours"].binary, 5, "MiB"),
    ], times=3)


def many_case(bench, server):
    """Connections that are kept, and ask now and then."""
    def asking(connections, delay):
        script = bench.work / f"delay-{delay}.lua"
        script.write_text(f"function delay() return {delay} end\n")
        return lambda: load(server, "/files/month", connections, seconds=8, threads=2, script=script)

    many, few = "1,000 connections, 1 request/s each", "16 connections, as many requests/s"
    return Case("kept connections", {many: asking(1000, 1000), few: asking(16, 16)}, [
        Mark("p99", lambda of: of[many].p99, 20, "ms"),
        Mark("processor time a request, of that with 16", lambda of: of[many].cpu / of[few].cpu, 1.5),
    ])


def size(bench):
    """Starts a server over an archive and asks it for the streams."""
    began = time.perf_counter()
    process, address = serve(bench.binary, month(bench.cache), bench.log)
    try:
        read(address + "/files")
        begun = time.perf_counter() - began
        time.sleep(0.5)
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        memory = int(re.search(r"VmRSS:\s*(\d+)", status)[1]) / 1024
    finally:
        end(process)
    return Size(memory, begun * 1e3, bench.binary.stat().st_size / 2**20)


# ---- Counting ----------------------------------------------------------------------------------------------

def counting_cases(bench):
    """What counting and logging cost, beside a server that was built without counting.

    Servers have one core and wrk another, for what the system makes of their moving about is more than what is sought.
    """
    archive = month(bench.cache)
    uncounted = build("--cfg uncounted", TARGET / "uncounted")
    first, *_, last = sorted(os.sched_getaffinity(0)) * 2
    def server(binary, *options):
        return serve(binary, archive, bench.log, *options, core=last)
    servers = {
        "counted": server(bench.binary),
        "not counted": server(uncounted),
        "counted, and each request logged": server(bench.binary, "--log-level", "info"),
    }
    counted, without, logged = servers
    for name, path in [("the list of streams", "/files"), ("the names of an hour", f"/files/month/source/{hour_name(0)}")]:
        def more(run):
            return lambda of: (of[run].cpu / of[without].cpu - 1) * 100
        yield Case(f"{name}, 16 connections", {
            run: lambda server=server, path=path: load(server, path, 16, seconds=1, core=first)
            for run, server in servers.items()
        }, [
            Mark("processor time for counting", more(counted), 3, "%", paired=True),
            Mark("processor time for counting and for a line of the log", more(logged), 3, "%", paired=True),
        ], times=8)
