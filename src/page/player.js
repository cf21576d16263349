// The player: fragments of MP4 through Media Source Extensions. The clock of the recording is the clock of the player: its
// `currentTime` is in seconds since 1970.
//
// One loop does everything in order: it moves to where the viewer wants to be, then loads what comes next. A seek ends
// what the loop waits for. `time` is the wall clock by the names of segments, as cuts take it; inside a run of segments
// the timestamps of the fragments may differ from it by a few milliseconds, the `shift` of an entry.

import { Failure, request } from './api.js';
import { readFrames, readInit } from './fragment.js';
import { Playback } from './playback.js';
import { Recording } from './recording.js';

// So long that every recording lies in it. A MediaSource without an end could be sought only where it has data.
const DURATION = 2 ** 32;

// What is kept behind the position, in seconds.
const KEEP = 45;

// How long a segment without its own key frame is followed back to one.
const MOST_BACK = 20;

// The frames at the end of what the element has that it may not show yet, in seconds.
const LAST_FRAMES = 1;

// How long the element may take to show what it has, in seconds.
const SEEK_SECONDS = 20;

// How many entries in a row may be left out because no fragment can be made of them.
const MOST_SKIPPED = 4;

export const mediaSource = () => window.ManagedMediaSource ?? window.MediaSource;

export class Player extends Playback {
  constructor(video) {
    super(video);
    this.infos = new Map();
    this.stop = new AbortController();
    this.wake = () => {};
    video.addEventListener('ended', () => this.jump());
    video.addEventListener('error', () => this.recover());
    for (const name of ['waiting', 'playing', 'timeupdate', 'seeked']) video.addEventListener(name, () => this.wake());
    setInterval(() => this.watch(), 200);
  }

  // Opens a variant at a time; with `keep` the picture stays until the new one is there.
  open(stream, variant, codecs, coverage, time) {
    this.stop.abort();
    this.stop = new AbortController();
    this.recording = new Recording(stream, variant, coverage);
    this.codecs = codecs;
    this.init = '';
    this.current = null;
    this.needsReset = true;
    this.setState('loading');
    this.seekTo(time);
    this.run(this.stop.signal);
  }

  close() {
    this.stop.abort();
    this.recording = null;
    this.setState('idle');
    this.video.removeAttribute('src');
    this.video.load();
  }

  // ---- What the viewer wants ----

  get edge() {
    return this.recording?.edge ?? 0;
  }

  // How far behind the newest segment it plays live.
  get distance() {
    return Math.max(3, 2 * (this.current ? this.current.end - this.current.start : 2));
  }

  // The wall clock of the picture that is shown, or that is on its way.
  get time() {
    if (this.target) return this.target.time;
    const frame = this.frame();
    if (frame && (this.video.paused || this.video.seeking)) return frame.time;
    const entry = this.entryShown();
    return this.video.currentTime - (entry?.shift ?? 0);
  }

  seekTo(time, isJump = false) {
    this.target = { time, isJump };
    this.interrupt?.abort();
    this.wake();
    this.emit('seek');
  }

  async start() {
    // An element that has ended would begin at its very beginning.
    if (this.video.ended) this.jump();
    else await super.start();
  }

  // ---- Frames ----

  // The entry whose frames the element shows.
  entryShown() {
    const now = this.video.currentTime + 1e-4;
    const holds = (entry) => entry?.frames && entry.frames.times[0] <= now && now < entry.frames.end + 0.05;
    if (holds(this.current)) return this.current;
    if (!this.recording) return null;
    for (const entry of this.recording.entries.values()) {
      if (entry.isLoaded && holds(entry)) {
        this.current = entry;
        return entry;
      }
    }
    return this.current;
  }

  // The frame that is shown: `{entry, index, time, length}`, or null.
  frame() {
    const entry = this.entryShown();
    if (!entry?.frames) return null;
    return frameAt(entry, this.video.currentTime - entry.shift);
  }

  // Goes to the next frame or the one before; over a hole to its other side.
  async step(direction) {
    if (this.wantsPlay) this.pause();
    this.follow(false);
    const { signal } = this.stop;
    // Steps that come faster than pictures go on from the frame that is on its way.
    const from = this.target ? await this.frameOf(this.target.time, signal) : this.frame();
    if (!from) return this.seekTo(this.time + direction / 25);
    const index = from.index + direction;
    const { times } = from.entry.frames;
    if (index >= 0 && index < times.length) return this.seekTo(times[index] - from.entry.shift);
    if (direction > 0) {
      const { entry, isJoined } = await this.recording.next(from.entry, signal);
      if (entry) this.seekTo(await this.edgeFrame(entry, 0, signal), !isJoined);
      return undefined;
    }
    const entry = await this.recording.lastBefore(from.entry.start, signal);
    if (entry) this.seekTo(await this.edgeFrame(entry, -1, signal));
    return undefined;
  }

  async frameOf(time, signal) {
    const entry = await this.recording.at(time, signal);
    if (!entry) return null;
    await this.fetch(entry, signal);
    return entry.frames ? frameAt(entry, time) : null;
  }

  // The time of the first or last frame of an entry.
  async edgeFrame(entry, index, signal) {
    await this.fetch(entry, signal);
    return entry.frames ? entry.frames.times.at(index) - entry.shift : index ? entry.end - 0.04 : entry.start;
  }

  // The times of frames between two times, as far as they are known.
  framesIn = (start, end) => {
    const found = [];
    for (const { frames, shift } of this.recording?.entries.values() ?? []) {
      if (!frames || frames.end - shift < start || frames.times[0] - shift > end) continue;
      for (const time of frames.times) if (time - shift >= start - 1 && time - shift <= end) found.push(time - shift);
    }
    return found.sort((a, b) => a - b);
  };

  // The start of the frame at a time, where it is known; else the time.
  snap(time) {
    for (const entry of this.recording?.entries.values() ?? []) {
      if (entry.frames && entry.start <= time && time < entry.end) return frameAt(entry, time).time;
    }
    return time;
  }

  // Whether there is video; known when something was loaded.
  get hasPictures() {
    return this.current?.info ? Boolean(this.current.info.video) : true;
  }

  // How long a frame lasts here, in seconds.
  get frameLength() {
    return this.frame()?.length ?? 0.04;
  }

  // ---- The loop ----

  async run(signal) {
    let wait = 0.5;
    while (!signal.aborted) {
      this.interrupt = new AbortController();
      signal.addEventListener('abort', () => this.interrupt.abort(), { once: true });
      try {
        if (this.needsReset) await this.reset(signal);
        const { target } = this;
        if (target) await this.reach(target, this.interrupt.signal);
        else await this.fill(this.interrupt.signal);
        wait = 0.5;
      } catch (error) {
        if (signal.aborted) return;
        if (error.name === 'AbortError') continue;
        if (!(error instanceof Failure)) {
          console.warn(error);
          this.needsReset = error.name === 'InvalidStateError';
        } else if (error.entry && this.skip(error)) {
          continue;
        } else if (!error.isTemporary && error.status !== 500 && this.target) {
          this.setState(error.isEmpty ? 'empty' : 'failed', error.message);
          // Another place may work.
          const { target } = this;
          while (this.target === target && !signal.aborted) await this.rest(60);
          continue;
        }
        if (this.target || error.status) this.setState('away', error.message);
        await this.rest(wait);
        wait = Math.min(wait * 2, 4);
        continue;
      }
      if (!this.target) await this.rest(0.5);
    }
  }

  // Waits until something happens, or for a time.
  rest(seconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  // Makes the element ready for a variant: a new source, or the same without its data.
  async reset(signal) {
    if (this.source?.readyState === 'open' && this.buffer && !this.video.error) {
      this.buffer.abort();
      await this.update(() => this.buffer.remove(0, Infinity));
    } else {
      const Source = mediaSource();
      this.source = new Source();
      this.buffer = null;
      this.video.disableRemotePlayback = true;
      const opened = once(this.source, 'sourceopen', signal);
      URL.revokeObjectURL(this.url);
      this.url = URL.createObjectURL(this.source);
      this.video.src = this.url;
      await opened;
      this.source.duration = DURATION;
    }
    this.init = '';
    for (const entry of this.recording.entries.values()) entry.isLoaded = false;
    this.needsReset = false;
  }

  // Shows the picture at a time.
  async reach(target, signal) {
    if (!['loading', 'away'].includes(this.state)) this.setState('seeking');
    this.video.pause();
    let { time } = target;
    let entry = await this.recording.at(time, signal);
    if (!entry) {
      const next = await this.recording.after(time, signal);
      entry = next ?? (await this.recording.lastBefore(time, signal));
      if (!entry) throw this.reason ?? Object.assign(new Failure(406, ''), { isEmpty: true });
      if (next) {
        if (!target.isJump) this.emit('skipped', { from: time, to: next.start, isSeek: true });
        time = next.start;
      } else {
        time = await this.edgeFrame(entry, -1, signal);
      }
    }
    await this.load(entry, time, signal);
    if (this.target !== target) return;
    this.current = entry;
    const frame = entry.frames && frameAt(entry, time);
    // The middle of a frame shows it whatever the rounding, and Firefox fails exactly where a frame of sound begins.
    const position = frame ? frame.time + entry.shift + Math.min(frame.length / 2, 0.02) : time + 0.001;
    if (Math.abs(this.video.currentTime - position) > 1e-4 || this.video.seeking) {
      const seeked = once(this.video, 'seeked', signal);
      this.video.currentTime = position;
      await within(SEEK_SECONDS, seeked);
    }
    if (this.target !== target) return;
    this.target = null;
    this.setState('ready');
    this.emit('shown');
    if (this.wantsPlay) this.start();
  }

  // Loads an entry, and as many before it as its pictures need.
  async load(entry, time, signal) {
    const chain = [entry];
    await this.fetch(entry, signal);
    let first = entry;
    while (first.frames && first.frames.firstSync > time + entry.shift && chain.length < MOST_BACK) {
      first = await this.recording.before(first, signal);
      if (!first) break;
      await this.fetch(first, signal);
      chain.unshift(first);
    }
    if (chain.length > 1 && !chain.every((part) => this.isBuffered(part))) {
      for (const part of chain) part.isLoaded = false;
    }
    for (const part of chain) await this.append(part, signal);
    // Decoders show the last frames of what they have only when there is more, or when they know that nothing comes.
    if (entry.end - time > LAST_FRAMES) return;
    const next = await this.recording.next(entry, signal);
    if (next.entry && next.isJoined) await this.fetch(next.entry, signal);
    if (!next.isJoined || (next.entry && !this.isCompatible(next.entry))) await this.finish(entry);
    else if (next.entry) await this.append(next.entry, signal);
  }

  // Loads what comes next, and one entry before, for steps back.
  async fill(signal) {
    const entry = this.entryShown();
    if (!entry) return;
    const now = this.video.currentTime;
    const goal = now + Math.min(12 + 8 * this.speed, 80);
    let at = entry;
    await this.append(at, signal);
    while (at.end < goal) {
      const next = await this.recording.next(at, signal);
      if (!next.isJoined) {
        await this.finish(at);
        if (next.entry) await this.fetch(next.entry, signal);
        break;
      }
      if (!next.entry) break;
      await this.fetch(next.entry, signal);
      if (!this.isCompatible(next.entry)) {
        await this.finish(at);
        break;
      }
      await this.append(next.entry, signal);
      at = next.entry;
    }
    if (!this.wantsPlay) {
      const before = await this.recording.before(entry, signal);
      if (before) await this.fetch(before, signal);
    }
    await this.evict(now - KEEP);
    this.recording.prune(now);
  }

  isBuffered(entry) {
    if (!entry.isLoaded) return false;
    if (!entry.frames) return true;
    const middle = (entry.frames.times[0] + entry.frames.end) / 2;
    const { buffered } = this.video;
    for (let index = 0; index < buffered.length; index++) {
      if (buffered.start(index) <= middle && middle < buffered.end(index)) return true;
    }
    return false;
  }

  // Downloads an entry and its initialization section, unless they are there.
  async fetch(entry, signal) {
    if (entry.data || (entry.isLoaded && entry.info)) return;
    const getInit = async () => {
      if (this.infos.has(entry.init)) return;
      const init = await this.getPart(entry, entry.init, signal);
      this.infos.set(entry.init, { init, ...readInit(init) });
    };
    const [data] = await Promise.all([this.getPart(entry, entry.url, signal), getInit()]);
    entry.info = this.infos.get(entry.init);
    entry.frames = entry.info.video ? readFrames(data, entry.info.video) : null;
    entry.shift = entry.frames ? entry.frames.times[0] - entry.start : 0;
    entry.data = data;
  }

  async getPart(entry, url, signal) {
    try {
      return await (await request(url, { signal })).arrayBuffer();
    } catch (error) {
      // The file is gone, or holds nothing that can be played.
      if ([404, 501].includes(error.status)) error.entry = entry;
      throw error;
    }
  }

  // Leaves out an entry that cannot be had. Not where several are alike: then the reason concerns all of them.
  skip(error) {
    error.entry.isBroken = true;
    this.reason = error;
    this.skipped = (this.skipped ?? 0) + 1;
    return this.skipped < MOST_SKIPPED;
  }

  // Whether the element can take an entry after those that it has: all have the same kinds of tracks.
  isCompatible(entry) {
    return !this.buffer || this.kinds === kinds(entry.info);
  }

  // Gives an entry to the element, unless it has it.
  async append(entry, signal) {
    if (this.isBuffered(entry)) return;
    entry.isLoaded = false;
    await this.fetch(entry, signal);
    [this.skipped, this.reason] = [0, null];
    if (!this.isCompatible(entry)) {
      // Another kind of tracks needs another source.
      [this.source, this.needsReset] = [null, true];
      throw new DOMException('another source', 'AbortError');
    }
    const codecs = entry.info.isKnown ? entry.info.codecs : this.codecs || entry.info.codecs;
    const type = `video/mp4; codecs="${codecs}"`;
    if (!this.buffer || this.type !== type) {
      if (!mediaSource().isTypeSupported(type)) throw new Failure(415, `This browser does not play ${codecs}.`);
      if (this.buffer) this.buffer.changeType(type);
      else this.buffer = this.source.addSourceBuffer(type);
      [this.type, this.kinds] = [type, kinds(entry.info)];
    }
    if (this.init !== entry.init) {
      await this.update(() => this.buffer.appendBuffer(entry.info.init));
      this.init = entry.init;
    }
    const { data } = entry;
    try {
      await this.update(() => this.buffer.appendBuffer(data));
    } catch (error) {
      if (error.name !== 'QuotaExceededError') throw error;
      await this.evict(this.video.currentTime - 2);
      await this.update(() => this.buffer.appendBuffer(data));
    }
    entry.data = null;
    entry.isLoaded = true;
    if (this.source.readyState === 'open' && this.source.duration < DURATION) this.source.duration = DURATION;
  }

  // Says that nothing comes behind an entry, so that its last frames are shown and the element ends there.
  async finish(entry) {
    if (!entry.isLoaded) return;
    const end = entry.frames?.end ?? entry.end;
    const { buffered } = this.video;
    if (buffered.length && buffered.end(buffered.length - 1) > end + 0.5) {
      await this.update(() => this.buffer.remove(end + 0.2, Infinity));
      for (const other of this.recording.entries.values()) if (other.start > entry.start) other.isLoaded = false;
    }
    if (this.source.readyState === 'open') this.source.endOfStream();
  }

  async evict(before) {
    const { buffered } = this.video;
    if (!buffered.length || buffered.start(0) > before - 10 || this.source.readyState !== 'open') return;
    await this.update(() => this.buffer.remove(0, before));
    for (const entry of this.recording.entries.values()) if (entry.start < before) entry.isLoaded = false;
  }

  // Runs an operation of the buffer to its end.
  async update(operation) {
    const { buffer } = this;
    while (buffer.updating) await once(buffer, 'updateend');
    const ended = once(buffer, 'updateend');
    operation();
    await ended;
  }

  // ---- Holes and stalls ----

  // Goes on behind a hole.
  async jump() {
    const entry = this.entryShown();
    if (!this.wantsPlay || this.target || !entry) return;
    try {
      const next = await this.recording.next(entry, this.stop.signal);
      if (this.target || !this.wantsPlay) return;
      if (!next.entry) {
        if (next.isJoined) return;
        this.pause();
        this.emit('end');
        return;
      }
      if (next.entry.start - entry.end > 0.1) this.emit('skipped', { from: entry.end, to: next.entry.start });
      this.seekTo(next.entry.start, true);
    } catch {
      // The loop reports that the server is away; this is tried again when the viewer plays.
    }
  }

  // Looks whether it stands still although it could go on, and whether it fell behind the live end.
  watch() {
    const { video } = this;
    if (!this.wantsPlay || this.target || !this.recording) return;
    const isStill = video.currentTime === this.lastPosition;
    this.lastPosition = video.currentTime;
    this.stillFor = isStill ? (this.stillFor ?? 0) + 0.2 : 0;
    if (!isStill) this.setState('ready');
    if (video.ended) return void this.jump();
    if (video.paused && this.stillFor > 0.4) this.start();
    if (this.stillFor > 0.6) {
      const { buffered } = video;
      for (let index = 0; index < buffered.length; index++) {
        const gap = buffered.start(index) - video.currentTime;
        // A gap inside a run that names do not show.
        if (gap > 0 && gap < 1) video.currentTime = buffered.start(index) + 0.002;
      }
      if (this.state !== 'away') this.setState('waiting');
    }
    if (this.isFollowing && this.edge - this.time > this.distance + 8) this.seekTo(this.edge - this.distance, true);
    if (this.speed > 1 && this.edge - this.time < this.distance) {
      this.setSpeed(1);
      this.follow(true);
    }
  }

  // Begins anew behind a decoder's error; what it cannot take at all is skipped.
  recover() {
    if (!this.recording || !this.video.error) return;
    const now = performance.now();
    this.errors = [...(this.errors ?? []).filter((at) => now - at < 10000), now];
    const time = this.time;
    this.needsReset = true;
    this.source = null;
    if (this.errors.length > 4) {
      this.stop.abort();
      return void this.setState('failed', `The browser cannot decode this part. ${this.video.error.message}`.trim());
    }
    if (this.errors.length > 1) this.emit('broken');
    this.seekTo(this.errors.length > 1 && this.current ? Math.max(this.current.end, time + 0.1) : time, true);
  }
}

// The frame of an entry that is shown at a time.
function frameAt(entry, time) {
  const { times, end } = entry.frames;
  const at = time + entry.shift + 2e-5;
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= at) low = middle + 1;
    else high = middle;
  }
  const index = Math.max(low - 1, 0);
  const length = (times[index + 1] ?? end) - times[index];
  return { entry, index, time: times[index] - entry.shift, length };
}

const kinds = (info) => `${info.video ? 'video' : ''} ${info.codecs.split(',').length}`;

// The result of a promise, or a failure that the viewer is told of.
async function within(seconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failure(415, 'The browser has this part, but does not show it.')), seconds * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// The next event of a name. Fails when the signal does.
function once(target, name, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      target.removeEventListener(name, done);
      reject(new DOMException('stopped', 'AbortError'));
    };
    const done = (event) => {
      signal?.removeEventListener('abort', stop);
      resolve(event);
    };
    if (signal?.aborted) return stop();
    target.addEventListener(name, done, { once: true });
    signal?.addEventListener('abort', stop, { once: true });
    return undefined;
  });
}
