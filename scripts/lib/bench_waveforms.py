"""Waveforms of an hour, compared with wubloader's own ffmpeg command on the same segments.

A cold run is the first request to a new process. One that grows ends 2 s later each time, so one segment of it is new.
"""

import datetime
import itertools
import os

from bench_mp4 import HOURS_START, SEGMENT_SECONDS, fetch_cold, long_footage
from measure import Case, Goal, fetch, pipe, run_pipes, serve

# `render_segments_waveform` of wubloader, with the size that its editor asks for.
SIZE = "1920x125"
FILTER = f"[0:a]showwavespic=size={SIZE}:colors=#000000:scale=sqrt[out]"
THEIRS = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "error", "-i", "pipe:0", "-filter_complex", FILTER,
          "-map", "[out]", "-f", "image2", "-c", "png", "-y", os.devnull]


def waveform_cases(bench):
    """An hour."""
    archive = long_footage(bench)
    hour = datetime.timedelta(hours=1)
    files = sorted((archive / f"hours/source/{HOURS_START:%Y-%m-%dT%H}").iterdir())
    server = serve(bench.binary, archive, bench.log)
    whole = waveform_path(HOURS_START, hour)
    fetch(server, whole)
    grown = (waveform_path(HOURS_START, hour + datetime.timedelta(seconds=SEGMENT_SECONDS * number))
             for number in itertools.count(1))
    cold, repeated, grows, theirs = "cold", "repeated", "grown by 2 s", "wubloader's ffmpeg command"
    yield Case("waveform of an hour", {
        cold: lambda: fetch_cold(bench, archive, whole),
        repeated: lambda: fetch(server, whole),
        grows: lambda: fetch(server, next(grown)),
        theirs: lambda: run_pipes(lambda: [pipe(files, THEIRS)]),
    }, [Goal("cold, relative to wubloader's command", lambda runs: runs[cold].total / runs[theirs].total, 1.3),
        Goal("repeated, in ms", lambda runs: runs[repeated].total * 1000, 2)])


def waveform_path(begin, length):
    return f"/waveform/hours/source.png?start={begin.isoformat()}&end={(begin + length).isoformat()}&size={SIZE}"
