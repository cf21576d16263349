"""Pictures, compared with the server's own ffmpeg commands on the same bytes.

A new picture is one that the server has not made before: the same place in the next group of pictures each time. A repeated
one is in its memory.
"""

import datetime
import itertools

from bench_cuts import FOOTAGE_SECONDS, FOOTAGE_START, capture, footage
from bench_mp4 import HOURS, HOURS_START, long_footage
from bench_waveforms import waveform_cases
from measure import Case, Goal, fail, fetch, pipe, run_pipes, serve

GROUP_SECONDS = 2
TILES = 100
# Near the end of a group.
OFFSET = datetime.timedelta(seconds=1.7)


def picture_cases(bench):
    """Frames, storyboards and waveforms."""
    archive = footage(bench.cache)
    for extension, query in [("png", ""), ("jpg", ""), ("jpg", "&width=320")]:
        yield frame_case(bench, archive, extension, query)
    yield storyboard_case(bench)
    yield from waveform_cases(bench)


def frame_path(extension, query, group):
    at = FOOTAGE_START + OFFSET + datetime.timedelta(seconds=group * GROUP_SECONDS)
    return f"/frame/bench/source.{extension}?timestamp={at.isoformat()}{query}"


def frame_case(bench, archive, extension, query):
    commands = capture(bench, archive, frame_path(extension, query, 0))
    if len(commands) != 1:
        fail(f"a frame started ffmpeg {len(commands)} times instead of once")
    server = serve(bench.binary, archive, bench.log)
    groups = itertools.cycle(range(1, FOOTAGE_SECONDS // GROUP_SECONDS - 1))
    # The server looks for its ffmpeg when it first needs it.
    fetch(server, frame_path(extension, query, 0))
    new, repeated, alone = "new", "repeated", "the same ffmpeg command alone"
    return Case(f"frame as .{extension}{query.replace('&', ', ')}", {
        new: lambda: fetch(server, frame_path(extension, query, next(groups))),
        repeated: lambda: fetch(server, frame_path(extension, query, 0)),
        alone: lambda: run_pipes(lambda: [pipe([commands[0].stdin], commands[0].args)]),
    }, [Goal("new, relative to ffmpeg alone", lambda runs: runs[new].total / runs[alone].total, 1.3),
        Goal("repeated, in ms", lambda runs: runs[repeated].total * 1000, 2)], times=5)


def storyboard_path(moved_us=0):
    """The path of a storyboard. Every `moved_us` gives another one of the same key frames."""
    begin = HOURS_START + datetime.timedelta(seconds=1, microseconds=moved_us)
    finish = begin + datetime.timedelta(hours=HOURS)
    return f"/storyboard/hours/source.jpg?start={begin.isoformat()}&end={finish.isoformat()}&count={TILES}"


def storyboard_case(bench):
    archive = long_footage(bench)
    commands = capture(bench, archive, storyboard_path())
    if len(commands) != 1:
        fail(f"a storyboard started ffmpeg {len(commands)} times instead of once")
    server = serve(bench.binary, archive, bench.log)
    fetch(server, storyboard_path())
    moved = itertools.count(1)
    new, repeated, alone = "new", "repeated", "the same ffmpeg command alone"
    return Case(f"storyboard of {TILES} tiles over {HOURS} hours", {
        new: lambda: fetch(server, storyboard_path(next(moved))),
        repeated: lambda: fetch(server, storyboard_path()),
        alone: lambda: run_pipes(lambda: [pipe([commands[0].stdin], commands[0].args)]),
    }, [Goal("new, relative to ffmpeg alone", lambda runs: runs[new].total / runs[alone].total, 1.3),
        Goal("repeated, in ms", lambda runs: runs[repeated].total * 1000, 2)], times=3)
