"""Recorders, compared with ffmpeg alone that writes segments of the same inputs.

Both sides receive the same packets by UDP at the same time, so that other load on the machine affects both alike. The cost of
the sender is not counted.
"""

import contextlib
import dataclasses
import os
import socket
import threading
import time

from measure import Case, Goal, cpu_time, end, fail, figure, free_port, memory, output, start

INPUTS = 8
MEGABITS = 5
SECONDS = 60        # that are measured
WARM_UP = 12        # until all inputs are recorded
PACKET = 188
DATAGRAM = 7 * PACKET
SEGMENT_SECONDS = 2


@dataclasses.dataclass
class Recorded:
    """What recording all inputs for a minute costs."""
    cpu: float = figure("CPU time of all, s", "{:.2f}")
    ffmpeg: float = figure("of it ffmpeg, s", "{:.2f}")
    peak: float = figure("peak memory of the largest recorder, MiB", "{:.1f}")


def recording_cases(bench):
    """Eight inputs at once."""
    footage = live_footage(bench.cache)
    ours, alone = "restreamer record", "ffmpeg -f segment alone"
    found = {}

    def both():
        found.update(record_both(bench, footage))
        return found["ours"]

    yield Case(f"{INPUTS} inputs of {MEGABITS} Mbit/s by UDP for {SECONDS} s, both sides at once", {
        ours: both,
        alone: lambda: found["alone"],
    }, [Goal("CPU time, relative to ffmpeg alone", lambda runs: runs[ours].cpu / runs[alone].cpu, 1.3),
        Goal("peak memory of a recorder", lambda runs: runs[ours].peak * 1.048576, 20, "MB")])


def live_footage(cache):
    """A transport stream of constant bit rate: ten seconds of noisy pictures, again and again on one clock."""
    path = cache / "live.ts"
    if path.exists():
        return path
    once = cache / "live-once.ts"
    rate = f"{MEGABITS * 1000 - 300}k"
    output(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=1280x720:r=30:d=10,noise=alls=12:allf=t",
            "-f", "lavfi", "-i", "sine=sample_rate=48000:d=10", "-c:v", "libx264", "-preset", "ultrafast",
            "-tune", "zerolatency", "-g", "60", "-bf", "0", "-b:v", rate, "-maxrate", rate, "-bufsize", "1M",
            "-c:a", "aac", "-b:a", "128k", "-f", "mpegts", once])
    times = -(-(SECONDS + 2 * WARM_UP) // 10)
    output(["ffmpeg", "-v", "error", "-y", "-stream_loop", times, "-i", once, "-c", "copy",
            "-muxrate", f"{MEGABITS}M", "-f", "mpegts", cache / "live.part"])
    os.replace(cache / "live.part", path)
    once.unlink()
    return path


@contextlib.contextmanager
def sender(footage, ports):
    """Sends the footage to all ports at its bit rate, until the block ends."""
    data = footage.read_bytes()
    stop = threading.Event()

    def send():
        began = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for at in range(0, len(data), DATAGRAM):
                wait = began + at * 8 / (MEGABITS * 1e6) - time.monotonic()
                if wait > 0.002 and stop.wait(wait):
                    return
                for port in ports:
                    # A port may be closed already.
                    with contextlib.suppress(ConnectionRefusedError):
                        sock.sendto(data[at:at + DATAGRAM], ("127.0.0.1", port))

    thread = threading.Thread(target=send, name="sender")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def record_both(bench, footage):
    archive, segments = bench.work / "archive", bench.work / "segments"
    ports = [free_port() for _ in range(2 * INPUTS)]
    source = lambda port: f"udp://127.0.0.1:{port}"
    recorders, ffmpegs = [], []
    for number, port in enumerate(ports):
        if number < INPUTS:
            options = ["--log-level", "warn", "--segment-seconds", SEGMENT_SECONDS]
            recorders.append(start([bench.binary, "record", source(port), archive, "bench", number, *options]))
        else:
            (segments / str(number)).mkdir(parents=True, exist_ok=True)
            ffmpegs.append(start(["ffmpeg", "-v", "fatal", "-nostdin", "-i", source(port), "-map", "0:V:0?",
                                  "-map", "0:a?", "-c", "copy", "-f", "segment", "-segment_time", SEGMENT_SECONDS,
                                  "-segment_format", "mpegts", segments / str(number) / "%d.ts"]))
    with sender(footage, ports):
        time.sleep(WARM_UP)
        before = used(recorders, ffmpegs)
        time.sleep(SECONDS)
        after = used(recorders, ffmpegs)
        peak = max(memory(recorder, "VmHWM") for recorder in recorders)
        for child in recorders + ffmpegs:
            end(child)
    check(archive, "*/*/*/*-full-*.ts")
    check(segments, "*/*.ts")
    all_of_ours, own, alone = (late - early for late, early in zip(after, before))
    return {"ours": Recorded(all_of_ours, all_of_ours - own, peak), "alone": Recorded(alone, alone, 0)}


def used(recorders, ffmpegs):
    """CPU seconds used so far: by recorders with their children, by recorders alone, and by ffmpeg alone."""
    own = sum(own_time(recorder) for recorder in recorders)
    return sum(map(cpu_time, recorders)), own, sum(map(cpu_time, ffmpegs))


def own_time(process):
    """CPU seconds used by all threads of a process, without its children."""
    with open(f"/proc/{process.pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def check(directory, pattern):
    """Fails if not all inputs were recorded, and deletes what was."""
    found = [path.stat().st_size for path in directory.glob(pattern)]
    least = 0.9 * INPUTS * SECONDS * MEGABITS * 1e6 / 8
    if len(found) < INPUTS * SECONDS / SEGMENT_SECONDS or sum(found) < 0.8 * least:
        fail(f"`{directory.name}` has only {len(found)} segments with {sum(found):,} bytes")
    for path in directory.glob(pattern):
        path.unlink()
