"""Cuts beside what they could at best be."""

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

from measure import FAR, ROOT, Case, Mark, end, fail, fetch, output, pipe, run_pipes, say, serve, serve_nginx, start

# The footage: the pictures move, and noise keeps them from being too cheap to encode.
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
    """An archive with the footage in it, made unless it is there; its directory."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = open(directory / ".lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"another bench is at work in `{directory}`")
    footage.lock = lock
    archive, stamp = directory / "archive", directory / "made.json"
    recipe = [*FOOTAGE_INPUT, *FOOTAGE_CODING, FOOTAGE_START.isoformat()]
    if stamp.exists() and json.loads(stamp.read_text()) == recipe and segments(archive):
        return archive
    say(f"making {FOOTAGE_SECONDS} s of footage in {directory}, once")
    shutil.rmtree(archive, ignore_errors=True)
    stamp.unlink(missing_ok=True)
    source = directory / "source.nut"
    make = start(["ffmpeg", "-nostdin", "-v", "error", "-y", *FOOTAGE_INPUT, *FOOTAGE_CODING, source])
    if make.wait(FAR):
        fail("the footage could not be made; the reason is above")
    archive.mkdir()
    record = start([ROOT / "scripts/record", source, archive, "bench", "source", "--copy", "--quiet",
                    "--start", FOOTAGE_START.isoformat()])
    if record.wait(FAR):
        fail("the footage could not be recorded; the reason is above")
    source.unlink()
    stamp.write_text(json.dumps(recipe))
    return archive


def segments(archive, begin=None, finish=None):
    """The segments of the footage, in order; of a range those that have a share in it."""
    found = []
    for path in archive.glob("bench/source/*/*-full-*.ts"):
        minute, second, length = re.match(r"(\d+):([\d.]+)-([\d.]+)-", path.name).groups()
        at = datetime.datetime.fromisoformat(path.parent.name + ":00:00")
        at += datetime.timedelta(minutes=int(minute), seconds=float(second))
        if begin is None or at < finish and at + datetime.timedelta(seconds=float(length)) > begin:
            found.append((at, path))
    return [path for _, path in sorted(found)]


# ---- Cuts --------------------------------------------------------------------------------------------------

def cut_cases(bench):
    """Cuts of 60 s and 240 s that begin and end inside a group of pictures."""
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
        forget([*files, joined])
        def query(kind):
            words = {"start": begin.isoformat(), "end": finish.isoformat(), "type": kind}
            return "/cut/bench/source.ts?" + urllib.parse.urlencode(words)
        makers = {"rough": rough_case, "smart": smart_case, "full": full_case}
        for kind in bench.kinds:
            subject = lambda path=query(kind): fetch(server, path)
            static = lambda name=joined.name: fetch(peer, f"/{name}")
            if kind == "rough":
                # What each reads is in the system's memory from here on, in the way that its own reading has brought it.
                subject()
                static()
            case = makers[kind](bench, subject, query(kind), files, static, archive)
            case.name = f"{kind}, {seconds} s ({joined.stat().st_size / 1e6:.0f} MB, {len(files)} segments)"
            cases.append(case)
    return cases


def forget(paths):
    """Has the system drop files from its memory, where how they were written would show for as long as they stay."""
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
    }, [Mark("total, of nginx's", lambda of: of["rough"].total / of[nginx].total, 1.1)], times=20)


def smart_case(bench, subject, query, files, static, archive):
    commands = capture(bench, archive, query)
    if len(commands) != 2:
        fail(f"smart started ffmpeg {len(commands)} times instead of twice, once for each end")
    ends = [lambda command=command: pipe([command.stdin], command.args) for command in commands]
    copy = ["ffmpeg", "-nostdin", "-v", "error", "-f", "mpegts", "-i", "pipe:0", "-map", "0", "-c", "copy",
            "-f", "mpegts", "pipe:1"]
    first, both, copied = "first end, same ffmpeg command", "both ends at once, same commands", "ffmpeg -c copy"
    marks = [
        Mark("first byte, of the whole encoding of the first end",
             lambda of: of["smart"].first / of[first].total, 1.2),
        Mark("total, of the greater of copy and both ends",
             lambda of: of["smart"].total / max(of[copied].total, of[both].total), 1.3),
    ]
    if duration(query) == 60:
        marks.append(Mark("first byte", lambda of: of["smart"].first, 0.33, "s"))
        marks.append(Mark("total", lambda of: of["smart"].total, 1.2, "s"))
    quality = [psnr(command, bench.work) for command in commands]
    verdict = "met" if min(quality) > 38 else "missed"
    note = f"- worst picture that was encoded anew: {min(quality):.1f} dB (mark: above 38): **{verdict}**"
    return Case("", {
        "smart": subject,
        copied: lambda: run_pipes(lambda: [pipe(files, copy)]),
        first: lambda: run_pipes(lambda: [ends[0]()]),
        both: lambda: run_pipes(lambda: [end() for end in ends]),
    }, marks, times=2, note=note)


def full_case(bench, subject, query, files, static, archive):
    commands = capture(bench, archive, query, make=False)
    if len(commands) != 1:
        fail(f"full started ffmpeg {len(commands)} times instead of once")
    alone = "the same ffmpeg command alone"
    return Case("", {
        "full": subject,
        alone: lambda: run_pipes(lambda: [pipe([commands[0].stdin], commands[0].args)]),
    }, [Mark("total, of ffmpeg's alone", lambda of: of["full"].total / of[alone].total, 1.05)])


def duration(query):
    words = urllib.parse.parse_qs(query.split("?")[1])
    begin, finish = (datetime.datetime.fromisoformat(words[key][0]) for key in ("start", "end"))
    return round((finish - begin).total_seconds())


@dataclasses.dataclass
class Command:
    """An ffmpeg that the server started, and what it gave to it."""
    args: list
    stdin: pathlib.Path


def capture(bench, archive, query, make=True):
    """The ffmpeg commands with which the server makes a cut, in the order it started them.

    Where nothing depends on what ffmpeg makes, it need not be made: then the cut fails once all has been given to it.
    """
    place = pathlib.Path(tempfile.mkdtemp(dir=bench.work))
    spy = place / "ffmpeg"
    spy.write_text(f"""#!/bin/bash
        [[ " $* " == *" pipe:0 "* ]] || exec ffmpeg "$@"
        base={place}/${{EPOCHREALTIME/[.,]/}}-$$
        printf '%s\\0' "$@" >"$base.args"
        {'tee "$base.in" | ffmpeg "$@"' if make else 'cat >"$base.in"'}
    """)
    spy.chmod(0o755)
    server = serve(bench.binary, archive, bench.log, "--ffmpeg", spy)
    if make:
        fetch(server, query)
    else:
        subprocess.run(["curl", "-s", "-o", os.devnull, server[1] + query], timeout=FAR)
    end(server[0])
    return [Command(["ffmpeg", *args.read_text().split("\0")[:-1]], args.with_suffix(".in"))
            for args in sorted(place.glob("*.args"))]


def psnr(command, work):
    """The worst picture of an encoding, compared with what it was made from, in dB."""
    made, stats = work / "end.ts", work / "psnr.log"
    with open(command.stdin, "rb") as stdin, open(made, "wb") as stdout:
        subprocess.run(command.args, stdin=stdin, stdout=stdout, check=True, timeout=FAR)
    trim = command.args[command.args.index("-vf") + 1]
    graph = f"[0:v]{trim},setpts=PTS-STARTPTS[a];[1:v]setpts=PTS-STARTPTS[b];[a][b]psnr=stats_file={stats}"
    output(["ffmpeg", "-nostdin", "-v", "error", "-copyts", "-i", command.stdin, "-copyts", "-i", made,
            "-lavfi", graph, "-f", "null", "-"])
    return min(float(value) for value in re.findall(r"psnr_avg:([\d.]+)", stats.read_text()))
