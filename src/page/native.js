// The browser's own HLS player, for browsers without Media Source Extensions. It has the interface of `Player`. The wall clock
// follows from the entries of a playlist that the page reads too: gaps take no time in the element.

import { addresses, entriesOf, Failure, pause } from './api.js';
import { Playback } from './playback.js';

const BEHIND = 30; // what a list has before the time that is wanted
const AHEAD = 600;

export class NativePlayer extends Playback {
  constructor(video) {
    super(video);
    this.entries = [];
    this.framesIn = () => [];
    this.hasPictures = true;
    video.addEventListener('ended', () => this.continue());
    video.addEventListener('error', () => this.state === 'ready' && this.seekTo(this.time + 2, true));
    for (const name of ['waiting', 'playing']) {
      video.addEventListener(name, () => this.target || this.setState(name === 'waiting' ? 'waiting' : 'ready'));
    }
  }

  get edge() {
    return this.coverage?.edge(this.variant) || this.entries.at(-1)?.end || 0;
  }

  get distance() {
    return 8;
  }

  get frameLength() {
    return 0.04;
  }

  frame() {
    return null;
  }

  snap(time) {
    return time;
  }

  get time() {
    if (this.target) return this.target.time;
    let left = this.video.currentTime;
    for (const { start, end } of this.entries) {
      if (left < end - start) return start + left;
      left -= end - start;
    }
    return this.entries.at(-1)?.end ?? NaN;
  }

  // Where a time is in the element, or null outside the list.
  position(time) {
    let sum = 0;
    for (const { start, end } of this.entries) {
      if (time < end) return sum + Math.max(0, time - start);
      sum += end - start;
    }
    return null;
  }

  open(stream, variant, codecs, coverage, time) {
    Object.assign(this, { stream, variant, coverage, entries: [] });
    if (!this.video.canPlayType('application/vnd.apple.mpegurl')) {
      this.target = { time };
      return this.setState('failed', 'This browser has neither Media Source Extensions nor HLS.');
    }
    this.setState('loading');
    return this.seekTo(time);
  }

  close() {
    this.entries = [];
    this.video.removeAttribute('src');
    this.setState('idle');
  }

  async seekTo(time, isJump = false) {
    const target = { time, isJump };
    this.target = target;
    this.emit('seek');
    try {
      await this.reach(target);
    } catch (error) {
      if (this.target !== target) return;
      if (error instanceof Failure && error.isTemporary) {
        this.setState('away', error.message);
        await pause(2);
        if (this.target === target) this.seekTo(time, isJump);
      } else this.setState('failed', error.message);
    }
  }

  async reach(target) {
    let { time } = target;
    const isInside = this.entries.length && time >= this.entries[0].start && time < this.entries.at(-1).end;
    if (!isInside) {
      const load = async (at) => {
        this.url = addresses.list(this.stream, this.variant, at - BEHIND, at + AHEAD);
        return (await entriesOf(this.url)).entries;
      };
      let entries = await load(time);
      if (!entries.some(({ end }) => end > time)) {
        const next = await this.coverage.next(this.variant, time);
        if (!Number.isNaN(next)) {
          if (!target.isJump) this.emit('skipped', { from: time, to: next, isSeek: true });
          time = next;
          entries = await load(time);
        }
      }
      if (this.target !== target) return;
      if (!entries.length) {
        this.target = null;
        this.setState('empty');
        return;
      }
      this.entries = entries;
      this.video.src = this.url;
      await new Promise((resolve, reject) => {
        this.video.addEventListener('loadedmetadata', resolve, { once: true });
        this.video.addEventListener('error', () => reject(new Failure(415, 'This browser does not play these recordings.')), { once: true });
      });
    }
    if (this.target !== target) return;
    this.video.currentTime = this.position(time) ?? 0;
    this.target = null;
    this.setState('ready');
    this.emit('shown');
    if (this.wantsPlay) this.start();
  }

  // The list has ended: what comes behind it.
  continue() {
    const end = this.entries.at(-1)?.end;
    if (this.wantsPlay && end && this.edge > end + 1) this.seekTo(end, true);
    else if (this.wantsPlay && end) setTimeout(() => this.continue(), 2000);
  }

  async step(direction) {
    this.pause();
    this.seekTo(this.time + direction / 25, true);
  }
}
