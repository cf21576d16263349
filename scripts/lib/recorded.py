"""Reads back what scripts/test-recording has recorded: names, time stamps, and the numbers in the pictures."""

import calendar
import re
import subprocess
import threading
import time
import zlib

from camera import HEIGHT, PACKET, TICKS, WIDTH, WRAP, number_of, payload_of, times_of
from harness import FRAMES_A_SECOND, hash_of, iso

NAME = re.compile(r"(\d\d):(\d\d\.\d+)-(\d+\.\d+)-(full|suspect|partial)-([\w-]+)\.ts")
FRAME_TICKS = TICKS // FRAMES_A_SECOND
GREY = WIDTH * HEIGHT


def signed(ticks):
    """A difference of time stamps across the wrap."""
    return (ticks + WRAP // 2) % WRAP - WRAP // 2


def sound_frames(data):
    """The number of ADTS frames in the payload of a PES packet."""
    at = count = 0
    while at + 7 <= len(data) and data[at] == 0xff and data[at + 1] & 0xf0 == 0xf0:
        at += (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        count += 1
    return count


class Segment:
    """A segment: its name, its time stamps, and the numbers of its frames."""

    def __init__(self, path):
        minutes, seconds, duration, self.type, digest = NAME.fullmatch(path.name).groups()
        hour = calendar.timegm(time.strptime(path.parent.name, "%Y-%m-%dT%H"))
        self.path = path
        self.start = hour + 60 * int(minutes) + float(seconds)
        self.duration = float(duration)
        self.end = self.start + self.duration
        data = path.read_bytes()
        self.has_true_hash = hash_of(data) == digest
        # Renaming a file sets its ctime.
        self.named = path.stat().st_ctime
        # The PTS of frames; of sound with the PES packet in which they begin.
        self.video, self.audio = [], []
        for at in range(0, len(data) - PACKET + 1, PACKET):
            packet = data[at:at + PACKET]
            times, start = times_of(packet), payload_of(packet)
            if times and packet[start + 3] >= 0xe0:
                self.video.append(times[0][1])
            elif times:
                self.audio.append([times[0][1], bytearray(packet[start + 9 + packet[start + 8]:])])
                pid = packet[1:3]
            elif self.audio and packet[2] == pid[1] and packet[1] & 0x1f == pid[0] & 0x1f:
                self.audio[-1][1] += packet[start:]
        self.audio = [(pts, sound_frames(frames)) for pts, frames in self.audio]
        # Of each frame that the decoder shows: its number, and a checksum of its luma.
        self.numbers, self.sums, self.complaint = [], [], ""

    def duration_error(self):
        """By how much the duration in the name is off the time stamps, in seconds. The last picture may be shown for longer,
        if there is sound meanwhile."""
        shown = [signed(pts - self.video[0]) for pts in self.video]
        pictures = (max(shown) - min(shown) + FRAME_TICKS) / TICKS
        sound = [signed(pts - self.video[0]) / TICKS for pts, _ in self.audio]
        if self.duration > pictures and max(sound, default=0) > self.duration - NAME_SECONDS:
            return 0.0
        return abs(pictures - self.duration)

    def decode(self):
        """Decodes the segment alone."""
        args = ["ffmpeg", "-nostdin", "-v", "warning", "-threads", "1", "-i", self.path, "-map", "0:v", "-fps_mode",
                "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
        done = subprocess.run(args, capture_output=True, timeout=60, check=False)
        for at in range(0, len(done.stdout) - GREY + 1, GREY):
            frame = done.stdout[at:at + GREY]
            self.numbers.append(number_of(frame))
            self.sums.append(zlib.adler32(frame, 0))
        self.complaint = done.stderr.decode(errors="replace").partition("\n")[0]

    def __str__(self):
        return f"{iso(self.start)} +{self.duration:.3f} {self.type}"


def read_archive(directory):
    """The segments of a variant in order, and the names of other files."""
    files = [path for path in directory.glob("*/*") if path.is_file()]
    segments = [Segment(path) for path in files if NAME.fullmatch(path.name)]
    return sorted(segments, key=lambda segment: segment.start), [path.name for path in files if not NAME.fullmatch(path.name)]


def decode(segments):
    """Decodes each segment."""
    def work(part):
        for segment in part:
            segment.decode()

    parts = [threading.Thread(target=work, args=(segments[part::2],)) for part in (0, 1)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()


# ---- Checks ------------------------------------------------------------------------------------------------

# How far a name may be from the clock in the picture.
NAME_SECONDS = 0.2
OVERLAP_SECONDS = 0.01
# Names move by a millisecond a segment, and are rounded to one.
DURATION_SECONDS = 0.002
# FLV has time stamps in milliseconds.
SOUND_TICKS, SOUND_JITTER = 1920, 100
# Pictures that are shown before one that is sent earlier.
REORDERED = 3
# The last frame, which has just arrived, is shown for a twenty-fifth of a second.
FUTURE_SECONDS = 0.05
# Without dates, names of an HLS list are off by when in the life of its last entry it was read: its names may move by this
# before a new run begins, and after it was opened again this much of its entries may be recorded twice.
UNDATED_FUTURE_SECONDS, UNDATED_TWICE_SECONDS = 1, 2


class Checks:
    """What is wrong with an archive, by event; what lies in no event belongs to the recording."""

    def __init__(self, recording, events, segments, camera, origin, clock_steps, late):
        self.recording, self.events, self.segments, self.camera = recording, events, segments, camera
        self.origin, self.clock_steps, self.late = origin, clock_steps, late
        self.is_dated = recording != "hls"
        self.failures = {name: [] for name in [recording, *(event.name for event in events)]}
        self.figures = {name: {} for name in self.failures}
        self.frames = sum(len(segment.numbers) for segment in segments)

    def event_at(self, wall):
        """The event to which a time belongs."""
        at = wall - self.origin
        return next((event for event in self.events if event.start - event.before <= at < event.until - event.before), None)

    def name_at(self, wall):
        event = self.event_at(wall)
        return event.name if event else self.recording

    def is_faulty(self, wall):
        """Whether the recording may be disturbed at a time."""
        event = self.event_at(wall)
        return event is not None and wall - self.origin <= event.end + event.allowed() + event.before

    def fail(self, wall, text):
        self.failures[self.name_at(wall)].append(text)

    def offset(self, wall):
        """What the clock of the recorder was ahead; shortly after a step that may also be what it was before."""
        earlier = wall - 2 * self.events[0].before
        return {sum(step for at, step in self.clock_steps if at <= moment) for moment in (earlier, wall, wall + 0.2)}

    def real(self, segment):
        """The real time at which a segment was captured."""
        known = [self.camera.captured[number] for number in segment.numbers if number in self.camera.captured]
        return known[0] if known else segment.start

    def run(self):
        for segment in self.segments:
            self.check_segment(segment)
        for one, other in zip(self.segments, self.segments[1:]):
            self.check_join(one, other)
        self.check_frames()
        self.check_sound()

    def check_segment(self, segment):
        at = self.real(segment)
        if not segment.has_true_hash:
            self.fail(at, f"{segment}: the hash is not that of the bytes")
        if not segment.video:
            self.fail(at, f"{segment}: no frames")
            return
        if segment.duration_error() > DURATION_SECONDS:
            self.fail(at, f"{segment}: the duration is off by {segment.duration_error():.3f} s")
        future = FUTURE_SECONDS if self.is_dated else UNDATED_FUTURE_SECONDS
        if min(segment.end - offset for offset in self.offset(segment.named)) > segment.named + future:
            self.fail(at, f"{segment}: it ends {segment.end - segment.named:.3f} s in the future")
        if segment.complaint and segment.type != "partial" and not self.is_faulty(at):
            self.fail(at, f"{segment}: the decoder says `{segment.complaint}`")
        number = segment.numbers[0] if segment.numbers else None
        captured = self.camera.captured.get(number)
        if captured is None:
            if not self.is_faulty(at):
                self.fail(at, f"{segment}: begins with a frame that was not sent ({number})")
            return
        late = min((segment.start - captured - offset for offset in self.offset(captured)), key=abs)
        for name in {self.recording, self.name_at(captured)}:
            figures = self.figures[name]
            figures["late"] = max(figures.get("late", late), late, key=abs)
        low, high = self.late
        event = self.event_at(captured)
        if self.recording.startswith("hls") and event and event.kind == "freeze" and captured < self.origin + event.start:
            # The segment of the list was published after the freeze, and holds frames of both sides.
            return
        if not low <= late <= high:
            self.fail(at, f"{segment}: the name is {late:.3f} s behind the clock in the picture")

    def check_join(self, one, other):
        gap = other.start - one.end
        at = self.real(other)
        if gap < -OVERLAP_SECONDS:
            self.fail(at, f"{other}: overlaps the one before by {-gap:.3f} s")
        # What the source did just before belongs to the event in which it was sent last.
        figures = self.figures[self.name_at(self.real(one) + one.duration)]
        figures["hole"] = max(figures.get("hole", 0), gap)
        if gap > OVERLAP_SECONDS and not self.is_faulty(self.real(one) + one.duration):
            self.fail(at, f"a hole of {gap:.3f} s before {other}")

    def check_frames(self):
        """Each frame that has arrived is there once."""
        seen, twice, lost = {}, {}, {}
        for segment in self.segments:
            for number in segment.numbers:
                if number is not None and seen.setdefault(number, segment) is not segment:
                    twice.setdefault(segment, []).append(number)
        for segment, numbers in twice.items():
            if self.is_dated or len(numbers) > UNDATED_TWICE_SECONDS * FRAMES_A_SECOND:
                self.fail(self.real(segment), f"frame {numbers[0]} and {len(numbers) - 1} others are in {seen[numbers[0]]} and in {segment}")
        if not seen:
            self.failures[self.recording].append("nothing was recorded")
            return
        for number, captured in self.camera.captured.items():
            # The last pictures may lack those that are shown between them.
            if min(seen) < number < max(seen) - REORDERED and number not in seen:
                lost[self.name_at(captured)] = lost.get(self.name_at(captured), 0) + 1 / FRAMES_A_SECOND
        for event in self.events:
            seconds = lost.pop(event.name, 0)
            self.figures[event.name] |= {"lost": seconds, "allowed": event.allowed()}
            if seconds > event.allowed() + 0.001:
                self.failures[event.name].append(f"{seconds:.2f} s were lost, more than {event.allowed():.2f}")
        self.figures[self.recording]["lost"] = sum(lost.values())
        if lost:
            self.failures[self.recording].append(f"{sum(lost.values()):.2f} s were lost without a fault")

    def check_sound(self):
        """The frames of sound follow each other."""
        due = None
        for segment in self.segments:
            at = self.real(segment)
            for pts, frames in segment.audio:
                step = 0 if due is None else signed(pts - due)
                if abs(step) > SOUND_JITTER and not self.is_faulty(at):
                    self.fail(at, f"{segment}: {step / TICKS:.4f} s of sound are missing")
                due = pts + frames * SOUND_TICKS
