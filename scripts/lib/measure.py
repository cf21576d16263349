"""Shared by the benchmarks: child processes, servers, measurements, and the printed report."""

import dataclasses
import os
import pathlib
import platform
import re
import resource
import signal
import socket
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or "target")
TARGET = TARGET if TARGET.is_absolute() else ROOT / TARGET
RUN_TIMEOUT = 600   # seconds
REPORT = []         # all printed lines, for docs/benchmarks.md


def say(text):
    REPORT.append(text)
    print(text, flush=True)


def fail(text):
    raise SystemExit(f"bench: {text}")


# ---- Child processes ---------------------------------------------------------------------------------------

CHILDREN = []


def start(args, **options):
    """Starts a program in its own session. It is terminated when this process ends."""
    child = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *map(str, args)], start_new_session=True, **options)
    CHILDREN.append(child)
    return child


def in_session(leader):
    """Yields PID and stat fields of each running process in the session of `leader`, itself included."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:     # the process has ended
            continue
        if int(fields[3]) == leader.pid:
            yield int(stat.parent.name), fields


def end(child, grace=5):
    """Terminates a child and all processes that it started, unless that was done before."""
    if child not in CHILDREN:
        return
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace)
        except subprocess.TimeoutExpired:
            pass
    # Its children are in its session, even if they have their own process groups.
    for pid, _ in in_session(child):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    child.wait()
    CHILDREN.remove(child)


def output(args, **options):
    """Runs a program and returns its stdout."""
    done = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, timeout=RUN_TIMEOUT, **options)
    if done.returncode:
        fail(f"`{args[0]}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---- Measurements ------------------------------------------------------------------------------------------

def figure(title, form="{:.3f}"):
    """A measured value, with the title and number format of its table column."""
    return dataclasses.field(metadata={"title": title, "form": form}, default=0.0)


@dataclasses.dataclass
class Timing:
    """Times of one run with a single request."""
    total: float = figure("total, s", "{:.4f}")
    first: float = figure("first byte, s", "{:.4f}")
    cpu: float = figure("CPU time, s")


@dataclasses.dataclass
class Load:
    """Rates of one run with many requests."""
    rate: float = figure("requests/s", "{:.0f}")
    cpu: float = figure("CPU time per request, µs", "{:.1f}")
    p99: float = figure("p99, ms", "{:.2f}")


@dataclasses.dataclass
class Goal:
    """A value computed from the medians of all runs, and its upper bound, or its lower bound if `at_least`."""
    text: str
    value: object       # medians by run name -> value
    limit: float
    unit: str = "x"
    at_least: bool = False


@dataclasses.dataclass
class Case:
    name: str
    runs: dict          # name -> function that returns a Timing, Load or similar; the first is the server
    goals: list
    times: int = 1      # runs of each per round
    note: str = ""


def cpu_time(leader):
    """CPU seconds used by a program and all running processes that it started."""
    ticks = sum(sum(map(int, fields[11:15])) for _, fields in in_session(leader))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(process, name):
    """A figure of the memory of a process, such as `VmHWM`, its peak of resident memory, in MiB."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{name}:\s*(\d+)", status)[1]) / 1024


def fetch(server, path, *options, into=os.devnull):
    """Requests a path with curl from a server, given as its process and base URL."""
    process, address = server
    before = cpu_time(process)
    form = "%{time_total} %{time_starttransfer}"
    words = output(["curl", "-sS", "-f", "-o", into, "-w", form, *options, address + path]).split()
    # The server may reap its children shortly after the response.
    return Timing(*map(float, words), cpu_time(process) - before)


def load(server, path, connections, *options, seconds=3, threads=1, script=None):
    """Requests a path repeatedly with wrk."""
    process, address = server
    args = ["wrk", "--latency", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", *options]
    before = cpu_time(process)
    printed = output([*args, *(["-s", script] if script else []), address + path])
    used = cpu_time(process) - before
    if "Socket errors" in printed or "Non-2xx" in printed:
        fail(f"wrk had errors with `{path}`: {printed}")
    count = int(re.search(r"(\d+) requests in", printed)[1])
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", printed).groups()
    p99 = float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
    return Load(float(re.search(r"Requests/sec:\s+([\d.]+)", printed)[1]), used / count * 1e6, p99)


def read_through(process, began):
    """Reads the whole output of a program; returns the times of the first byte and of the end."""
    first = None
    while os.read(process.stdout.fileno(), 1 << 16):
        first = first or time.perf_counter() - began
    if process.wait(RUN_TIMEOUT):
        fail(f"`{process.args[3]}` ended with status {process.returncode}")
    total = time.perf_counter() - began
    return first or total, total


def pipe(files, args=None):
    """Starts `cat FILES | ARGS`, or `cat FILES` without ARGS. Returns the last program and the start time."""
    began = time.perf_counter()
    cat = start(["cat", *files], stdout=subprocess.PIPE)
    if args is None:
        return cat, began
    last = start(args, stdin=cat.stdout, stdout=subprocess.PIPE)
    cat.stdout.close()
    return last, began


def run_pipes(begin):
    """Starts pipes and reads their output. Measures the first byte of the first pipe and the end of the last."""
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    timings = [read_through(process, began) for process, began in begin()]
    for child in list(CHILDREN):
        if child.poll() is not None:
            CHILDREN.remove(child)
    cpu = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before
    return Timing(max(total for _, total in timings), timings[0][0], cpu)


def measure(cases, rounds):
    """Alternates each case with its counterparts and prints the results."""
    for case in cases:
        runs = {name: [] for name in case.runs}
        for _ in range(rounds * case.times):
            for name, run in case.runs.items():
                runs[name].append(run())
        report(case, runs)


# ---- Report ------------------------------------------------------------------------------------------------

def spread(values, form):
    shown = [form.format(value) for value in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]}–{shown[2]})" if len(values) > 1 else shown[0]


def report(case, runs):
    """Prints the results of a case as a Markdown table, followed by its goals."""
    kind = type(next(iter(runs.values()))[0])
    fields = dataclasses.fields(kind)
    medians = {
        name: kind(*(statistics.median(getattr(run, field.name) for run in found) for field in fields))
        for name, found in runs.items()
    }
    lead = fields[0].name
    ours = getattr(next(iter(medians.values())), lead)
    count = len(next(iter(runs.values())))
    say(f"\n### {case.name}\n\nMedians of {count}, minimum and maximum in parentheses.\n")
    titles = [field.metadata["title"] for field in fields]
    several = len(runs) > 1
    say("| run | " + " | ".join([titles[0], *(["relative to ours"] if several else []), *titles[1:]]) + " |")
    say("|---" * (len(titles) + 1 + several) + "|")
    for name, found in runs.items():
        shown = [spread([getattr(run, field.name) for run in found], field.metadata["form"]) for field in fields]
        ratio = [f"{getattr(medians[name], lead) / ours:.2f}"] if several else []
        say("| " + " | ".join([name, shown[0], *ratio, *shown[1:]]) + " |")
    say("")
    for goal in case.goals:
        value = goal.value(medians)
        met = value >= goal.limit if goal.at_least else value <= goal.limit
        bound = "at least" if goal.at_least else "at most"
        say(f"- {goal.text}: {value:.2f} {goal.unit} (goal: {bound} {goal.limit:g}): **{'met' if met else 'missed'}**")
    if case.note:
        say(case.note)


def machine():
    """Prints the machine and the versions of all programs."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    cpu = re.search(r"model name\s*:\s*(.*)", info)
    memory = int(re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) >> 10
    first = lambda args, key="stdout": getattr(
        subprocess.run(args, capture_output=True, text=True, check=True), key).splitlines()[0]
    say(f"- machine: {cpu[1] if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores, {memory} MiB")
    say(f"- kernel: {platform.release()}; load average at the start: {os.getloadavg()[0]:.1f}")
    say(f"- ffmpeg: {first(['ffmpeg', '-version']).split(' Copyright')[0]}")
    say(f"- nginx: {first(['nginx', '-v'], 'stderr').split(': ')[-1]}; curl: {first(['curl', '-V']).split(' (')[0]}")
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split(" [")[0]
    say(f"- rustc: {first(['rustc', '-V'])}; {wrk}")


# ---- Servers -----------------------------------------------------------------------------------------------

def build():
    """Builds the server and returns its path."""
    say("building the server")
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
    if start(["cargo", "build", "--release", "--locked", "--quiet"], cwd=ROOT, env=environment).wait():
        fail("the server could not be built; the reason is above")
    return TARGET / "release/restreamer"


def serve(binary, archive, log, *options):
    """Starts a server on a free loopback port; returns its process and base URL."""
    fixed = ["--base-dir", archive, "--host", "127.0.0.1", "--port", "0", "--log-level", "warn"]
    child = start([binary, *fixed, *options],
                  stdout=subprocess.PIPE, stderr=open(log, "ab"), text=True)
    line = child.stdout.readline()
    if "http://" not in line:
        fail(f"the server did not start: {pathlib.Path(log).read_text().strip()}")
    return child, line.split()[-1]


def serve_nginx(directory, work):
    """Starts an nginx on a free loopback port that serves a directory; returns its process and base URL."""
    port = free_port()
    (work / "nginx.conf").write_text(f"""
        daemon off; worker_processes 2; pid {work}/nginx.pid; error_log {work}/nginx.log;
        {"user root;" if os.geteuid() == 0 else ""}
        events {{ worker_connections 4096; }}
        http {{
            access_log off; sendfile on; tcp_nopush on; default_type video/mp2t;
            keepalive_requests 1000000000; types {{ application/json json; application/vnd.apple.mpegurl m3u8; }}
            client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
            uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
            server {{ listen 127.0.0.1:{port}; root {directory}; }}
        }}
    """)
    child = start(["nginx", "-e", work / "nginx.log", "-c", work / "nginx.conf"])
    for _ in range(100):
        if child.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return child, f"http://127.0.0.1:{port}"
        time.sleep(0.05)
    fail(f"nginx did not start: {(work / 'nginx.log').read_text().strip()}")
