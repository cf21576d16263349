"""Movies and fragments of MP4, compared with `cat`, nginx and ffmpeg doing the minimum work for the same result.

Files are in the page cache on both sides. A cold run is the first request for media to a new process: nothing of the
segments is in its memory. A warm run finds the samples of the segments there, but makes the movie anew, and a repeated one
finds the movie.
"""

import dataclasses
import datetime
import itertools
import os
import re
import shutil
import time
import urllib.parse

from bench_cuts import FOOTAGE_SECONDS, FOOTAGE_START, capture, drop_from_page_cache, footage, segments
from bench_serving import read, timed
from harness import hash_of
from measure import (
    Case, Goal, end, fail, fetch, figure, load, memory, output, pipe, run_pipes, say, serve, serve_nginx,
)

HOURS_START = datetime.datetime(2026, 11, 21, 10)
HOURS = 6
SEGMENT_SECONDS = 2
# Inside groups of pictures.
OFFSET = datetime.timedelta(seconds=4.7)
FIRST_BYTES = ("-r", "0-65535")


@dataclasses.dataclass
class Memory:
    """Memory of a server that makes and sends a long movie."""
    added: float = figure("memory over idle, MiB", "{:.1f}")
    idle: float = figure("idle, MiB", "{:.1f}")
    first: float = figure("first byte, s")
    total: float = figure("total, s")


def mp4_cases(bench):
    """A minute, an hour and six hours as a movie; ends that are encoded; fragments."""
    archive, hours = footage(bench.cache), long_footage(bench)
    shared = bench.work / "nginx"
    shared.mkdir()
    (shared / "hours").symlink_to(hours / "hours")
    peer = serve_nginx(shared, bench.work)
    files = segments(archive, FOOTAGE_START + OFFSET, FOOTAGE_START + OFFSET + datetime.timedelta(minutes=1))
    yield from minute_cases(bench, archive, files, peer, shared)
    yield smart_case(bench, archive)
    yield from hour_cases(bench, hours)
    yield from fragment_cases(bench, hours, peer)


def long_footage(bench):
    """Creates hours of the footage, repeated, unless they exist: one on disk, the others hard links to it.

    Timestamps go on without a break for an hour. Every name has a hash of its own, as the server remembers segments by it.
    """
    directory = bench.cache / "long"
    archive, complete = directory / "archive", directory / "complete"
    source = segments(footage(bench.cache))
    recipe = f"{HOURS} {hash_of(source[0].read_bytes())}"
    if complete.exists() and complete.read_text() == recipe:
        return archive
    say(f"creating {HOURS} hours of footage in {directory}, once")
    shutil.rmtree(directory, ignore_errors=True)
    parts = directory / "parts"
    parts.mkdir(parents=True)
    # A little less than the distance of the key frames, to split at each of them.
    split = ["ffmpeg", "-nostdin", "-v", "error", "-f", "mpegts", "-i", "pipe:0", "-t", "3600", "-map", "0", "-c", "copy",
             "-f", "segment", "-segment_time", "1.9", "-segment_format", "mpegts", parts / "%04d.ts"]
    run_pipes(lambda: [pipe(source * (3600 // FOOTAGE_SECONDS + 1), split)])
    for index, path in enumerate(sorted(parts.iterdir())[:3600 // SEGMENT_SECONDS]):
        digest = hash_of(path.read_bytes())
        for number in range(HOURS):
            hour = archive / f"hours/source/{HOURS_START + datetime.timedelta(hours=number):%Y-%m-%dT%H}"
            hour.mkdir(parents=True, exist_ok=True)
            minute, second = divmod(index * SEGMENT_SECONDS, 60)
            own = hash_of(f"{number} {digest}".encode())
            os.link(path, hour / f"{minute:02}:{second:02}.000-{SEGMENT_SECONDS}.000-full-{own}.ts")
    shutil.rmtree(parts)
    # The server does not cache a directory that has changed within its clock granularity.
    time.sleep(0.1)
    complete.write_text(recipe)
    return archive


def movie_path(stream, cut_type, begin, seconds, moved_us=0):
    """The path of a movie. Every `moved_us` gives another movie of the same frames."""
    begin += datetime.timedelta(microseconds=moved_us)
    finish = begin + datetime.timedelta(seconds=seconds)
    parameters = {"start": begin.isoformat(), "end": finish.isoformat(), "type": cut_type}
    return f"/cut/{stream}/source.mp4?" + urllib.parse.urlencode(parameters)


def other_movies(server, *movie, options=()):
    """A function that requests another movie of the same frames each time."""
    numbers = itertools.count(1)
    return lambda: fetch(server, movie_path(*movie, moved_us=next(numbers)), *options)


def fetch_cold(bench, archive, path, *options, into=os.devnull):
    """Requests a path from a server that has just started, once it knows its ffmpeg."""
    server = serve(bench.binary, archive, bench.log)
    try:
        read(server[1] + "/health")
        return fetch(server, path, *options, into=into)
    finally:
        end(server[0])


# ---- Movies ------------------------------------------------------------------------------------------------

def minute_cases(bench, archive, files, peer, shared):
    movie = ("bench", "copy", FOOTAGE_START + OFFSET, 60)
    path = movie_path(*movie)
    server = serve(bench.binary, archive, bench.log)
    joined = shared / "minute.mp4"
    output(["curl", "-sS", "-f", "-o", joined, server[1] + path])
    # Each side fills the page cache by its own reads, because the way it was filled affects the speed.
    drop_from_page_cache([*files, joined])
    fetch(server, path)
    fetch(peer, "/minute.mp4")
    size = f"60 s ({joined.stat().st_size / 1e6:.0f} MB, {len(files)} segments)"
    cold, warm, repeated, cat, nginx = "cold", "warm", "repeated", "cat of the segments", "nginx, the same bytes"

    def first(name):
        value = lambda runs: runs[name].first / (4 * runs[cat].total + 0.005)
        return Goal(f"first byte, {name}, relative to 4 times cat plus 5 ms", value, 1)

    def total(name):
        return Goal(f"total, {name}, relative to nginx", lambda runs: runs[name].total / runs[nginx].total, 1.5)

    yield Case(f"copy, {size}", {
        cold: lambda: fetch_cold(bench, archive, path),
        warm: other_movies(server, *movie),
        repeated: lambda: fetch(server, path),
        nginx: lambda: fetch(peer, "/minute.mp4"),
        cat: lambda: timed(["cat", *files]),
    }, [first(cold), first(warm), total(cold), total(warm), total(repeated)], times=6)

    ours, ffmpeg = bench.work / "ours.mp4", bench.work / "ffmpeg.mp4"
    faststart = "ffmpeg -c copy -movflags +faststart"
    args = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "mpegts", "-i", "pipe:0", "-map", "0", "-c", "copy",
            "-movflags", "+faststart"]
    yield Case(f"copy into a file, {size}", {
        cold: lambda: fetch_cold(bench, archive, path, into=new(ours)),
        faststart: lambda: run_pipes(lambda: [pipe(files, [*args, new(ffmpeg)])]),
    }, [Goal("total of ffmpeg, relative to ours", lambda runs: runs[faststart].total / runs[cold].total, 3,
             at_least=True)], times=3)


def new(path):
    """The path of a file that is not there yet: to empty one takes time."""
    path.unlink(missing_ok=True)
    return path


def smart_case(bench, archive):
    movie = ("bench", "smart", FOOTAGE_START + OFFSET, 60)
    path = movie_path(*movie)
    commands = capture(bench, archive, path)
    if len(commands) != 2:
        fail(f"smart started ffmpeg {len(commands)} times instead of twice, once for each end")
    ends = [lambda command=command: pipe([command.stdin], command.args) for command in commands]
    server = serve(bench.binary, archive, bench.log)
    cold, warm, both = "cold", "warm, ends encoded anew", "both ends at once, same commands"
    value = lambda name: lambda runs: runs[name].first / runs[both].total
    return Case("smart, 60 s", {
        cold: lambda: fetch_cold(bench, archive, path),
        warm: other_movies(server, *movie),
        "repeated": lambda: fetch(server, path),
        both: lambda: run_pipes(lambda: [end() for end in ends]),
    }, [Goal("first byte, cold, relative to both ends", value(cold), 1.2),
        Goal("first byte, warm, relative to both ends", value(warm), 1.2)], times=2)


def hour_cases(bench, hours):
    movie = ("hours", "copy", HOURS_START + OFFSET, 3590)
    files = segments(hours, HOURS_START + OFFSET, HOURS_START + OFFSET + datetime.timedelta(seconds=3590), "hours")
    size = sum(path.stat().st_size for path in files)
    server = serve(bench.binary, hours, bench.log)
    fetch(server, movie_path(*movie), *FIRST_BYTES)
    cold, warm, cat = "cold", "warm", "cat of the segments"
    value = lambda name: lambda runs: runs[name].first / runs[cat].total
    yield Case(f"start of copy, an hour ({size / 1e9:.1f} GB, {len(files):,} segments)", {
        cold: lambda: fetch_cold(bench, hours, movie_path(*movie), *FIRST_BYTES),
        warm: other_movies(server, *movie, options=FIRST_BYTES),
        cat: lambda: timed(["cat", *files]),
    }, [Goal("first byte, cold, relative to cat", value(cold), 4),
        Goal("first byte, warm, relative to cat", value(warm), 4)])
    yield Case(f"copy, {HOURS} hours ({HOURS * size / 1e9:.0f} GB)", {"cold": lambda: long_movie(bench, hours)}, [
        Goal("memory over idle", lambda runs: runs["cold"].added, 64, "MiB")])


def long_movie(bench, hours):
    """Requests a movie of all hours from a new server, and measures its memory."""
    server = serve(bench.binary, hours, bench.log)
    try:
        read(server[1] + "/files")
        time.sleep(0.5)
        idle = memory(server[0], "VmRSS")
        timing = fetch(server, movie_path("hours", "copy", HOURS_START, HOURS * 3600))
        peak = memory(server[0], "VmHWM")
    finally:
        end(server[0])
    return Memory(peak - idle, idle, timing.first, timing.total)


# ---- Fragments ---------------------------------------------------------------------------------------------

def fragment_cases(bench, hours, peer):
    server = serve(bench.binary, hours, bench.log)
    begin, finish = (HOURS_START + datetime.timedelta(hours=number) for number in (1, 2))
    query = urllib.parse.urlencode({"start": begin.isoformat(), "end": finish.isoformat(), "container": "fmp4"})
    playlist, _ = read(f"{server[1]}/playlist/hours/source.m3u8?{query}")
    fragments = [line.removeprefix("../..") for line in playlist.decode().splitlines() if ".m4s?" in line]
    sources = [re.sub(r"^/fmp4(.*)\.m4s\?.*", r"\1.ts", path) for path in fragments]
    others, unread, nginx = iter(fragments[1:]), "cold", "nginx, the .ts"
    yield Case("one m4s of 2 s after another", {
        unread: lambda: fetch(server, next(others)),
        "warm": lambda: fetch(server, fragments[0]),
        nginx: lambda: fetch(peer, sources[0]),
    }, [Goal("total, cold", lambda runs: runs[unread].total * 1e3, 5, "ms")], times=20)
    ours = "warm"
    yield Case("an m4s of 2 s, 16 connections", {
        ours: lambda: load(server, fragments[0], 16),
        nginx: lambda: load(peer, sources[0], 16),
    }, [Goal("requests/s, relative to nginx", lambda runs: runs[ours].rate / runs[nginx].rate, 0.3, at_least=True)])
