"""What soak, attack and cluster share: footage, an archive, a server that is watched, and a verdict."""

import base64
import contextlib
import datetime
import hashlib
import http.client
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or "target")
TARGET = TARGET if TARGET.is_absolute() else ROOT / TARGET
SEGMENT_SECONDS = 2
FRAMES_A_SECOND = 25


class Failed(Exception):
    """Why a trial has failed."""


def say(text=""):
    print(text, flush=True)


def build():
    """Builds the server; its path."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=ROOT, check=True)
    return TARGET / "release/restreamer"


# ---- Footage and archive -----------------------------------------------------------------------------------

def make_footage(directory, seconds=40):
    """Segments of moving pictures and sound on one clock: their paths, in order, and their hashes."""
    directory.mkdir()
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error",
         "-f", "lavfi", "-i", f"testsrc2=size=640x360:rate={FRAMES_A_SECOND}:duration={seconds},noise=alls=8:allf=t",
         "-f", "lavfi", "-i", f"sine=frequency=330:sample_rate=48000:duration={seconds - 0.05}",
         "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", str(FRAMES_A_SECOND * SEGMENT_SECONDS),
         "-sc_threshold", "0", "-pix_fmt", "yuv420p", "-b:v", "2M", "-c:a", "aac",
         "-f", "segment", "-segment_time", str(SEGMENT_SECONDS), "-segment_format", "mpegts", str(directory / "%03d.ts")],
        check=True)
    paths = sorted(directory.glob("*.ts"))
    return [(path, hash_of(path.read_bytes())) for path in paths]


def hash_of(data):
    """The hash of a segment's bytes, as its name has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def utc(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def iso(seconds):
    """A time as parameters have it, to the millisecond."""
    return utc(seconds).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


def place(variant, start, source, digest):
    """Puts a segment of footage under its name, as a recorder does; its path."""
    hour = variant / utc(start).strftime("%Y-%m-%dT%H")
    hour.mkdir(parents=True, exist_ok=True)
    path = hour / f"{utc(start).strftime('%M:%S')}.000-{SEGMENT_SECONDS}.000-full-{digest}.ts"
    hidden = hour / f".{path.name}"
    with contextlib.suppress(FileExistsError):
        os.link(source, hidden)
        # Of two names of one file a renaming would leave both.
        if path.exists():
            hidden.unlink()
        else:
            hidden.rename(path)
    return path


# ---- The server --------------------------------------------------------------------------------------------

class Server:
    """A server in a process of its own, and what it holds."""

    def __init__(self, program, base, log, *options):
        self.log = log
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", str(program), "--base-dir", str(base), "--host", "127.0.0.1",
             "--port", "0", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log.open("wb"), start_new_session=True)
        line = self.process.stdout.readline().decode()
        if not line.startswith("listening on http://"):
            raise Failed(f"the server did not start: {log.read_text(errors='replace').strip()}")
        self.port = int(line.rpartition(":")[2])
        self.proc = pathlib.Path(f"/proc/{self.process.pid}")

    def holdings(self):
        """Memory and its peak in KiB, threads, descriptors, children."""
        status = dict(line.split(":", 1) for line in (self.proc / "status").read_text().splitlines())
        number = lambda name: int(status[name].split()[0])
        children = []
        for task in (self.proc / "task").iterdir():
            with contextlib.suppress(OSError):
                children += (task / "children").read_text().split()
        return {"memory": number("VmRSS"), "peak": number("VmHWM"), "threads": number("Threads"),
                "descriptors": len(list((self.proc / "fd").iterdir())), "children": len(children)}

    def at_rest(self, most=None, patience=20):
        """What it holds once that does not change any more, and is not more than `most`."""
        begun, before, since = time.monotonic(), None, time.monotonic()
        watched = ("threads", "descriptors", "children")
        while time.monotonic() - begun < patience:
            now = self.holdings()
            if before is None or any(now[name] != before[name] for name in watched) or \
                    (most and any(now[name] > most[name] for name in watched)):
                since = time.monotonic()
            if time.monotonic() - since > 1:
                return now
            before = now
            time.sleep(0.1)
        return self.holdings()

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def get(self, target, connection=None):
        """Asks; the answer and all of its body."""
        own = connection or self.connect()
        try:
            own.request("GET", target)
            answer = own.getresponse()
            return answer, answer.read()
        finally:
            if connection is None:
                own.close()

    def stop(self, patience=40):
        """Tells it to stop; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self):
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def complaints(self):
        """Lines of its log that are warnings or errors."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if " ERROR " in line or " WARN " in line]


def shown(held):
    return (f"{held['memory'] / 1024:.1f} MiB (peak {held['peak'] / 1024:.1f}), {held['threads']} threads, "
            f"{held['descriptors']} descriptors, {held['children']} children")


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


# ---- The verdict -------------------------------------------------------------------------------------------

class Faults:
    """What went wrong, from any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.found = []

    def add(self, text):
        with self.lock:
            self.found.append(text)
            if len(self.found) <= 10:
                say(f"  wrong: {text}")


def verdict(name, run):
    """Runs a trial and says in the last line how it went."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        faults = run()
    except KeyboardInterrupt:
        faults = ["interrupted"]
    except (Failed, OSError, subprocess.CalledProcessError) as error:
        faults = [str(error)]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        say(f"{name}: FAIL: {faults[0]}{more}")
        sys.exit(1)
    say(f"{name}: PASS")
