"""Shared by soak, attack, cluster and test-api: footage, archives, a server process, and the final PASS or FAIL."""

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
    """The reason why a test run cannot continue."""


def say(text=""):
    print(text, flush=True)


def need(*commands):
    """Installs the Debian packages of commands that are missing: see scripts/lib/apt.sh."""
    script = ["bash", "-c", '. "$1" && shift && need "$@"', "need", ROOT / "scripts/lib/apt.sh"]
    if subprocess.run([*script, *commands], check=False).returncode:
        raise Failed("a program is missing; the reason is above")


def build():
    """Builds the server and returns its path."""
    need("cc")
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=ROOT, check=True)
    return TARGET / "release/restreamer"


# ---- Footage and archive -----------------------------------------------------------------------------------

def make_footage(directory, seconds=40, size="640x360"):
    """Encodes segments of video and audio on one clock; returns their paths in order, with their hashes."""
    need("ffmpeg")
    directory.mkdir()
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error",
         "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={FRAMES_A_SECOND}:duration={seconds},noise=alls=8:allf=t",
         "-f", "lavfi", "-i", f"sine=frequency=330:sample_rate=48000:duration={seconds - 0.05}",
         "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", str(FRAMES_A_SECOND * SEGMENT_SECONDS),
         "-sc_threshold", "0", "-pix_fmt", "yuv420p", "-b:v", "2M", "-c:a", "aac",
         "-f", "segment", "-segment_time", str(SEGMENT_SECONDS), "-segment_format", "mpegts", str(directory / "%03d.ts")],
        check=True)
    paths = sorted(directory.glob("*.ts"))
    return [(path, hash_of(path.read_bytes())) for path in paths]


def hash_of(data):
    """The hash of a segment's bytes, in the form used in its name."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def utc(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def iso(seconds):
    """A time in the form of query parameters, to the millisecond."""
    return utc(seconds).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


def add_segment(variant, start, source, digest):
    """Links a segment of footage under its final name, by renaming as a recorder does; returns its path."""
    hour = variant / utc(start).strftime("%Y-%m-%dT%H")
    hour.mkdir(parents=True, exist_ok=True)
    path = hour / f"{utc(start).strftime('%M:%S')}.000-{SEGMENT_SECONDS}.000-full-{digest}.ts"
    hidden = hour / f".{path.name}"
    with contextlib.suppress(FileExistsError):
        os.link(source, hidden)
        # rename(2) between two links of the same file does nothing and would leave both names.
        if path.exists():
            hidden.unlink()
        else:
            hidden.rename(path)
    return path


# ---- Server ------------------------------------------------------------------------------------------------

class Server:
    """A server process and its resource usage."""

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

    def usage(self):
        """Memory and its peak in KiB; numbers of threads, descriptors and children."""
        status = dict(line.split(":", 1) for line in (self.proc / "status").read_text().splitlines())
        number = lambda name: int(status[name].split()[0])
        children = []
        for task in (self.proc / "task").iterdir():
            with contextlib.suppress(OSError):
                children += (task / "children").read_text().split()
        return {"memory": number("VmRSS"), "peak": number("VmHWM"), "threads": number("Threads"),
                "descriptors": len(list((self.proc / "fd").iterdir())), "children": len(children)}

    def idle_usage(self, limit=None, timeout=20):
        """Resource usage once it has been constant for a second, and within `limit` if given."""
        begun, before, since = time.monotonic(), None, time.monotonic()
        watched = ("threads", "descriptors", "children")
        while time.monotonic() - begun < timeout:
            now = self.usage()
            if before is None or any(now[name] != before[name] for name in watched) or \
                    (limit and any(now[name] > limit[name] for name in watched)):
                since = time.monotonic()
            if time.monotonic() - since > 1:
                return now
            before = now
            time.sleep(0.1)
        return self.usage()

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def get(self, target, connection=None):
        """Sends a GET request; returns response and body."""
        own = connection or self.connect()
        try:
            own.request("GET", target)
            response = own.getresponse()
            return response, response.read()
        finally:
            if connection is None:
                own.close()

    def stop(self, timeout=40):
        """Stops the server with SIGTERM; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self):
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def warnings(self):
        """Warnings and errors in its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if " ERROR " in line or " WARN " in line]


def format_usage(usage):
    return (f"{usage['memory'] / 1024:.1f} MiB (peak {usage['peak'] / 1024:.1f}), {usage['threads']} threads, "
            f"{usage['descriptors']} descriptors, {usage['children']} children")


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


# ---- Result ------------------------------------------------------------------------------------------------

class Failures:
    """A thread-safe list of failed checks."""

    def __init__(self):
        self.lock = threading.Lock()
        self.found = []

    def add(self, text):
        with self.lock:
            self.found.append(text)
            if len(self.found) <= 10:
                say(f"  failed: {text}")


def report_result(name, run):
    """Runs a test, which returns its failures, and prints PASS or FAIL as the last line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        failures = run()
    except KeyboardInterrupt:
        failures = ["interrupted"]
    except (Failed, OSError, subprocess.CalledProcessError) as error:
        failures = [str(error)]
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        say(f"{name}: FAIL: {failures[0]}{more}")
        sys.exit(1)
    say(f"{name}: PASS")
