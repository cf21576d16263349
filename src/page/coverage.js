// What is recorded: ranges of each variant, from the server, at the resolution that is looked at. Nothing that is known is
// asked for again; the end grows by small requests.

import { addresses, getJson } from './api.js';
import { iso, parseIso } from './time.js';

// A tile has ranges at one scale: level n merges what is nearer together than 4^n seconds (level 0: nothing).
const LEVELS = 9;
const tileSeconds = (level) => 4096 * 4 ** (level + 1);
const scaleOf = (level) => (level ? 4 ** level : undefined);

// How far back the growing end is asked for. After a longer pause everything is asked for anew.
const RECENT_SECONDS = 60;

// Names differ from each other by rounding; gaps up to this are none (the server's rule).
export const TOLERANCE = 0.011;

const parseRange = ({ start, end, type }) => ({ start: parseIso(start), end: parseIso(end), type: type ?? 'full' });

export class Coverage {
  constructor(stream, onChange) {
    this.stream = stream;
    this.onChange = onChange;
    this.variants = new Map(); // the whole extent of each variant, at a coarse scale
    this.recent = new Map(); // what was recorded since
    this.tiles = new Map();
    this.holes = new Map(); // answers about short ranges
    this.failure = null;
    this.polledAt = 0;
    this.isLoaded = false;
  }

  // Asks for everything, coarsely.
  async load(signal) {
    this.polledAt = Date.now() / 1000;
    const answer = await this.ask({ scale: 60 }, signal);
    this.variants = answer;
    this.recent.clear();
    this.tiles.clear();
    this.isLoaded = true;
    this.failure = null;
    this.onChange();
  }

  // Asks for the end. Each variant answers relative to its own.
  async poll(signal) {
    const now = Date.now() / 1000;
    if (!this.isLoaded || now - this.polledAt > RECENT_SECONDS / 2) return this.load(signal);
    this.polledAt = now;
    const answer = await this.ask({ start: `-${RECENT_SECONDS}s` }, signal);
    let isNew = false;
    for (const [name, ranges] of answer) {
      if (!this.variants.has(name)) return this.load(signal);
      const before = this.edge(name);
      this.recent.set(name, union([...(this.recent.get(name) ?? []), ...ranges]));
      isNew ||= this.edge(name) !== before;
    }
    this.failure = null;
    if (isNew) this.onChange();
  }

  async ask(values, signal) {
    const answer = await getJson(addresses.coverage(this.stream, values), { signal });
    return new Map(Object.entries(answer.variants).map(([name, found]) => [name, found.ranges.map(parseRange)]));
  }

  // The end of the newest recording of a variant; NaN if there is none.
  edge(variant) {
    const ends = [this.variants.get(variant)?.at(-1)?.end, this.recent.get(variant)?.at(-1)?.end];
    return Math.max(...ends.filter((end) => end !== undefined), -Infinity) || NaN;
  }

  // The extent of all variants: `[start, end]`, or null.
  extent() {
    let [start, end] = [Infinity, -Infinity];
    for (const ranges of [...this.variants.values(), ...this.recent.values()]) {
      if (!ranges.length) continue;
      start = Math.min(start, ranges[0].start);
      end = Math.max(end, ranges.at(-1).end);
    }
    return end > start ? [start, end] : null;
  }

  // Ranges of a variant that meet `start` to `end`, as fine as a pixel of `spp` seconds shows. What is finer than what is
  // known is asked for, and comes with `onChange`.
  ranges(variant, start, end, spp) {
    const all = this.variants.get(variant) ?? [];
    const recent = this.recent.get(variant) ?? [];
    let level = 0;
    while (level < LEVELS && 4 ** (level + 1) < spp) level++;
    const coarse = (from, to) => clip(all, from, to);
    if (scaleOf(level) > 60 || !this.isLoaded) return union([...coarse(start, end), ...clip(recent, start, end)]);
    const length = tileSeconds(level);
    const found = [];
    for (let index = Math.floor(start / length); index * length < end; index++) {
      const [from, to] = [index * length, (index + 1) * length];
      if (!coarse(from, to).length) continue;
      const tile = this.tile(level, index);
      found.push(...clip(tile ? (tile.get(variant) ?? []) : all, Math.max(from, start), Math.min(to, end)));
    }
    return union([...found, ...clip(recent, start, end)]);
  }

  // A tile, if it is there; else it is asked for.
  tile(level, index) {
    const key = `${level}/${index}`;
    const known = this.tiles.get(key);
    if (known !== undefined) return known;
    if (this.failure) return null;
    this.tiles.set(key, null);
    const length = tileSeconds(level);
    const values = { start: iso(index * length), end: iso((index + 1) * length), scale: scaleOf(level) };
    const { tiles } = this;
    this.ask(values).then(
      (answer) => {
        tiles.set(key, answer);
        this.onChange();
      },
      () => tiles.delete(key),
    );
    return null;
  }

  // The exact ranges of a variant between two times.
  async exact(variant, start, end, signal) {
    const answer = await this.ask({ start: iso(start), end: iso(end) }, signal);
    return answer.get(variant) ?? [];
  }

  // Holes of a variant between two times, the ends included: `[{start, end}]`.
  async holesIn(variant, start, end, signal) {
    const holes = [];
    let at = start;
    for (const range of await this.exact(variant, start, end, signal)) {
      if (range.start - at > TOLERANCE) holes.push({ start: at, end: range.start });
      at = Math.max(at, range.end);
    }
    if (end - at > TOLERANCE) holes.push({ start: at, end });
    return holes;
  }

  // The start of the first recording of a variant that begins at or behind a time that lies in a hole; NaN if there is none.
  async next(variant, time, signal) {
    const ranges = [...(this.variants.get(variant) ?? []), ...(this.recent.get(variant) ?? [])];
    const following = union(ranges).find((range) => range.end > time + TOLERANCE);
    if (!following) return NaN;
    if (following.start > time) return following.start;
    // The hole is shorter than what this scale shows.
    const fine = await this.exact(variant, time, Math.min(following.end, time + 3600), signal);
    return fine.find((range) => range.end > time + TOLERANCE)?.start ?? NaN;
  }
}

// The parts of sorted ranges between two times.
function clip(ranges, start, end) {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[middle].end <= start) low = middle + 1;
    else high = middle;
  }
  const found = [];
  for (; low < ranges.length && ranges[low].start < end; low++) found.push(ranges[low]);
  return found;
}

// Ranges in order, those of one type that meet joined.
function union(ranges) {
  const sorted = [...ranges].sort((a, b) => a.start - b.start || b.end - a.end);
  const joined = [];
  for (const range of sorted) {
    const last = joined.at(-1);
    if (last && range.end <= last.end && range.type === last.type) continue;
    if (last && last.type === range.type && range.start <= last.end + TOLERANCE) last.end = Math.max(last.end, range.end);
    else joined.push({ ...range });
  }
  return joined;
}
