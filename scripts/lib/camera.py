"""A live source for scripts/test-recording: a film whose frames bear their numbers, sent in real time, with faults."""

import contextlib
import random
import socket
import subprocess
import threading
import time

from harness import FRAMES_A_SECOND, Failed, need, utc

WIDTH, HEIGHT = 320, 180
# A number is drawn as this many bits, and below inverted, so that a damaged frame is no other one.
BITS = 14
GROUP_SECONDS = 1
HLS_SECONDS, HLS_ENTRIES = 2, 6
PACKET = 188
TICKS = 90000
WRAP = 1 << 33


# ---- The film ----------------------------------------------------------------------------------------------

def bars():
    """The filters that draw the number of a frame."""
    drawn = ["drawbox=x=0:y=132:w=320:h=48:c=black:t=fill"]
    for bit in range(BITS):
        for y, inverted in ((136, 0), (158, 1)):
            test = f"eq(mod(floor(n/{1 << bit})\\,2)\\,{1 - inverted})"
            drawn.append(f"drawbox=x={8 + 22 * bit}:y={y}:w=18:h=18:c=white:t=fill:enable='{test}'")
    return drawn


def number_of(frame):
    """The number that a grey frame shows; None if it is damaged."""
    number = 0
    for bit in range(BITS):
        upper, lower = (frame[y * WIDTH + 17 + 22 * bit] > 128 for y in (145, 167))
        if upper == lower:
            return None
        number |= upper << bit
    return number


def make_film(path, seconds):
    """Encodes the film: a key frame each second, two B pictures, and a beep on each whole second."""
    need("ffmpeg")
    picture = ",".join([f"testsrc2=size={WIDTH}x{HEIGHT}:rate={FRAMES_A_SECOND}:duration={seconds}", *bars()])
    beep = f"aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t\\,1)\\,0.05)':s=48000:d={seconds}"
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", beep,
         "-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", str(GROUP_SECONDS * FRAMES_A_SECOND),
         "-sc_threshold", "0", "-flags", "+cgop", "-pix_fmt", "yuv420p", "-b:v", "500k", "-c:a", "aac", "-b:a", "64k",
         "-f", "mpegts", "-pes_payload_size", "0", "-mpegts_flags", "+pat_pmt_at_frames", "-muxdelay", "0", str(path)],
        check=True)
    return read_film(path.read_bytes())


def read_time(data, at):
    """A PTS or DTS in a PES header."""
    part = data[at:at + 5]
    return (part[0] >> 1 & 7) << 30 | part[1] << 22 | part[2] >> 1 << 15 | part[3] << 7 | part[4] >> 1


def write_time(data, at, ticks):
    ticks %= WRAP
    data[at] = data[at] & 0xf1 | ticks >> 29 & 0x0e
    data[at + 1] = ticks >> 22 & 0xff
    data[at + 2] = ticks >> 14 & 0xfe | 1
    data[at + 3] = ticks >> 7 & 0xff
    data[at + 4] = ticks << 1 & 0xfe | 1


def payload_of(packet):
    """Where the payload of a packet begins."""
    return 4 + (1 + packet[4] if packet[3] & 0x20 else 0)


def times_of(packet):
    """Where PTS and DTS are in a packet in which a PES packet of video or audio begins: positions and ticks."""
    at = payload_of(packet)
    if not packet[1] & 0x40 or packet[at:at + 3] != b"\0\0\1" or not 0xc0 <= packet[at + 3] < 0xf0:
        return []
    flags = packet[at + 7] >> 6
    positions = ([at + 9] if flags & 2 else []) + ([at + 14] if flags == 3 else [])
    return [(position, read_time(packet, position)) for position in positions]


class Frame:
    """An access unit of video with the packets up to the next one: when it is sent, which frame it is."""

    def __init__(self, pts, dts, is_key):
        self.pts, self.dts, self.is_key = pts, dts, is_key
        self.data, self.stamps = bytearray(), []
        self.number, self.due = 0, 0.0

    def add(self, packet):
        base = len(self.data)
        self.data += packet
        if packet[3] & 0x20 and packet[4] and packet[5] & 0x10:
            self.stamps.append((base + 6, "pcr", packet[6] << 25 | packet[7] << 17 | packet[8] << 9 | packet[9] << 1
                                | packet[10] >> 7))
        self.stamps += [(base + at, "time", ticks) for at, ticks in times_of(packet)]

    def moved(self, shift):
        """The packets with all clocks moved."""
        data = bytearray(self.data)
        for at, kind, ticks in self.stamps:
            moved = (ticks + shift) % WRAP
            if kind == "time":
                write_time(data, at, moved)
            else:
                data[at:at + 4] = (moved >> 1).to_bytes(4, "big")
                data[at + 4] = data[at + 4] & 0x7f | (moved & 1) << 7
        return bytes(data)


def read_film(data):
    """The frames of a transport stream in the order in which they are sent."""
    frames, before = [], []
    for at in range(0, len(data), PACKET):
        packet = data[at:at + PACKET]
        times, start = times_of(packet), payload_of(packet)
        is_video = bool(times) and packet[start + 3] >= 0xe0
        if is_video:
            is_key = bool(packet[3] & 0x20 and packet[4] and packet[5] & 0x40)
            frames.append(Frame(times[0][1], times[-1][1], is_key))
            for earlier in before:
                frames[-1].add(earlier)
            before = []
        is_table = (packet[1] & 0x1f) << 8 | packet[2] in (0, 0x11, 0x1000)
        if frames and not (is_table and not is_video):
            frames[-1].add(packet)
        else:
            # Tables belong to the frame that follows them.
            before.append(packet)
    first = min(frame.pts for frame in frames)
    for frame in frames:
        frame.number = round((frame.pts - first) * FRAMES_A_SECOND / TICKS)
        frame.due = (frame.dts - frames[0].dts) / TICKS
    return frames


# ---- Where it is sent --------------------------------------------------------------------------------------

class Datagrams:
    """Sends by UDP."""

    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def open(self):
        pass

    def send(self, data, _frame, _captured):
        for at in range(0, len(data), 7 * PACKET):
            with contextlib.suppress(OSError):
                self.socket.sendto(data[at:at + 7 * PACKET], self.address)

    def jump(self):
        pass

    def close(self):
        pass


class Process:
    """Sends to the standard input of a program, which is started anew after a restart of the source."""

    def __init__(self, command, log):
        self.command, self.log, self.process = [str(word) for word in command], log, None

    def open(self):
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.command], stdin=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, stderr=self.log.open("ab"))

    def send(self, data, _frame, _captured):
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except OSError as error:
            raise Failed(f"{self.command[0]} of the source has ended; its log: {self.log.read_text(errors='replace')[-300:]}") \
                from error

    def jump(self):
        pass

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            self.process = None


class DatedList:
    """Writes an HLS list whose entries have dates, and its segments."""

    def __init__(self, directory):
        self.directory, self.entries, self.number, self.removed = directory, [], 0, 0
        self.segment, self.start, self.is_new = None, None, False

    def open(self):
        self.directory.mkdir(exist_ok=True)
        self.is_new = bool(self.entries)

    def send(self, data, frame, captured):
        if frame.is_key and (self.segment is None or captured - self.start >= HLS_SECONDS - 0.1):
            if self.segment is not None:
                self.end(captured - self.start)
            self.segment, self.start = bytearray(), captured
        if self.segment is not None:
            self.segment += data

    def end(self, duration):
        name = f"{self.number}.ts"
        self.number += 1
        (self.directory / name).write_bytes(self.segment)
        self.entries.append((name, self.start, min(duration, 2 * HLS_SECONDS), self.is_new))
        self.segment, self.is_new = None, False
        for _ in range(len(self.entries) - HLS_ENTRIES):
            self.removed += self.entries.pop(0)[3]
        old = self.directory / f"{self.number - 2 * HLS_ENTRIES}.ts"
        old.unlink(missing_ok=True)
        text = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{2 * HLS_SECONDS}",
                f"#EXT-X-MEDIA-SEQUENCE:{self.number - len(self.entries)}",
                f"#EXT-X-DISCONTINUITY-SEQUENCE:{self.removed}"]
        for entry, start, length, is_new in self.entries:
            text += ["#EXT-X-DISCONTINUITY"] if is_new else []
            date = utc(start).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
            text += [f"#EXT-X-PROGRAM-DATE-TIME:{date}Z", f"#EXTINF:{length:.3f},", entry]
        new = self.directory / "list.new"
        new.write_text("\n".join(text) + "\n")
        new.rename(self.directory / "list.m3u8")

    def jump(self):
        """Ends the segment, so that the jump is at a discontinuity of the list."""
        if self.segment is not None:
            self.end(HLS_SECONDS)
        self.is_new = True

    def close(self):
        self.segment = None


# ---- The camera --------------------------------------------------------------------------------------------

class Camera(threading.Thread):
    """Sends the film, frame by frame when each is due, and notes which frame was sent when.

    `faults` are (kind, start, seconds), in seconds after the origin: `freeze` stops the source and its clock, `restart`
    leaves frames out and begins a new clock, `jump` moves its clock, `drop` leaves packets out.
    """

    def __init__(self, film, output, faults, origin):
        super().__init__(daemon=True)
        self.film, self.output, self.origin = film, output, origin
        self.faults = sorted(faults, key=lambda fault: fault[1])
        self.stopped = threading.Event()
        self.random = random.Random(1)
        # The wall clock when a frame was captured, and the frames that lack packets.
        self.captured, self.damaged = {}, set()
        self.error = None
        self.delay = min(frame.dts - frame.pts for frame in film) / TICKS

    def run(self):
        try:
            self.output.open()
            self.play()
        except (Failed, OSError) as error:
            self.error = str(error)
        finally:
            self.output.close()

    def play(self):
        pause, shift, off, is_off, waiting = 0.0, 12345 * TICKS, None, False, False
        todo = list(self.faults)
        for frame in self.film:
            due = frame.due + pause
            while todo and due >= todo[0][1]:
                kind, start, seconds = todo.pop(0)
                if kind == "freeze":
                    pause += seconds
                    due += seconds
                elif kind == "jump":
                    waiting = True
                elif kind == "restart":
                    off, is_off = start + seconds, True
                    self.output.close()
                elif kind == "drop":
                    off = start + seconds
            if self.stopped.wait(max(0.0, self.origin + due - time.monotonic())):
                return
            if is_off:
                # A source begins with a key frame.
                if due < off or not frame.is_key:
                    continue
                is_off, off, shift = False, None, self.random.randrange(WRAP)
                self.output.open()
            elif waiting and (frame.is_key or not isinstance(self.output, DatedList)):
                # A list has its discontinuity at a key frame.
                self.output.jump()
                waiting = False
                shift += 5000 * TICKS
            data = frame.moved(shift)
            if off is not None:
                data = self.thinned(frame, data) if due < off else data
            captured = time.time() - (time.monotonic() - self.origin - due) + (frame.pts - frame.dts) / TICKS + self.delay
            self.captured[frame.number] = captured
            self.output.send(data, frame, captured)

    def thinned(self, frame, data):
        """The packets of a frame without some of them."""
        packets = [data[at:at + PACKET] for at in range(0, len(data), PACKET)]
        left = [packet for packet in packets if self.random.random() > 0.03]
        if len(left) < len(packets):
            self.damaged.add(frame.number)
        return b"".join(left)

    def stop(self):
        self.stopped.set()
        self.join()

