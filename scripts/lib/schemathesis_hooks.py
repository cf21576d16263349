"""Extends schemathesis for scripts/test-api: the end of a cut must be after its start, and playlists are text."""

import datetime
import re

import schemathesis


def instant(text):
    """Parses a time; returns `None` if it is invalid."""
    # A space before an offset is a decoded plus.
    text = re.sub(r"(?<=\d) (?=\d\d(:?\d\d)?$)", "+", text) if re.search(r"[T ]\d.* \d", text) else text
    try:
        time = datetime.datetime.fromisoformat(text)
        return time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)
    except (ValueError, OverflowError):
        return None


@schemathesis.deserializer("application/vnd.apple.mpegurl", "text/plain")
def text(_context, response):
    """Playlists, errors and plain text are UTF-8."""
    return response.content.decode("utf-8")


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Swaps the times of a cut if they are in the wrong order. Equal times are replaced by a whole day."""
    query = case.query
    if not case.path.startswith("/cut/") or not isinstance(query, dict):
        return
    times = [query.get(name) for name in ("start", "end")]
    if not all(isinstance(time, str) for time in times):
        return
    start, end = map(instant, times)
    if start is None or end is None or start < end:
        return
    if end < start:
        query["start"], query["end"] = times[1], times[0]
    else:
        query["start"], query["end"] = "2026-11-20", "2026-11-21"
