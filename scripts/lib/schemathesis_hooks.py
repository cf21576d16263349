"""Extends schemathesis for scripts/test-api: which times go together, and playlists are text."""

import datetime
import re
import time

import schemathesis


# The live ends of the variants of the test archive, in seconds since 1970.
LIVE_ENDS = {"source": 1795172402, "480p": 1795172104}
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001, "": 1}


def instant(text, live_end):
    """Parses a time into seconds since 1970; returns `None` if it is invalid."""
    relative = re.fullmatch(r"(now|live|(?=-))(?:([-+ ])((?:[0-9]+(?:[.][0-9]+)?(?:d|h|ms?|s|))+))?", text)
    if relative:
        base, sign, offset = relative.groups()
        seconds = sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([a-z]*)", offset or ""))
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


@schemathesis.deserializer("application/vnd.apple.mpegurl", "audio/x-mpegurl", "text/plain")
def text(_context, response):
    """Playlists, errors and plain text are UTF-8."""
    return response.content.decode("utf-8")


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Removes a duration beside both ends or neither, and a duration of zero of a cut. Swaps the times of a cut if they are
    in the wrong order; equal times are replaced by a whole day."""
    query = case.query
    if not isinstance(query, dict):
        return
    is_cut = case.path.startswith("/cut/")
    if "duration" in query:
        is_empty = is_cut and not re.search("[1-9]", str(query["duration"]))
        if ("start" in query) == ("end" in query) or is_empty:
            del query["duration"]
    if not is_cut:
        return
    times = [query.get(name) for name in ("start", "end")]
    if not all(isinstance(time, str) for time in times):
        return
    live_end = LIVE_ENDS.get((case.path_parameters or {}).get("variant"), 0)
    start, end = (instant(time, live_end) for time in times)
    if start is None or end is None or start < end:
        return
    if end < start - 1:
        query["start"], query["end"] = times[1], times[0]
    else:
        query["start"], query["end"] = "2026-11-20", "2026-11-21"
