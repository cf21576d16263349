// The segments of a variant, from its playlists: a stretch of two minutes at a time, each asked for once unless it can grow.

import { addresses, entriesOf } from './api.js';
import { TOLERANCE } from './coverage.js';

const STRETCH = 120;

// How many stretches are kept.
const MOST_STRETCHES = 120;

// A stretch that can grow is asked for again after this, in seconds.
const REFRESH = 1;

// An entry of which the server can make no fragment counts as missing.
const isUsable = (entry) => !entry.isBroken;

export class Recording {
  constructor(stream, variant, coverage) {
    Object.assign(this, { stream, variant, coverage });
    this.stretches = new Map();
    this.entries = new Map(); // by address, so that a segment in two stretches is one entry
  }

  // The end of what is known to be recorded.
  get edge() {
    return Math.max(this.coverage.edge(this.variant) || 0, this.lastEnd ?? 0);
  }

  // Forgets what is far from a time, so that a page that is open for days does not grow.
  prune(time) {
    if (this.stretches.size < MOST_STRETCHES) return;
    for (const index of [...this.stretches.keys()]) {
      if (Math.abs(index * STRETCH - time) > (MOST_STRETCHES * STRETCH) / 4) this.stretches.delete(index);
    }
    const kept = new Set([...this.stretches.values()].flatMap(({ entries }) => entries.map(({ url }) => url)));
    for (const url of [...this.entries.keys()]) if (!kept.has(url)) this.entries.delete(url);
  }

  // The entries of a stretch, in order.
  async stretch(index, signal) {
    const known = this.stretches.get(index);
    const now = performance.now() / 1000;
    if (known && (known.isFinished || now - known.at < REFRESH)) return known.entries.filter(isUsable);
    const url = addresses.list(this.stream, this.variant, index * STRETCH, (index + 1) * STRETCH, 'fmp4');
    const { entries, isFinished } = await entriesOf(url, signal);
    const shared = entries.map((entry) => {
      if (!this.entries.has(entry.url)) this.entries.set(entry.url, entry);
      return this.entries.get(entry.url);
    });
    this.lastEnd = Math.max(this.lastEnd ?? 0, shared.at(-1)?.end ?? 0);
    this.stretches.set(index, { entries: shared, isFinished, at: now });
    return shared.filter(isUsable);
  }

  // The entry at a time, or null.
  async at(time, signal) {
    const entries = await this.stretch(Math.floor(time / STRETCH), signal);
    // A later one wins where two overlap by a few milliseconds.
    return entries.findLast((entry) => entry.start <= time && time < entry.end + TOLERANCE) ?? null;
  }

  // The first entry that starts at or behind a time, or null.
  async after(time, signal) {
    const index = Math.floor(time / STRETCH);
    for (const near of [index, index + 1]) {
      const found = (await this.stretch(near, signal)).find((entry) => entry.start >= time - TOLERANCE);
      if (found) return found;
    }
    const start = await this.coverage.next(this.variant, (index + 2) * STRETCH, signal);
    if (Number.isNaN(start)) return null;
    const entries = await this.stretch(Math.floor(start / STRETCH), signal);
    return entries.find((entry) => entry.end > start && entry.start >= time - TOLERANCE) ?? null;
  }

  // The entry behind another, or null; and whether nothing is missing between them.
  async next(entry, signal) {
    const index = Math.floor(entry.end / STRETCH);
    for (const near of [Math.floor(entry.start / STRETCH), index, index + 1]) {
      const entries = await this.stretch(near, signal);
      const found = entries.find((other) => other.start > entry.start);
      if (found) return { entry: found, isJoined: found.start - entry.end <= TOLERANCE };
      // The border of a stretch that can grow is not the end of the recording.
      if (!this.stretches.get(near).isFinished && near >= index) return { entry: null, isJoined: true };
    }
    const following = await this.after(entry.end, signal);
    return { entry: following, isJoined: false };
  }

  // The entry before another, if nothing is missing between them, or null.
  async before(entry, signal) {
    const index = Math.floor(entry.start / STRETCH);
    for (const near of [index, index - 1]) {
      const entries = await this.stretch(near, signal);
      const found = entries.findLast((other) => other.start < entry.start);
      if (found) return entry.start - found.end <= TOLERANCE ? found : null;
    }
    return null;
  }

  // The last entry that ends before or at a time, wherever it is, or null. Gaps before it may be of any length.
  async lastBefore(time, signal) {
    const ranges = [...(this.coverage.variants.get(this.variant) ?? []), ...(this.coverage.recent.get(this.variant) ?? [])];
    const ends = ranges.filter((range) => range.start < time).map((range) => Math.min(range.end, time));
    const at = Math.max(...ends, -Infinity);
    if (at === -Infinity) return null;
    const index = Math.floor(at / STRETCH);
    for (let near = index; near >= index - 30; near--) {
      const found = (await this.stretch(near, signal)).findLast((entry) => entry.start < time - TOLERANCE);
      if (found) return found;
    }
    return null;
  }
}
