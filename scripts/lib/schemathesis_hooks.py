"""What scripts/test-api has schemathesis know beside the document: that of a cut the end lies after the start, and how
to read what is text."""

import datetime
import re

import schemathesis


def instant(text):
    """When a time is, if it is a good one."""
    # A space before an offset is the plus that it was.
    text = re.sub(r"(?<=\d) (?=\d\d(:?\d\d)?$)", "+", text) if re.search(r"[T ]\d.* \d", text) else text
    try:
        time = datetime.datetime.fromisoformat(text)
        return time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)
    except (ValueError, OverflowError):
        return None


@schemathesis.deserializer("application/vnd.apple.mpegurl", "text/plain")
def text(_context, response):
    """Playlists, errors and pages are text in UTF-8."""
    return response.content.decode("utf-8")


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Puts the times of a cut in order. Two that are the same become a day."""
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
