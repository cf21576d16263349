// The filmstrip and the waveform of the timeline: pictures and levels in tiles on a fixed grid, each asked for once, a few at
// a time, what is in view first. What leaves the view before it came is not waited for.

import { addresses, Failure, getJson, request } from './api.js';

const MOST_KEPT = 300;
const AT_ONCE = 3;

// Asks for things by key, and remembers them.
class Loader {
  constructor(onChange) {
    this.onChange = onChange;
    this.clear();
  }

  clear() {
    for (const { stop } of this.running?.values() ?? []) stop.abort();
    this.kept = new Map();
    this.running = new Map();
    this.wanted = new Map();
    this.failure = null;
  }

  // What is there under a key: `undefined` until it comes, `null` if there is nothing.
  get(key, load) {
    const known = this.kept.get(key);
    if (known === undefined && !this.kept.has(key)) this.wanted.set(key, load);
    return known;
  }

  // To be called when all that is in view was asked for.
  settle() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.begin(), 120);
  }

  begin() {
    for (const [key, { stop }] of this.running) if (!this.wanted.has(key)) stop.abort();
    if (this.failure) return;
    for (const [key, load] of this.wanted) {
      if (this.running.size >= AT_ONCE) break;
      if (this.running.has(key) || this.kept.has(key)) continue;
      const stop = new AbortController();
      this.running.set(key, { stop });
      this.load(key, load, stop.signal);
    }
  }

  async load(key, load, signal) {
    const { kept } = this;
    try {
      kept.set(key, await load(signal));
      if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Failure)) kept.set(key, null);
      else if (error.isTemporary) await new Promise((resolve) => setTimeout(resolve, 2000));
      else if ([501, 503].includes(error.status)) this.failure = error.message;
      else kept.set(key, null);
    } finally {
      if (this.running.get(key)?.stop.signal === signal) this.running.delete(key);
      if (!signal.aborted) {
        this.wanted.delete(key);
        this.onChange();
      }
    }
    this.begin();
  }
}

const picture = async (url, signal) => createImageBitmap(await (await request(url, { signal })).blob());

// Lengths of time that a cell of the filmstrip may have, each at most 1.5 times the one before.
const STEPS = [1, 1.5, 2, 3, 4, 6, 8, 10, 15, 20, 30, 40, 60, 90, 120, 180, 240, 360, 480, 600, 900, 1200, 1800, 2700];
for (let step = 3600; step < 1e9; step *= 1.5) STEPS.push(Math.round(step / 60) * 60);

const CELLS = 10;

// A strip of a variant.
class Strip {
  // `isRecorded(start, end)` says where there is something to ask for.
  constructor(onChange, isRecorded) {
    this.loader = new Loader(onChange);
    this.isRecorded = isRecorded;
  }

  open(stream, variant) {
    Object.assign(this, { stream, variant });
    this.loader.clear();
  }

  get failure() {
    return this.loader.failure;
  }
}

export class Film extends Strip {
  // The cells in view: `{start, end, image, x, y, width, height}`, of which `image` is a part, or missing.
  cells(start, end, spp, width, edge, frames) {
    this.loader.wanted.clear();
    const cells = width * spp < 0.9 ? this.frames(start, end, width * spp, frames) : this.tiles(start, end, width * spp, edge);
    this.loader.settle();
    return cells;
  }

  // Single frames, exact: on the frames that the player knows, else on a grid.
  frames(start, end, least, frames) {
    const times = frames(start, end);
    const length = times.length > 1 ? times[1] - times[0] : 0.04;
    const every = Math.max(1, Math.ceil(least / length - 0.01));
    const cells = [];
    const add = (from, to) => {
      const at = Math.round((from + length / 2) * 1e3) / 1e3;
      const load = (signal) => picture(addresses.frame(this.stream, this.variant, 'jpg', at, 240), signal);
      const image = this.isRecorded(at, at + 0.001) ? this.loader.get(`frame ${at}`, load) : null;
      cells.push({ start: from, end: to, image, x: 0, y: 0, width: image?.width, height: image?.height });
    };
    for (let index = 0; index < times.length; index++) {
      const number = Math.round(times[index] / length);
      if (number % every) continue;
      add(times[index], times[index] + every * length);
    }
    if (!times.length) {
      const step = every * length;
      for (let number = Math.floor(start / step); number * step < end; number++) add(number * step, (number + 1) * step);
    }
    return cells;
  }

  // Key frames, ten in a picture.
  tiles(start, end, least, edge) {
    const step = STEPS.find((length) => length >= least) ?? STEPS.at(-1);
    const cells = [];
    for (let index = Math.floor(start / step / CELLS); index * step * CELLS < end; index++) {
      const from = index * step * CELLS;
      const count = Math.min(CELLS, Math.floor((edge - from) / step) + 1);
      if (count < 1) break;
      // A cell shows what is there when it begins.
      const begins = Array.from({ length: count }, (_, cell) => from + cell * step);
      if (!begins.some((time) => this.isRecorded(time, time + 0.001))) continue;
      // The newest tile is asked for again when it can have grown by a cell, but not every second.
      const slow = count < CELLS && step < 5 ? Math.max(1, count - (count % Math.ceil(5 / step))) : count;
      const load = (signal) =>
        picture(addresses.storyboard(this.stream, this.variant, from, from + step * slow, slow, 240), signal);
      const image = this.loader.get(`tile ${step} ${index} ${slow}`, load) ?? this.loader.kept.get(`last ${step} ${index}`);
      if (image && count < CELLS) this.loader.kept.set(`last ${step} ${index}`, image);
      const columns = Math.min(slow, CELLS);
      const width = image ? Math.floor(image.width / columns) : 0;
      for (let cell = 0; cell < slow; cell++) {
        const part = { x: cell * width, y: 0, width, height: image?.height };
        cells.push({ start: from + cell * step, end: from + (cell + 1) * step, image, ...part });
      }
    }
    return cells;
  }
}

const POINTS = 512;

export class Waveform extends Strip {
  // Levels in view: tiles `{start, step, peak, mean}`.
  tiles(start, end, spp, edge) {
    this.loader.wanted.clear();
    const step = 2 ** Math.max(-9, Math.floor(Math.log2(spp)));
    const length = step * POINTS;
    const tiles = [];
    for (let index = Math.floor(start / length); index * length < end; index++) {
      const from = index * length;
      const whole = from + length <= edge;
      // The newest tile grows in steps of a few seconds.
      const until = whole ? from + length : from + Math.floor((edge - from) / Math.max(step, 4)) * Math.max(step, 4);
      const points = Math.floor((until - from) / step);
      if (points < 1 || !this.isRecorded(from, from + points * step)) continue;
      const load = async (signal) => {
        const url = addresses.waveform(this.stream, this.variant, from, from + points * step, points);
        const { peak, mean } = await getJson(url, { signal });
        return { start: from, step, peak, mean };
      };
      const key = `${step} ${index}`;
      const tile = this.loader.get(`${key} ${points}`, load) ?? this.loader.kept.get(`last ${key}`);
      if (tile && !whole) this.loader.kept.set(`last ${key}`, tile);
      if (tile) tiles.push(tile);
    }
    this.loader.settle();
    return tiles;
  }
}
