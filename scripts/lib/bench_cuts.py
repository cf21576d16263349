"""Cuts, compared with nginx, `cat` and ffmpeg doing the minimum work for the same result."""

import dataclasses
import datetime
import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import urllib.parse

from measure import RUN_TIMEOUT, TARGET, Case, Goal, end, fail, fetch, output, pipe, run_pipes, say, serve, serve_nginx, start

# Moving pictures with noise, which makes them expensive to encode.
FOOTAGE_START = datetime.datetime(2026, 11, 20, 9, 58)
FOOTAGE_SECONDS = 250
FOOTAGE_INPUT = [
    "-f", "lavfi", "-i", f"testsrc2=size=1280x720:rate=30:duration={FOOTAGE_SECONDS},noise=alls=6:allf=t",
    "-f", "lavfi", "-i", f"sine=frequency=330:beep_factor=4:sample_rate=48000:duration={FOOTAGE_SECONDS - 0.05}",
]
FOOTAGE_CODING = [
    "-c:v", "libx264", "-preset", "veryfast", "-b:v", "5M", "-maxrate", "6M", "-bufsize", "6M",
    "-g", "60", "-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "160k",
]


def footage(directory):
    """Creates an archive with the footage unless it exists; returns its directory."""
    directory.mkdir(parents=True, exist_ok=True)
    footage.lock = footage.lock or open(directory / ".lock", "w")
    try:
        fcntl.flock(footage.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"another benchmark is running in `{directory}`")
    archive, complete = directory / "archive", directory / "complete.json"
    recipe = [*FOOTAGE_INPUT, *FOOTAGE_CODING, FOOTAGE_START.isoformat()]
    if complete.exists() and json.loads(complete.read_text()) == recipe and segments(archive):
        return archive
    say(f"encoding {FOOTAGE_SECONDS} s of footage in {directory}, once")
    shutil.rmtree(archive, ignore_errors=True)
    complete.unlink(missing_ok=True)
    source = directory / "source.nut"
    encode = start(["ffmpeg", "-nostdin", "-v", "error", "-y", *FOOTAGE_INPUT, *FOOTAGE_CODING, source])
    if encode.wait(RUN_TIMEOUT):
        fail("the footage could not be encoded; the reason is above")
    archive.mkdir()
    record = start([TARGET / "release/restreamer", "record", source, archive, "bench", "source",
                    "--log-level", "warn", "--start", FOOTAGE_START.isoformat()])
    if record.wait(RUN_TIMEOUT):
        fail("the footage could not be recorded; the reason is above")
    source.unlink()
    complete.write_text(json.dumps(recipe))
    return archive


footage.lock = None


def segments(archive, begin=None, finish=None, stream="bench"):
    """The segments of a stream in order; with a range, only those that overlap it."""
    found = []
    for path in archive.glob(f"{stream}/source/*/*-full-*.ts"):
        minute, second, length = re.match(r"(\d+):([\d.]+)-([\d.]+)-", path.name).groups()
        at = datetime.datetime.fromisoformat(path.parent.name + ":00:00")
        at += datetime.timedelta(minutes=int(minute), seconds=float(second))
        if begin is None or at < finish and at + datetime.timedelta(seconds=float(length)) > begin:
            found.append((at, path))
    return [path for _, path in sorted(found)]


# ---- Cuts --------------------------------------------------------------------------------------------------

def cut_cases(bench):
    """Cuts that begin and end inside a group of pictures, 60 s and 240 s long by default."""
    archive = footage(bench.cache)
    cases = []
    server = serve(bench.binary, archive, bench.log)
    shared = bench.work / "nginx"
    shared.mkdir()
    peer = serve_nginx(shared, bench.work)
    for seconds in bench.ranges:
        begin = FOOTAGE_START + datetime.timedelta(seconds=4.7)
        finish = begin + datetime.timedelta(seconds=seconds)
        files = segments(archive, begin, finish)
        joined = shared / f"{seconds}.ts"
        with open(joined, "wb") as out:
            for path in files:
                out.write(path.read_bytes())
        drop_from_page_cache([*files, joined])
        def query(cut_type):
            parameters = {"start": begin.isoformat(), "end": finish.isoformat(), "type": cut_type}
            return "/cut/bench/source.ts?" + urllib.parse.urlencode(parameters)
        cases_by_type = {"rough": rough_case, "smart": smart_case, "full": full_case}
        for cut_type in bench.cut_types:
            subject = lambda path=query(cut_type): fetch(server, path)
            static = lambda name=joined.name: fetch(peer, f"/{name}")
            if cut_type == "rough":
                # Each side fills the page cache by its own reads, because the way it was filled affects the speed.
                subject()
                static()
            case = cases_by_type[cut_type](bench, subject, query(cut_type), files, static, archive)
            case.name = f"{cut_type}, {seconds} s ({joined.stat().st_size / 1e6:.0f} MB, {len(files)} segments)"
            cases.append(case)
    return cases


def drop_from_page_cache(paths):
    """Drops files from the page cache, where the way they were written affects the speed of later reads."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rough_case(bench, subject, query, files, static, archive):
    nginx = "nginx, the same bytes as one file"
    return Case("", {
        "rough": subject,
        nginx: static,
        "cat of the segments": lambda: run_pipes(lambda: [pipe(files)]),
    }, [Goal("total, relative to nginx", lambda runs: runs["rough"].total / runs[nginx].total, 1.1)], times=20)


def smart_case(bench, subject, query, files, static, archive):
    commands = capture(bench, archive, query)
    if len(commands) != 2:
        fail(f"smart started ffmpeg {len(commands)} times instead of twice, once for each end")
    ends = [lambda command=command: pipe([command.stdin], command.args) for command in commands]
    copy = ["ffmpeg", "-nostdin", "-v", "error", "-f", "mpegts", "-i", "pipe:0", "-map", "0", "-c", "copy",
            "-f", "mpegts", "pipe:1"]
    first, both, copied = "first end, same ffmpeg command", "both ends at once, same commands", "ffmpeg -c copy"
    goals = [
        Goal("first byte, relative to encoding the whole first end",
             lambda runs: runs["smart"].first / runs[first].total, 1.2),
        Goal("total, relative to the slower of copy and both ends",
             lambda runs: runs["smart"].total / max(runs[copied].total, runs[both].total), 1.3),
    ]
    if duration(query) == 60:
        goals.append(Goal("first byte", lambda runs: runs["smart"].first, 0.33, "s"))
        goals.append(Goal("total", lambda runs: runs["smart"].total, 1.2, "s"))
    quality = [psnr(command, bench.work) for command in commands]
    verdict = "met" if min(quality) > 38 else "missed"
    note = f"- worst re-encoded picture: {min(quality):.1f} dB (goal: above 38): **{verdict}**"
    return Case("", {
        "smart": subject,
        copied: lambda: run_pipes(lambda: [pipe(files, copy)]),
        first: lambda: run_pipes(lambda: [ends[0]()]),
        both: lambda: run_pipes(lambda: [end() for end in ends]),
    }, goals, times=2, note=note)


def full_case(bench, subject, query, files, static, archive):
    commands = capture(bench, archive, query, encode=False)
    if len(commands) != 1:
        fail(f"full started ffmpeg {len(commands)} times instead of once")
    alone = "the same ffmpeg command alone"
    return Case("", {
        "full": subject,
        alone: lambda: run_pipes(lambda: [pipe([commands[0].stdin], commands[0].args)]),
    }, [Goal("total, relative to ffmpeg alone", lambda runs: runs["full"].total / runs[alone].total, 1.05)])


def duration(query):
    parameters = urllib.parse.parse_qs(query.split("?")[1])
    begin, finish = (datetime.datetime.fromisoformat(parameters[key][0]) for key in ("start", "end"))
    return round((finish - begin).total_seconds())


@dataclasses.dataclass
class Command:
    """An ffmpeg command of the server, and a file with its input."""
    args: list
    stdin: pathlib.Path


def capture(bench, archive, query, encode=True):
    """Records the ffmpeg commands that the server runs for a cut, in order.

    Without `encode` only the input of ffmpeg is recorded, which is faster; the cut itself then fails.
    """
    directory = pathlib.Path(tempfile.mkdtemp(dir=bench.work))
    wrapper = directory / "ffmpeg"
    wrapper.write_text(f"""#!/bin/bash
        [[ " $* " == *" pipe:0 "* ]] || exec ffmpeg "$@"
        base={directory}/${{EPOCHREALTIME/[.,]/}}-$$
        printf '%s\\0' "$@" >"$base.args"
        {'tee "$base.in" | ffmpeg "$@"' if encode else 'cat >"$base.in"'}
    """)
    wrapper.chmod(0o755)
    server = serve(bench.binary, archive, bench.log, "--ffmpeg", wrapper)
    if encode:
        fetch(server, query)
    else:
        subprocess.run(["curl", "-s", "-o", os.devnull, server[1] + query], timeout=RUN_TIMEOUT)
    end(server[0])
    return [Command(["ffmpeg", *args.read_text().split("\0")[:-1]], args.with_suffix(".in"))
            for args in sorted(directory.glob("*.args"))]


def psnr(command, work):
    """The lowest PSNR of a picture of an encoding, compared with its source, in dB."""
    encoded, stats = work / "end.ts", work / "psnr.log"
    with open(command.stdin, "rb") as stdin, open(encoded, "wb") as stdout:
        subprocess.run(command.args, stdin=stdin, stdout=stdout, check=True, timeout=RUN_TIMEOUT)
    trim = command.args[command.args.index("-vf") + 1]
    graph = f"[0:v]{trim},setpts=PTS-STARTPTS[a];[1:v]setpts=PTS-STARTPTS[b];[a][b]psnr=stats_file={stats}"
    output(["ffmpeg", "-nostdin", "-v", "error", "-copyts", "-i", command.stdin, "-copyts", "-i", encoded,
            "-lavfi", graph, "-f", "null", "-"])
    return min(float(value) for value in re.findall(r"psnr_avg:([\d.]+)", stats.read_text()))
