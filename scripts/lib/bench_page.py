"""The web page in Chromium, on the footage of scripts/demo.

A picture counts when the browser has presented it (`requestVideoFrameCallback`), and is the one of the time that the
player is at.
"""

import contextlib
import dataclasses
import datetime
import itertools
import json
import re
import shutil
import subprocess
import time

from browser import Browser
from measure import ROOT, Case, Goal, end, fail, figure, output, start

CLIP_SECONDS = 30
CLICKS = 24         # places on the timeline, in an order that jumps
WHEEL_STEPS = 60

# Defines `presented`: waits for the picture of the time that the player is at, if that is not `before`.
PRESENTED = """
    const presented = (video, before) => new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('no picture')), 20000);
        const see = (now, {mediaTime}) => {
            const off = video.currentTime - mediaTime;
            if (video.currentTime === before || off < -0.001 || off > 0.05) {
                return video.requestVideoFrameCallback(see);
            }
            clearTimeout(timer);
            resolve(performance.now());
        };
        video.requestVideoFrameCallback(see);
    });
"""


@dataclasses.dataclass
class Wait:
    """How long somebody waits for one thing."""
    total: float = figure("total, s")


@dataclasses.dataclass
class Redraw:
    """What frames of the page cost while the timeline is zoomed."""
    p95: float = figure("main thread per frame, p95, ms", "{:.2f}")
    frames: float = figure("frames", "{:.0f}")


def page_cases(bench):
    """Saving a clip while the recording goes on; then clicks and zooms on footage that is complete."""
    if not shutil.which("chromium"):
        fail("chromium is not installed")
    with demo(bench, "--live") as address, browser(bench, "clip") as page:
        yield clip_case(page, address)
    with demo(bench) as address, browser(bench, "page") as page, browser(bench, "bare") as bare:
        yield click_case(page, bare, address)
        yield redraw_case(page, address)


@contextlib.contextmanager
def demo(bench, *options):
    """The address of a demo that serves the footage it has recorded."""
    process = start([ROOT / "scripts/demo", "--port", "0", "--dir", bench.cache / f"demo{''.join(options)}", *options],
                    stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            found = re.fullmatch(r"# (http://\S+)/\n", line)
            if found:
                break
        else:
            fail("the demo did not start; the reason is above")
        yield found[1]
    finally:
        end(process, grace=30)


@contextlib.contextmanager
def browser(bench, name):
    opened = Browser(bench.work / name)
    try:
        yield opened
    finally:
        opened.close()


def show_page(page, address):
    """Opens the page on a stream and waits for a picture."""
    page.open(f"{address}/#s=demo&v=source")
    page.run("""
        const video = await new Promise((resolve) => {
            const look = () => document.getElementById('video') ? resolve(document.getElementById('video'))
                : setTimeout(look, 5);
            look();
        });
        while (video.readyState < 2 || !video.currentTime) await new Promise((resolve) => setTimeout(resolve, 5));
    """)


def wait_for_recording(address):
    """Waits until more than a clip was recorded without a break."""
    for _ in range(2 * CLIP_SECONDS + 60):
        last = coverage(address)["ranges"][-1]
        is_live = seconds(last["end"]) > time.time() - 15
        if is_live and seconds(last["end"]) - seconds(last["start"]) > CLIP_SECONDS + 2:
            return
        time.sleep(1)
    fail("the demo does not go on recording")


def clip_case(page, address):
    wait_for_recording(address)

    def save():
        page.open("about:blank")
        began = time.perf_counter()
        show_page(page, address)
        page.press("c")
        page.press("s")
        page.run("""
            const text = () => document.getElementById('notice').textContent;
            for (const begun = Date.now(); !text().startsWith('Saved'); ) {
                if (Date.now() - begun > 50000) throw new Error(`not saved: ${text()}`);
                await new Promise((resolve) => setTimeout(resolve, 5));
            }
        """)
        total = time.perf_counter() - began
        check_clip(page.directory, time.time())
        return Wait(total)

    return Case(f"the last {CLIP_SECONDS} s, from opening the page to a saved MP4, while the demo records", {
        "the page, by two keys": save,
    }, [Goal("time", lambda runs: next(iter(runs.values())).total, 10, "s")])


def check_clip(directory, now):
    """Fails if what was saved is not all of what has just happened, and deletes it."""
    for _ in range(200):
        clips = list(directory.glob("*.mp4"))
        if clips and not list(directory.glob("*.crdownload")):
            break
        time.sleep(0.01)
    else:
        fail("no clip was saved")
    show = ["-show_entries", "format=duration:format_tags=creation_time"]
    shown = json.loads(output(["ffprobe", "-v", "error", "-of", "json", *show, *clips]))["format"]
    duration, begin = float(shown["duration"]), seconds(shown["tags"]["creation_time"])
    if abs(duration - CLIP_SECONDS) > 0.1 or begin < now - CLIP_SECONDS - 15:
        fail(f"the clip is {duration} s long and begins {now - begin:.0f} s ago")
    clips[0].unlink()


def coverage(address):
    """What the demo has recorded."""
    return json.loads(output(["curl", "-sSf", f"{address}/coverage/demo/source.json"]))


def click_case(page, bare, address):
    show_page(page, address)
    page.press("k")
    ranges = coverage(address)
    bare.open(f"{address}/files")
    bare.run(f"""
        const video = document.body.appendChild(document.createElement('video'));
        video.muted = true;
        video.src = '/playlist/demo/source.m3u8?start={ranges["start"]}&end={ranges["end"]}';
        await new Promise((resolve, reject) => {{
            video.onloadeddata = resolve;
            video.onerror = () => reject(new Error(video.error.message));
        }});
    """)
    places = itertools.cycle(0.02 + 0.96 * (number * 37 % CLICKS) / CLICKS for number in range(CLICKS))
    positions = itertools.cycle(0.02 + 0.96 * (number * 37 % CLICKS) / CLICKS for number in range(CLICKS))
    x_of, y = timeline_scale(page)
    begin, finish = map(seconds, (ranges["start"], ranges["end"]))

    def click():
        page.run(f"""{PRESENTED}
            const video = document.getElementById('video');
            window.seen = new Promise((resolve, reject) => document.getElementById('canvas').addEventListener(
                'pointerup',
                () => {{
                    const begun = performance.now();
                    presented(video, video.currentTime).then((now) => resolve(now - begun), reject);
                }},
                {{capture: true, once: true}}));
        """)
        page.click(x_of(begin + next(places) * (finish - begin)), y)
        return rested(page.run("return window.seen;"))

    def seek():
        return rested(bare.run(f"""{PRESENTED}
            const video = document.querySelector('video');
            const begun = performance.now();
            const before = video.currentTime;
            video.currentTime = video.duration * {next(positions)};
            return await presented(video, before) - begun;
        """))

    ours, alone = "the page, a click on its timeline", "a bare video, a new currentTime"
    return Case("from a click to the right picture", {ours: click, alone: seek}, [
        Goal("relative to a bare video", lambda runs: runs[ours].total / runs[alone].total, 1.5),
        Goal("time", lambda runs: runs[ours].total * 1000, 250, "ms"),
    ], times=8)


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def timeline_scale(page):
    """Where on the screen the timeline has a time: a function of the time, and the height. Learnt by two clicks."""
    left, top, width = page.run("""
        const {left, top, width} = document.getElementById('canvas').getBoundingClientRect();
        return [left, top, width];
    """)
    found = []
    for x in (left + 0.25 * width, left + 0.5 * width):
        page.click(x, top + 120)
        time.sleep(1)
        text = page.run("return new URLSearchParams(location.hash.slice(1)).get('t');")
        found.append((x, seconds(text)))
    (first_x, first), (second_x, second) = found
    if second - first < 10:
        fail(f"the timeline does not show the demo: clicks went to {found}")
    return lambda moment: first_x + (moment - first) * (second_x - first_x) / (second - first), top + 120


def rested(milliseconds):
    """A time in seconds, after a moment in which the browser finishes what it began."""
    time.sleep(0.5)
    return Wait(milliseconds / 1000)


def redraw_case(page, address):
    def zoom():
        page.open("about:blank")
        show_page(page, address)
        x, y = page.run("""
            const {left, top, width} = document.getElementById('canvas').getBoundingClientRect();
            const original = window.requestAnimationFrame;
            window.costs = [];
            window.requestAnimationFrame = (draw) => original((now) => {
                const begun = performance.now();
                draw(now);
                window.costs.push(performance.now() - begun);
            });
            return [left + width / 2, top + 60];
        """)
        for step in range(WHEEL_STEPS):
            page.wheel(x, y, -200 if step % 20 < 10 else 200)
            time.sleep(0.05)
        costs = sorted(page.run("return window.costs;"))
        if len(costs) < WHEEL_STEPS:
            fail(f"the timeline was drawn {len(costs)} times")
        return Redraw(costs[len(costs) * 95 // 100], len(costs))

    return Case("redraws of the timeline while it is zoomed by the wheel and the video plays", {
        "the page": zoom,
    }, [Goal("p95", lambda runs: next(iter(runs.values())).p95, 8, "ms")])
