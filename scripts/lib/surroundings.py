"""What scripts/test-recording runs recorders in: a network that can be cut, a disk that can be filled, nginx, a faked clock."""

import contextlib
import datetime
import os
import pathlib
import signal
import subprocess
import threading
import time

from harness import Failed
from measure import free_port

# Networks for documentation (RFC 5737): the first one that is not used here links this machine and a namespace.
NETWORKS = ["198.51.100", "203.0.113", "192.0.2"]
DISK_BYTES = 24 << 20
# Neither the monotonic clock nor times of files are faked.
FAKETIME = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
NGINX_RTMP = "/usr/lib/nginx/modules/ngx_rtmp_module.so"


def run(*command, check=True):
    """Runs a program; returns whether it has succeeded."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise Failed(f"`{' '.join(map(str, command))}` failed: {done.stderr.strip()}")
    return not done.returncode


class Network:
    """A namespace for recorders, whose link can be cut."""

    def __init__(self, stack):
        number = os.getpid() % 100000
        self.name, self.link, peer = f"restreamer-{number}", f"rec{number}a", f"rec{number}b"
        # The addresses of this machine and of the namespace.
        self.outside, self.inside = "127.0.0.1", "127.0.0.1"
        self.exists = os.geteuid() == 0 and run("ip", "netns", "add", self.name, check=False)
        if not self.exists:
            return
        stack.callback(run, "ip", "netns", "del", self.name, check=False)
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", peer, "netns", self.name)
        stack.callback(run, "ip", "link", "del", self.link, check=False)
        used = subprocess.run(["ip", "-4", "address"], capture_output=True, text=True, check=True).stdout
        network = next(network for network in NETWORKS if f" {network}." not in used)
        self.outside, self.inside = f"{network}.1", f"{network}.2"
        run("ip", "address", "add", f"{self.outside}/30", "dev", self.link)
        run("ip", "-n", self.name, "address", "add", f"{self.inside}/30", "dev", peer)
        for device in ("lo", peer):
            run("ip", "-n", self.name, "link", "set", device, "up")
        self.set("up")

    def set(self, state):
        run("ip", "link", "set", self.link, state)

    def prefix(self):
        return ["ip", "netns", "exec", self.name] if self.exists else []


class Disk:
    """A small file system, which can be filled."""

    def __init__(self, directory, stack):
        directory.mkdir(parents=True)
        self.filler = directory / "filler"
        self.exists = os.geteuid() == 0 and \
            run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "restreamer-test", directory, check=False)
        if self.exists:
            stack.callback(run, "umount", "-l", directory, check=False)

    def fill(self, until):
        """Takes all room until a time."""
        threading.Thread(target=self.fill_up, args=(until,), daemon=True).start()

    def fill_up(self, until):
        with contextlib.suppress(OSError), self.filler.open("wb", buffering=0) as file:
            while time.monotonic() < until:
                try:
                    file.write(bytes(4096))
                except OSError:
                    time.sleep(0.01)
        self.filler.unlink()


class Nginx:
    """Takes the stream of an RTMP source and serves it; serves HLS lists."""

    def __init__(self, directory, stack):
        self.http, self.rtmp = free_port(), free_port()
        config = directory / "nginx.conf"
        config.write_text(f"""
            load_module {NGINX_RTMP};
            daemon off; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
            {'user root;' if os.geteuid() == 0 else ''}
            events {{ }}
            rtmp {{ server {{ listen {self.rtmp}; application live {{ live on; }} }} }}
            http {{ access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
                fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
                server {{ listen {self.http}; location / {{ root {directory}; add_header Cache-Control no-cache; }} }} }}
        """)
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "nginx", "-c", config], stderr=subprocess.DEVNULL)
        stack.callback(end, process)


def end(process, by=signal.SIGTERM):
    """Ends a process."""
    if process.poll() is None:
        process.send_signal(by)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def faketime_library():
    """The library that fakes the clock of a program into which it is loaded."""
    return str(next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1")))


class Recorder:
    """`restreamer record` of one input."""

    def __init__(self, command, log, environment, stack):
        self.command, self.log, self.environment = [str(word) for word in command], log, environment
        self.process = None
        self.start()
        stack.callback(lambda: end(self.process, signal.SIGKILL))

    def start(self):
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.log.open("ab"),
                                        env={**os.environ, **self.environment})

    def last_start(self):
        """When it has begun to record for the last time, by its log, in seconds since 1970."""
        lines = [line for line in self.log.read_text().splitlines() if " recording `" in line]
        return datetime.datetime.fromisoformat(lines[-1].split()[0].replace("Z", "+00:00")).timestamp() if lines else 0.0

    def kill(self):
        self.process.kill()
        self.process.wait()

    def kill_ffmpeg(self):
        pids = [pid for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
                for pid in (task / "children").read_text().split()]
        for pid in pids:
            os.kill(int(pid), signal.SIGKILL)
