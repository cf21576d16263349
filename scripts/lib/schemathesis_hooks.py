"""Extends schemathesis for scripts/test-api: playlists are text, and valid requests keep what OpenAPI cannot express.

That is the relations between parameters (an end is after its start), and what a template is. A parameter that breaks one
is replaced or removed, in requests that are otherwise valid; the answers to such parameters are tested by cargo.
"""

import datetime
import math
import re
import struct
import time
import zlib

from hypothesis import strategies
import schemathesis


HOUR, DAY = 3600, 86400
# The live ends of the variants of the test archive, in seconds since 1970, and the first start of both.
LIVE_ENDS = {"source": 1795172402, "480p": 1795172104}
FIRST_START = 1795172102
UNITS = {"d": DAY, "h": HOUR, "m": 60, "s": 1, "ms": 0.001, "": 1}
# A range that all routes take.
GOOD = ("2026-11-20T10:55:02", "2026-11-20T10:55:08")
# The longest range of each kind of route, in seconds, and whether it may be empty.
RANGES = {
    "/cut/{stream}/{variant}.ts": (DAY, False), "/cut/{stream}/{variant}.webm": (DAY, False),
    "/cut/{stream}/{variant}.mp4": (6 * HOUR, False),
    "/storyboard/{stream}/{variant}.jpg": (math.inf, False), "/storyboard/{stream}/{variant}.vtt": (math.inf, False),
    "/waveform/{stream}/{variant}.png": (6 * HOUR, False), "/waveform/{stream}/{variant}.json": (6 * HOUR, False),
    "/{stream}/chat.json": (2 * HOUR, False),
    "/coverage/{stream}.svg": (400 * DAY, True), "/coverage/{stream}/{variant}.svg": (400 * DAY, True),
}
# Routes that require both ends.
CLOSED = ("/waveform/", "/{stream}/chat.json")
# The size of the frames of the test archive, and of the template.
FRAME, TEMPLATE = (320, 180), (640, 360)
# With many ranges a cut takes longer than schemathesis waits. Each that replaces another one has a second.
MAX_RANGES = 4
MAX_STORYBOARD_PIXELS = 40_000_000


def length(text):
    """Parses a length of time into seconds."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([a-z]*)", text))


def instant(text, live_end):
    """Parses a time into seconds since 1970; returns `None` if it is invalid, also because its year is not 1 to 9999."""
    relative = re.fullmatch(r"(now|live|(?=-))(?:([-+ ])((?:[0-9]+(?:[.][0-9]+)?(?:d|h|ms?|s|))+))?", text)
    if relative:
        base, sign, offset = relative.groups()
        seconds = length(offset or "")
        return (time.time() if base == "now" else live_end) + (-seconds if sign == "-" else seconds)
    if re.fullmatch(r"[0-9]{9,11}([.][0-9]+)?", text):
        return float(text)
    # A space before an offset is a decoded plus.
    text = re.sub(r"(?<=\d) (?=\d\d(:?\d\d)?$)", "+", text) if re.search(r"[T ]\d.* \d", text) else text
    try:
        parsed = datetime.datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None


def is_fit(start, end, longest, may_be_empty):
    """Whether a range is not too long and not empty. Times relative to now may be a second off."""
    return start is not None and end is not None and (may_be_empty or end - start > 1) and end - start < longest + 1


def fit_range(path, query, live_end):
    """Swaps the ends of a range if that makes it one that the route takes, else replaces it."""
    limits = RANGES.get(path)
    if not limits:
        return
    start, end = (instant(query[name], live_end) if name in query else None for name in ("start", "end"))
    if "duration" in query:
        seconds = length(query["duration"])
        start, end = (start, start + seconds) if start is not None else (end and end - seconds, end)
    else:
        start = FIRST_START if "start" not in query else start
        end = live_end if "end" not in query else end
    if is_fit(start, end, *limits):
        return
    if "start" in query and "end" in query and is_fit(end, start, *limits):
        query["start"], query["end"] = query["end"], query["start"]
    else:
        query.pop("duration", None)
        query["start"], query["end"] = GOOD


def fit_ranges(path, query, live_end):
    """The same for repeated ranges, and makes transitions fewer than ranges, known to ffmpeg, and shorter than any range."""
    longest, ranges = RANGES[path][0], []
    for pair in query.get("range", [])[:MAX_RANGES]:
        times = sorted(((instant(text, live_end), text) for text in pair.split(",")), key=lambda time: time[0] or 0)
        (start, first), (end, second) = times
        if not is_fit(start, end, longest - MAX_RANGES, False):
            (start, first), (end, second) = (FIRST_START, str(FIRST_START)), (FIRST_START + 1, str(FIRST_START + 1))
        ranges.append(f"{first},{second}")
        longest -= end - start
    replace(query, "range", ranges)
    transitions = ["fade,0.3" if transition else "" for transition in query.get("transition", [])]
    replace(query, "transition", transitions[:max(0, len(ranges) - 1)])


def fit_window(query, live_end):
    """Removes an anchor that is later than the start of a live window."""
    start = instant(query.get("start", ""), live_end)
    if "anchor" in query and start is not None and instant(query["anchor"], live_end) > start - HOUR:
        del query["anchor"]


def fit_edges(query):
    """Orders edges, and replaces those that are not inside the picture."""
    for name in {"crop", "location"} & query.keys():
        width, height = FRAME if name == "crop" else TEMPLATE
        left, top, right, bottom = map(int, query[name].split(","))
        (left, right), (top, bottom) = sorted((left, right)), sorted((top, bottom))
        is_inside = left < right <= width and top < bottom <= height
        query[name] = f"{left},{top},{right},{bottom}" if is_inside else f"0,0,{width},{height}"


def template():
    """A PNG: a template that is black."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    width, height = TEMPLATE
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 + width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def replace(query, name, value):
    """Sets a parameter, or removes it if the value is empty."""
    if value:
        query[name] = value
    else:
        query.pop(name, None)


@schemathesis.deserializer("application/vnd.apple.mpegurl", "audio/x-mpegurl", "text/plain")
def text(_context, response):
    """Playlists, errors and plain text are UTF-8."""
    return response.content.decode("utf-8")


schemathesis.openapi.media_type("image/png", strategies.just(template()))


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Makes the parameters of valid requests fit each other."""
    query, path = case.query, case.path
    if not isinstance(query, dict):
        return
    # Beside both ends it is one too many, beside none of them one too few.
    if "duration" in query and (path.startswith(CLOSED) or ("start" in query) == ("end" in query)):
        del query["duration"]
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    live_end = LIVE_ENDS.get((case.path_parameters or {}).get("variant"), max(LIVE_ENDS.values()))
    # The year may leave 1 to 9999 by the conversion to UTC.
    for name in {"start", "end", "timestamp"} & query.keys():
        if instant(query[name], live_end) is None:
            query[name] = GOOD[0]
    fit_range(path, query, live_end)
    if path.startswith("/cut/"):
        fit_ranges(path, query, live_end)
    if path.startswith("/playlist/") and "end" not in query and "duration" not in query:
        fit_window(query, live_end)
    if "count" in query and int(query["count"]) * int(query.get("width", 0)) ** 2 > MAX_STORYBOARD_PIXELS:
        del query["width"]
    if path.startswith("/thumbnail/"):
        fit_edges(query)
