"""Plays the playlist of a recording, and seeks in it with ffmpeg, ffplay and mpv, for scripts/test-recording."""

import os
import pathlib
import re
import subprocess
import threading

from camera import number_of
from harness import iso
from recorded import GREY

PLAYERS = ["ffmpeg", "ffplay", "mpv"]
# Shorter gaps are none that a viewer sees.
HOLE_SECONDS = 0.2
INTO_SECONDS = 0.5
TIMEOUT = 40
GREY_OUTPUT = ["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
CHECKSUM = re.compile(rb" checksum:([0-9A-F]{8}) ")


class Seeks:
    """The playlist of one recording."""

    def __init__(self, server, variant, segments, directory):
        self.segments, self.directory = segments, directory
        self.variant, self.port = f"test/{variant}", server.port
        self.numbers = {total: number for segment in segments for total, number in zip(segment.sums, segment.numbers)}

    def address(self, start, end):
        # A playlist is finished if its segments reach its end. Times are rounded down.
        start, end = iso(start + 0.0002), iso(end - 0.005)
        return f"http://127.0.0.1:{self.port}/playlist/{self.variant}.m3u8?start={start}&end={end}"

    def play(self, segments):
        """Plays consecutive segments; returns what is wrong."""
        args = ["ffmpeg", "-nostdin", "-v", "warning", "-copyts", "-i", self.address(segments[0].start, segments[-1].end),
                "-map", "0:v", "-fps_mode", "passthrough", "-f", "framecrc", "-"]
        done = subprocess.run(args, capture_output=True, text=True, timeout=120, check=False)
        words = [line for line in done.stderr.splitlines() if line.strip()]
        if words:
            return f"the playlist from {segments[0]} to {segments[-1]}: the decoder says `{words[0][:200]}`"
        shown = sum(not line.startswith("#") for line in done.stdout.splitlines())
        expected = sum(len(segment.numbers) for segment in segments)
        if shown != expected:
            return f"the playlist from {segments[0]} to {segments[-1]} shows {shown} frames instead of {expected}"
        return None

    def holes(self):
        """The segments behind a hole, and where each begins in the playlist, in seconds."""
        found, at = [], 0.0
        for one, other in zip(self.segments, self.segments[1:]):
            at += one.duration
            if other.start - one.end > HOLE_SECONDS and other.duration > INTO_SECONDS:
                found.append((other, at))
        return found

    def check(self):
        """Seeks behind each hole with each player; returns the segment behind it, the player and what is wrong."""
        wanted = [(segment, at, player) for segment, at in self.holes() for player in PLAYERS]
        results = []

        def work(part):
            for segment, at, player in part:
                results.append((segment, player, self.seek(segment, at + INTO_SECONDS, player)))

        parts = [threading.Thread(target=work, args=(wanted[part::2],)) for part in (0, 1)]
        for part in parts:
            part.start()
        for part in parts:
            part.join()
        return results

    def seek(self, segment, at, player):
        """Seeks to a time of the playlist; returns what is wrong."""
        address = self.address(self.segments[0].start, self.segments[-1].end)
        try:
            number = getattr(self, player)(address, f"{at:.3f}")
        except subprocess.TimeoutExpired:
            number = None
        if number is not None and number in segment.numbers:
            return None
        shown = "nothing" if number is None else f"frame {number}"
        return f"{player} shows {shown} at {at:.3f} s, and not one of {segment.numbers[0]} to {segment.numbers[-1]} in {segment}"

    @staticmethod
    def grey(*args):
        """The number of the first frame that ffmpeg shows with these arguments."""
        done = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *args, *GREY_OUTPUT], capture_output=True,
                              timeout=TIMEOUT, check=False)
        return number_of(done.stdout) if len(done.stdout) == GREY else None

    def ffmpeg(self, address, at):
        return self.grey("-ss", at, "-i", address)

    def ffplay(self, address, at):
        """ffplay saves no pictures; it prints their checksums."""
        args = ["ffplay", "-hide_banner", "-an", "-autoexit", "-ss", at, "-vf", "format=gray,showinfo", address]
        player = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  env={**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"})
        killer = threading.Timer(TIMEOUT, player.kill)
        killer.start()
        try:
            found = (CHECKSUM.search(line) for line in player.stderr)
            first = next((match for match in found if match), None)
            return self.numbers.get(int(first.group(1), 16)) if first else None
        finally:
            killer.cancel()
            player.kill()
            player.wait()
            player.stderr.close()

    def mpv(self, address, at):
        directory = pathlib.Path(self.directory) / f"mpv-{self.variant.replace('/', '-')}-{at}"
        directory.mkdir()
        args = ["mpv", "--no-config", "--really-quiet", "--no-audio", "--vo=image", "--vo-image-format=png",
                f"--vo-image-outdir={directory}", f"--start={at}", "--frames=1", address]
        subprocess.run(args, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False)
        pictures = sorted(directory.glob("*.png"))
        return self.grey("-i", pictures[0]) if pictures else None
