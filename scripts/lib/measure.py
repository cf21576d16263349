"""What the benchmarks share: children, servers, what is measured of them, and what is printed."""

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
FAR = 600           # seconds after which a single run has failed
WRITTEN = []        # what was said, for the page of results


def say(text):
    WRITTEN.append(text)
    print(text, flush=True)


def fail(text):
    raise SystemExit(f"bench: {text}")


# ---- Children ----------------------------------------------------------------------------------------------

CHILDREN = []


def start(args, **options):
    """Starts a program in a session of its own, which does not outlive this one."""
    child = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *map(str, args)], start_new_session=True, **options)
    CHILDREN.append(child)
    return child


def in_session(leader):
    """What a program has started and is still there, and itself: the number of each, and the fields of its state."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:     # it has ended
            continue
        if int(fields[3]) == leader.pid:
            yield int(stat.parent.name), fields


def end(child, grace=5):
    """Ends a child and all that it started."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace)
        except subprocess.TimeoutExpired:
            pass
    # What it started is in its session, whatever process group it is in.
    for pid, _ in in_session(child):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    child.wait()
    CHILDREN.remove(child)


def output(args, **options):
    """What a program says."""
    done = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, timeout=FAR, **options)
    if done.returncode:
        fail(f"`{args[0]}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---- What is measured --------------------------------------------------------------------------------------

def figure(title, form="{:.3f}"):
    """A figure of a run, as a column of its table shows it."""
    return dataclasses.field(metadata={"title": title, "form": form}, default=0.0)


@dataclasses.dataclass
class Timing:
    """One run: how long it took."""
    total: float = figure("total, s", "{:.4f}")
    first: float = figure("first byte, s", "{:.4f}")
    cpu: float = figure("processor time, s")


@dataclasses.dataclass
class Load:
    """One run of many requests."""
    rate: float = figure("requests/s", "{:.0f}")
    cpu: float = figure("processor time a request, µs", "{:.1f}")
    p99: float = figure("p99, ms", "{:.2f}")


@dataclasses.dataclass
class Mark:
    """What a case should reach: a figure, and the most it may be, or the least.

    The figure is made of the medians; or, where `paired`, of each round, and the median of these is taken, so that a
    machine that is now faster, now slower does not show in it.
    """
    text: str
    value: object       # runs by their names -> figure
    limit: float
    unit: str = "x"
    least: bool = False
    paired: bool = False


@dataclasses.dataclass
class Case:
    name: str
    runs: dict          # name -> function that returns a Timing or the like; the first is the server
    marks: list
    times: int = 1      # how often each runs in a round
    note: str = ""
    close: object = None    # what is to be done when it is over


def processor_time(leader):
    """Seconds that a program and all that it started have used."""
    ticks = sum(sum(map(int, fields[11:15])) for _, fields in in_session(leader))
    return ticks / os.sysconf("SC_CLK_TCK")


def fetch(server, path, *options):
    """Reads an address of a server, given as its process and its address, with curl."""
    process, address = server
    before = processor_time(process)
    form = "%{time_total} %{time_starttransfer}"
    words = output(["curl", "-sS", "-f", "-o", os.devnull, "-w", form, *options, address + path]).split()
    # What a server has started it may reap a moment after the answer.
    return Timing(*map(float, words), processor_time(process) - before)


def load(server, path, connections, *options, seconds=3, threads=1, script=None, core=None):
    """Has wrk ask a server for an address, again and again; on one core if that is given."""
    process, address = server
    args = [*on_core(core), "wrk", "--latency", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", *options]
    before = processor_time(process)
    said = output([*args, *(["-s", script] if script else []), address + path])
    used = processor_time(process) - before
    if "Socket errors" in said or "Non-2xx" in said:
        fail(f"wrk had errors with `{path}`: {said}")
    count = int(re.search(r"(\d+) requests in", said)[1])
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", said).groups()
    p99 = float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
    return Load(float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]), used / count * 1e6, p99)


def read_through(process, began):
    """Reads all that a program writes."""
    first = None
    while os.read(process.stdout.fileno(), 1 << 16):
        first = first or time.perf_counter() - began
    if process.wait(FAR):
        fail(f"`{process.args[3]}` ended with status {process.returncode}")
    total = time.perf_counter() - began
    return first or total, total


def pipe(files, args=None):
    """Begins `cat FILES | ARGS`; without ARGS `cat` alone. Returns the last program and when it all began."""
    began = time.perf_counter()
    cat = start(["cat", *files], stdout=subprocess.PIPE)
    if args is None:
        return cat, began
    last = start(args, stdin=cat.stdout, stdout=subprocess.PIPE)
    cat.stdout.close()
    return last, began


def run_pipes(begin):
    """Begins pipes and reads what they write: the first byte of the first, and the end of the last."""
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    timings = [read_through(process, began) for process, began in begin()]
    for child in list(CHILDREN):
        if child.poll() is not None:
            CHILDREN.remove(child)
    cpu = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before
    return Timing(max(total for _, total in timings), timings[0][0], cpu)


def measure(cases, rounds):
    """Runs each case in turn with its counterparts and prints what came of it; whether all marks were met."""
    met = True
    for case in cases:
        runs = {name: [] for name in case.runs}
        try:
            for _ in range(rounds * case.times):
                for name, run in case.runs.items():
                    runs[name].append(run())
        finally:
            if case.close:
                case.close()
        met &= report(case, runs)
    return met


# ---- What is printed ---------------------------------------------------------------------------------------

def spread(values, form):
    shown = [form.format(value) for value in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]}–{shown[2]})" if len(values) > 1 else shown[0]


def report(case, runs):
    """Prints a case as a table in Markdown; whether its marks are met."""
    kind = type(next(iter(runs.values()))[0])
    fields = dataclasses.fields(kind)
    medians = {
        name: kind(*(statistics.median(getattr(run, field.name) for run in found) for field in fields))
        for name, found in runs.items()
    }
    lead = fields[0].name
    ours = getattr(next(iter(medians.values())), lead)
    count = len(next(iter(runs.values())))
    say(f"\n### {case.name}\n\nMedians of {count}, least and greatest in brackets.\n")
    titles = [field.metadata["title"] for field in fields]
    several = len(runs) > 1
    say("| run | " + " | ".join([titles[0], *(["of ours"] if several else []), *titles[1:]]) + " |")
    say("|---" * (len(titles) + 1 + several) + "|")
    for name, found in runs.items():
        shown = [spread([getattr(run, field.name) for run in found], field.metadata["form"]) for field in fields]
        ratio = [f"{getattr(medians[name], lead) / ours:.2f}"] if several else []
        say("| " + " | ".join([name, shown[0], *ratio, *shown[1:]]) + " |")
    say("")
    all_met = True
    for mark in case.marks:
        values = [mark.value(dict(zip(runs, found))) for found in zip(*runs.values())] if mark.paired else []
        value = statistics.median(values) if values else mark.value(medians)
        error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.2f}" if len(values) > 1 else ""
        met = value >= mark.limit if mark.least else value <= mark.limit
        bound = "at least" if mark.least else "at most"
        say(f"- {mark.text}: {value:.2f}{error} {mark.unit} (mark: {bound} {mark.limit:g}): **{'met' if met else 'missed'}**")
        all_met &= met
    if case.note:
        say(case.note)
    return all_met and "**missed**" not in case.note


def machine():
    """Says what this ran on."""
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

def build(flags=None, target=TARGET):
    """Builds the server, with flags for the compiler if there are any; the program."""
    say("building the server" + (f" with {flags}" if flags else ""))
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target), **({"RUSTFLAGS": flags} if flags else {})}
    if start(["cargo", "build", "--release", "--locked", "--quiet"], cwd=ROOT, env=environment).wait():
        fail("the server could not be built; the reason is above")
    return target / "release/restreamer"


def on_core(core):
    """What begins a command that is to run on one core only, if one is given."""
    return [] if core is None else ["taskset", "--cpu-list", str(core)]


def serve(binary, archive, log, *options, core=None):
    """Starts a server on a free port of the loopback, on one core if that is given; its process and its address."""
    fixed = ["--base-dir", archive, "--host", "127.0.0.1", "--port", "0", "--log-level", "warn"]
    child = start([*on_core(core), binary, *fixed, *options],
                  stdout=subprocess.PIPE, stderr=open(log, "ab"), text=True)
    line = child.stdout.readline()
    if "http://" not in line:
        fail(f"the server did not start: {pathlib.Path(log).read_text().strip()}")
    return child, line.split()[-1]


def serve_nginx(directory, work):
    """Starts an nginx on the loopback that serves a directory; its process and its address."""
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
