// The page: chooses what is looked at, and connects the player, the timeline, the clips and the keys.

import { addresses, Failure, getJson, onReachable, pause, request, serverNow, variantsOf } from './api.js';
import { Clips } from './clips.js';
import { Coverage } from './coverage.js';
import { describe, listen } from './keys.js';
import { NativePlayer } from './native.js';
import { mediaSource, Player } from './player.js';
import { saveBlob } from './saving.js';
import { $, away, copy, fill, message, notice, sentence, setText, showClock, showLive, showPlaying, showSound } from './screen.js';
import { formatHash, parseHash, settings } from './state.js';
import { clockText, fullText, iso, lengthText, parseTyped, spanText } from './time.js';
import { Timeline } from './timeline.js';

const SPEEDS = [0.25, 0.5, 1, 1.5, 2, 4, 8, 16];
const LIVE_SECONDS = 60; // what ended longer ago is not live
const MOST_ASKED = 20; // streams that are asked for their newest recording at the start

const video = $('video');
const player = mediaSource() ? new Player(video) : new NativePlayer(video);
const app = { stream: null, variant: null, variants: [], codecs: new Map(), coverage: null, isUtc: settings.get('zone') !== 'local', preview: null };

// A name for a sentence.
const short = (name) => (name.length > 40 ? `${name.slice(0, 39)}…` : name);

// ---- Parts ----

const timeline = new Timeline($('canvas'), {
  variants: () => app.variants,
  variant: () => app.variant,
  ranges: (variant, start, end, spp) => app.coverage?.ranges(variant, start, end, spp) ?? [],
  extent: () => app.coverage?.extent() ?? null,
  edge: () => player.edge || app.coverage?.edge(app.variant) || 0,
  time: () => player.time,
  isUtc: () => app.isUtc,
  clips: () => clips.rows.map((row) => ({ start: row.start, end: row.end, isActive: row === clips.active })),
  frames: (start, end) => player.framesIn(start, end),
  isRecorded: (start, end) => (app.coverage?.ranges(app.variant, start, end, 1).length ?? 0) > 0,
  hasPictures: () => app.variant !== null && player.hasPictures,
});

const clips = new Clips($('rows'), $('row'), {
  source: () => ({ stream: app.stream, variant: app.variant, coverage: app.coverage }),
  isUtc: () => app.isUtc,
  time: () => player.time,
  frameLength: () => player.frameLength,
  snap: (time) => player.snap(time),
  seek: (time) => seek(time),
  notice,
  progress: $('progress'),
  joinedProgress: $('joinedProgress'),
  actions: { saveFrame, copyLink, copyCurl },
});

// ---- What is looked at ----

// The stream that was recorded last; of equal ones the one that was looked at last.
async function chooseStream(streams) {
  const last = settings.get('stream');
  const asked = streams.slice(0, MOST_ASKED);
  const newest = await Promise.all(asked.map(async (stream) => {
    try {
      const { any } = await getJson(addresses.coverage(stream, { start: '-10s' }));
      return Math.max(...any.ranges.map(({ end }) => Date.parse(end)), 0);
    } catch {
      return 0;
    }
  }));
  const most = Math.max(...newest, 0);
  const recent = asked.filter((_, index) => newest[index] > most - LIVE_SECONDS * 1000);
  return recent.includes(last) ? last : (recent[0] ?? streams[0]);
}

async function start() {
  const wanted = parseHash(location.hash);
  const streams = await retry(() => getJson(addresses.streams()));
  if (!streams.length) {
    fill($('stream'), [], null);
    message({ title: 'Nothing has been recorded yet', text: 'As soon as a recorder writes into the archive, it appears here.' });
    await pause(5);
    return start();
  }
  const isThere = streams.includes(wanted.stream);
  if (wanted.stream && !isThere) notice(`There is no stream “${short(wanted.stream)}”.`, true);
  const stream = isThere ? wanted.stream : await chooseStream(streams);
  fill($('stream'), streams, stream);
  return openStream(stream, isThere || !wanted.stream ? wanted : {});
}

// Opens a stream, at what a link says: `{variant, time, clips}`.
async function openStream(stream, wanted = {}) {
  app.opening?.abort();
  pausePlayer();
  const { signal } = (app.opening = new AbortController());
  message(null);
  $('spinner').hidden = false;
  clips.clear();
  const coverage = new Coverage(stream, () => onCoverage(coverage));
  const [{ names, codecs }] = await retry(() => Promise.all([variantsOf(stream), loadCoverage(coverage, signal)]), signal);
  if (signal.aborted) return;
  Object.assign(app, { stream, codecs, coverage, variants: [...names, ...[...coverage.variants.keys()].filter((name) => !names.includes(name))] });
  settings.set('stream', stream);
  document.title = `${short(stream)} – restreamer`;
  const isKnown = app.variants.includes(wanted.variant);
  if (wanted.variant && !isKnown) notice(`There is no variant “${short(wanted.variant)}”.`, true);
  const withFootage = app.variants.filter((name) => coverage.edge(name) > 0);
  app.variant = isKnown ? wanted.variant : (withFootage[0] ?? app.variants[0] ?? null);
  fill($('variant'), app.variants, app.variant);
  // A link says where to look, also where the timeline is not known.
  const isKnownTime = coverage.failure && wanted.time;
  if (!app.variant || (!coverage.extent() && !isKnownTime)) {
    player.close();
    timeline.open(stream, app.variant);
    $('spinner').hidden = true;
    if (coverage.failure) message({ title: 'The archive cannot be read', text: `${sentence(coverage.failure)} Trying again…` });
    else message({ title: 'This stream is empty', text: 'Nothing of it is in the archive yet. It appears here when it is.' });
    await pause(5, signal).then(() => openStream(stream, wanted), () => {});
    return;
  }
  for (const { start, end } of wanted.clips ?? []) clips.add(start, end);
  begin(wanted.time ?? null, wanted.clips?.[0]);
}

// Without coverage there is still a picture; the timeline says why it is empty.
async function loadCoverage(coverage, signal) {
  try {
    await coverage.load(signal);
  } catch (error) {
    if (!(error instanceof Failure) || error.isTemporary) throw error;
    coverage.failure = error.message;
    notice(`The timeline is not available: ${error.message}`, true);
  }
}

// Begins to show a variant: at a time, at a clip, live, or at the end of what was recorded.
function begin(time, clip) {
  timeline.open(app.stream, app.variant);
  const edge = app.coverage.edge(app.variant);
  const at = time ?? clip?.start ?? clip?.end ?? null;
  const codecs = app.codecs.get(app.variant);
  if (at !== null) {
    player.open(app.stream, app.variant, codecs, app.coverage, at);
    const range = clip?.start && clip?.end ? [Math.min(clip.start, at), Math.max(clip.end, at)] : [at - 60, at + 60];
    timeline.show(range[0] - (range[1] - range[0]) * 0.2, range[1] + (range[1] - range[0]) * 0.2);
    timeline.isFollowing = true;
  } else {
    const isLive = serverNow() - edge < LIVE_SECONDS;
    player.open(app.stream, app.variant, codecs, app.coverage, edge - (isLive ? player.distance : 10));
    timeline.show(edge - 240, edge + 30);
    if (isLive) player.goLive();
  }
}

function openVariant(variant) {
  if (variant === app.variant) return;
  const { time, isFollowing } = player;
  app.variant = variant;
  fill($('variant'), app.variants, variant);
  timeline.open(app.stream, variant);
  player.open(app.stream, variant, app.codecs.get(variant), app.coverage, time);
  player.follow(isFollowing);
  clips.checkAll();
  saveHash();
}

// Repeats what fails for a while until it works; other failures are shown.
async function retry(run, signal) {
  for (let wait = 1; ; wait = Math.min(wait * 1.5, 5)) {
    try {
      return await run();
    } catch (error) {
      if (error.name === 'AbortError') return new Promise(() => {});
      $('spinner').hidden = true;
      message({ title: error.status ? 'The archive cannot be read' : 'The server does not answer', text: `${sentence(error.message)} Trying again…` });
      await pause(wait, signal).catch(() => {});
      if (signal?.aborted) return new Promise(() => {});
      message(null);
    }
  }
}

// ---- What grows ----


function onCoverage(coverage) {
  if (coverage !== app.coverage) return;
  const more = [...coverage.variants.keys()].filter((name) => !app.variants.includes(name));
  if (more.length) {
    app.variants.push(...more);
    fill($('variant'), app.variants, app.variant);
    timeline.resize();
  }
  timeline.invalidate();
}

// Asks for the end of the recording, often while it is live and looked at.
async function poll() {
  for (;;) {
    await pause(document.hidden ? 10 : isRecording() ? 2 : 5);
    if (!app.coverage) continue;
    // A recording that began or went on is seen by the next poll.
    await app.coverage.poll().catch(() => {});
  }
}

const isRecording = () => serverNow() - player.edge < LIVE_SECONDS;

// ---- Actions ----

function seek(time) {
  if (!Number.isFinite(time)) return;
  app.preview = null;
  player.seek(time);
  timeline.isFollowing = true;
  timeline.invalidate();
}

const round = (by) => seek(player.time + by);

function goTo() {
  $('timeField').value = fullText(player.time, app.isUtc);
  setText($('timeHint'), '13:08 · 13:08:42.120 · 11-27 13:08 · 2026-11-27 13:08 · −90s');
  $('timeHint').className = '';
  $('timeDialog').showModal();
  $('timeField').select();
}

function last30() {
  // Live, up to the newest recording; else up to what is seen.
  const isLive = player.isFollowing || player.edge - player.time < player.distance + 2;
  const end = isLive ? player.edge : player.time;
  const first = app.coverage?.extent()?.[0] ?? -Infinity;
  const row = clips.active && !clips.active.isWhole ? clips.active : clips.add();
  row.set('start', Math.floor(Math.max(end - 30, first) * 1e3 + 1e-3) / 1e3);
  row.set('end', Math.floor(end * 1e3 + 1e-3) / 1e3);
  if (timeline.x(row.start) < 0 || timeline.x(row.end) > timeline.width) timeline.show(end - 60, end + 20);
  notice('The last 30 seconds are marked. S saves them.');
  return row;
}

function mark(which) {
  const frame = player.frame();
  clips.mark(which, frame && !player.target ? frame.time : player.time);
  timeline.invalidate();
}

async function saveFrame() {
  const frame = player.frame();
  const time = frame ? frame.time + frame.length / 2 : player.time;
  const name = `${app.stream}_${app.variant}_${iso(time).replace(/:/g, '-')}.png`.replace(/[/\\]/g, '_');
  try {
    const response = await request(addresses.frame(app.stream, app.variant, 'png', time));
    saveBlob(await response.blob(), name);
    notice('Saved this frame as PNG');
  } catch (error) {
    // The browser has the very picture too.
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    if (!canvas.width) return notice(error.message, true);
    canvas.getContext('2d').drawImage(video, 0, 0);
    canvas.toBlob((blob) => saveBlob(blob, name), 'image/png');
    notice(`Saved the frame from the browser: ${error.message}`);
  }
  return undefined;
}

const link = (time, ranges) => new URL(formatHash({ ...app, time, clips: ranges }), location.href).href;

async function copyLink(row) {
  const isCopied = await copy(link(row.start, [row]));
  notice(isCopied ? 'Copied a link to this clip' : 'This browser does not let the page copy', !isCopied);
}

async function copyCurl(row) {
  const url = row.found?.mp4 ?? addresses.cut(app.stream, app.variant, 'mp4', row.start, row.end, { type: 'smart' });
  const isCopied = await copy(`curl -OJ '${url.replace(/'/g, '%27')}'`);
  notice(isCopied ? 'Copied the curl command' : 'This browser does not let the page copy', !isCopied);
}

function saveClip() {
  const row = clips.active?.isWhole ? clips.active : clips.whole.at(-1);
  if (row) row.save('mp4');
  else notice('Mark a range first: C for the last 30 seconds, or I and O.');
}

function saveJoined() {
  if (clips.whole.length > 1) clips.saveJoined();
  else saveClip();
}

function preview() {
  const ranges = clips.whole;
  if (!ranges.length) return;
  if (app.preview) {
    app.preview = null;
    player.pause();
    return;
  }
  seek(ranges[0].start);
  app.preview = { ranges, index: 0 };
  player.play();
}

// Goes on to the next range where one ends.
function watchPreview() {
  const { preview: now } = app;
  if (!now || player.target) return;
  if (player.time < now.ranges[now.index].end - 0.01) return;
  now.index += 1;
  if (now.index < now.ranges.length) {
    player.seekTo(now.ranges[now.index].start, true);
    return;
  }
  app.preview = null;
  player.pause();
  notice('End of the preview');
}

function toggle() {
  if (player.isPlaying) return player.pause();
  if (isRecording() && player.edge - player.time < player.distance + 1) return player.goLive();
  return player.play();
}

function pausePlayer() {
  app.preview = null;
  player.pause();
}

function setSpeed(speed) {
  player.setSpeed(speed);
  $('speed').value = String(speed);
}

function faster() {
  if (!player.isPlaying) {
    setSpeed(1);
    return player.play();
  }
  return setSpeed(SPEEDS[Math.min(SPEEDS.indexOf(player.speed) + 1, SPEEDS.length - 1)]);
}

function goLive() {
  app.preview = null;
  const edge = app.coverage?.edge(app.variant);
  if (!isRecording()) return seek(Math.max(player.edge, edge || 0) - 0.001);
  timeline.isFollowing = true;
  setSpeed(1);
  return player.goLive();
}

function setZone(isUtc) {
  app.isUtc = isUtc;
  settings.set('zone', isUtc ? 'utc' : 'local');
  for (const input of document.getElementsByName('zone')) input.checked = (input.value === 'utc') === isUtc;
  clips.refresh();
  timeline.invalidate();
}

function setMuted(isMuted) {
  video.muted = isMuted;
  if (!isMuted && video.volume === 0) video.volume = 0.5;
  $('unmute').hidden = true;
  settings.set('muted', String(isMuted));
}

function fullScreen() {
  const stage = $('stage');
  if (document.fullscreenElement) document.exitFullscreen();
  else if (stage.requestFullscreen) stage.requestFullscreen().catch(() => {});
  else video.webkitEnterFullscreen?.();
}

const actions = {
  toggle,
  pause: pausePlayer,
  back: () => round(-10),
  forward: () => round(10),
  faster,
  left: (event) => round(event.shiftKey ? -10 : -1),
  right: (event) => round(event.shiftKey ? 10 : 1),
  previousFrame: () => step(-1),
  nextFrame: () => step(1),
  first: () => seek(app.coverage?.extent()?.[0]),
  live: goLive,
  goTo,
  last30,
  saveJoined,
  markIn: () => mark('start'),
  markOut: () => mark('end'),
  toIn: () => clips.active && seek(clips.active.start ?? NaN),
  toOut: () => clips.active && seek(clips.active.end ?? NaN),
  save: saveClip,
  add: () => {
    clips.add();
    notice('Mark the new range with I and O.');
  },
  preview,
  remove: () => clips.active && clips.remove(clips.active),
  zoomIn: () => timeline.zoom(0.5),
  zoomOut: () => timeline.zoom(2),
  showAll: () => timeline.showAll(),
  fullScreen,
  mute: () => setMuted(!video.muted),
  zone: () => setZone(!app.isUtc),
  help: () => $('keys').showModal(),
  saveFrame,
};

function step(direction) {
  app.preview = null;
  timeline.isFollowing = true;
  player.step(direction).catch(() => {});
}

// ---- The address ----

let savedHash = '';
let hashTimer = 0;

// Writes what is looked at into the address, soon.
function saveHash() {
  clearTimeout(hashTimer);
  hashTimer = setTimeout(() => {
    if (!app.stream) return;
    const hash = formatHash({ ...app, time: player.isFollowing ? null : player.time, clips: clips.ranges });
    if (hash === savedHash) return;
    savedHash = hash;
    history.replaceState(null, '', hash);
  }, 250);
}

// A link that is pasted into the address of the open page.
window.addEventListener('hashchange', () => {
  if (location.hash === savedHash) return;
  const wanted = parseHash(location.hash);
  const names = [...$('stream').options].map(({ value }) => value);
  if (wanted.stream && names.includes(wanted.stream)) {
    $('stream').value = wanted.stream;
    openStream(wanted.stream, wanted);
  } else start();
});

// ---- Each frame ----

let shown = '';

function tick() {
  requestAnimationFrame(tick);
  watchPreview();
  const { time } = player;
  const now = `${time} ${player.edge} ${player.isFollowing} ${Math.round(serverNow())} ${app.isUtc}`;
  if (now === shown) return;
  shown = now;
  showClock(app.stream && player.state !== 'idle' ? time : NaN, app.isUtc);
  const behind = player.edge - time;
  showLive({ isRecording: isRecording(), isFollowing: player.isFollowing && isRecording(), behind, age: serverNow() - player.edge });
  timeline.invalidate();
}

// What screen readers say of the timeline; not on each frame.
function describeTime() {
  const canvas = $('canvas');
  const extent = app.coverage?.extent() ?? [0, 0];
  canvas.setAttribute('aria-valuemin', Math.floor(extent[0]));
  canvas.setAttribute('aria-valuemax', Math.ceil(extent[1]));
  canvas.setAttribute('aria-valuenow', Math.round(player.time || 0));
  canvas.setAttribute('aria-valuetext', fullText(player.time || 0, app.isUtc));
  setText($('span'), `${spanText(timeline.width * timeline.spp)} in view`);
}

// ---- Connections ----

const spinnerStates = ['loading', 'seeking', 'waiting'];
let spinnerTimer = 0;

function onState() {
  showPlaying(player.isPlaying);
  $('speed').value = String(player.speed);
  clearTimeout(spinnerTimer);
  const isBusy = spinnerStates.includes(player.state);
  // Most seeks are over before a spinner would be seen.
  if (isBusy) spinnerTimer = setTimeout(() => ($('spinner').hidden = false), player.state === 'loading' ? 0 : 400);
  else $('spinner').hidden = true;
  if (player.state === 'failed') {
    message({
      title: 'This cannot be played here',
      text: `${sentence(player.text)} Clips can still be marked and saved. To watch:`,
      code: `ffplay '${addresses.watch(app.stream, app.variant, player.time)}'`,
      button: 'Try again',
      run: () => {
        message(null);
        player.open(app.stream, app.variant, app.codecs.get(app.variant), app.coverage, player.time);
      },
    });
  } else if (player.state === 'empty') {
    message({ title: 'Nothing is there at this time', text: 'Choose another time on the timeline.' });
  } else if (player.state === 'away') {
    away(`${sentence(player.text)} Trying again…`);
  } else {
    message(null);
    if (isReachable) away('');
  }
  saveHash();
}

let isReachable = true;

player.addEventListener('state', onState);
player.addEventListener('seek', () => {
  timeline.invalidate();
  saveHash();
});
player.addEventListener('shown', () => {
  timeline.invalidate();
  describeTime();
});
player.addEventListener('muted', () => ($('unmute').hidden = false));
player.addEventListener('broken', () => notice('A part that cannot be decoded was skipped', true));
player.addEventListener('end', () => notice('The end of the recording'));
player.addEventListener('skipped', ({ detail: { from, to, isSeek } }) => {
  const span = spanText(Math.abs(to - from));
  notice(isSeek ? `Nothing was recorded at ${clockText(from, app.isUtc, 0)}. This is ${span} later.` : `Skipped ${span} that were not recorded`);
});

onReachable((isThere) => {
  isReachable = isThere;
  away(isThere ? '' : 'The server does not answer. Trying again…');
  if (isThere) notice('The server is back');
});

timeline.addEventListener('seek', ({ detail }) => seek(detail.time));
timeline.addEventListener('drag', ({ detail: { kind, time } }) => {
  if (time === undefined) return;
  if (kind === 'playhead') {
    app.preview = null;
    player.seek(time);
  } else if (['start', 'end'].includes(kind) && clips.active) {
    // A grip stops before the other mark.
    const { start, end } = clips.active;
    const limit = kind === 'start' ? Math.min(time, (end ?? Infinity) - 0.001) : Math.max(time, (start ?? -Infinity) + 0.001);
    clips.active.adjust(kind, player.snap(limit));
    player.seek(limit);
  }
});

clips.addEventListener('change', () => {
  const { whole } = clips;
  $('hint').hidden = clips.rows.length > 0;
  setText($('total'), whole.length ? `${whole.length > 1 ? `${whole.length} ranges, ` : ''}${lengthText(clips.total)}` : '');
  $('preview').disabled = !whole.length;
  $('saveJoined').hidden = whole.length < 2;
  timeline.invalidate();
  saveHash();
});

for (const name of ['back', 'previousFrame', 'nextFrame', 'forward', 'markIn', 'markOut', 'last30', 'fullScreen', 'zoomIn', 'zoomOut', 'showAll', 'goTo', 'live', 'help', 'add', 'preview', 'saveJoined', 'mute']) {
  $(name).addEventListener('click', (event) => actions[name](event));
}
$('play').addEventListener('click', toggle);
$('frame').addEventListener('click', saveFrame);
$('unmute').addEventListener('click', () => setMuted(false));
video.addEventListener('click', toggle);
video.addEventListener('volumechange', () => showSound(video));
$('volume').addEventListener('input', ({ target }) => {
  video.volume = target.value;
  video.muted = target.value === '0';
  $('unmute').hidden = true;
  settings.set('volume', target.value);
});
$('stream').addEventListener('change', ({ target }) => openStream(target.value));
$('variant').addEventListener('change', ({ target }) => openVariant(target.value));
$('speed').addEventListener('change', ({ target }) => setSpeed(Number(target.value)));
for (const input of document.getElementsByName('zone')) input.addEventListener('change', () => setZone(input.value === 'utc'));

// A control that was clicked by mouse or finger does not take the keys away.
document.addEventListener('click', ({ target, detail }) => {
  if (detail > 0) target.closest('button')?.blur();
});
for (const select of document.querySelectorAll('select')) select.addEventListener('change', () => select.blur());

$('timeForm').addEventListener('submit', (event) => {
  const time = parseTyped($('timeField').value, player.time, app.isUtc);
  if (!Number.isNaN(time)) return seek(time);
  event.preventDefault();
  $('timeHint').className = 'bad';
  setText($('timeHint'), 'Not a time. Good ones: 13:08 · 13:08:42.120 · 2026-11-27 13:08 · −90s');
  return undefined;
});

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) app.coverage?.poll().catch(() => {});
});

$('speed').append(...SPEEDS.map((speed) => new Option(`${speed}×`, speed, false, speed === 1)));
describe($('keyList'));
video.volume = Number(settings.get('volume') ?? 1);
video.muted = settings.get('muted') === 'true';
showSound(video);
setZone(app.isUtc);
listen(actions);
tick();
setInterval(describeTime, 1000);
setInterval(() => player.isPlaying && saveHash(), 5000);
poll();
start();
