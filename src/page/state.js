// What the page remembers: the address after `#` says what is looked at, the browser's storage how.

import { iso, parseIso } from './time.js';

const time = (text) => (/^\d{9,11}(\.\d+)?$/.test(text) ? Number(text) : parseIso(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`));

// `#s=stream&v=variant&t=…&in=…&out=…`: `in` and `out` once for each range. Without `t` it follows what is recorded.
export function parseHash(hash) {
  const values = new URLSearchParams(hash.replace(/^#/, ''));
  const all = (name) => values.getAll(name).map(time);
  const [starts, ends] = [all('in'), all('out')];
  const known = (value) => (Number.isFinite(value) ? value : null);
  const clips = Array.from({ length: Math.max(starts.length, ends.length) }, (_, index) => ({
    start: known(starts[index]),
    end: known(ends[index]),
  }));
  return {
    stream: values.get('s'),
    variant: values.get('v'),
    time: known(all('t')[0]),
    clips: clips.filter(({ start, end }) => start !== null || end !== null),
  };
}

export function formatHash({ stream, variant, time, clips = [] }) {
  const pairs = [['s', stream], ['v', variant]];
  if (time !== null) pairs.push(['t', iso(Math.floor(time * 1e3 + 1e-3) / 1e3)]);
  // Names and values alternate, so ranges with one end come last.
  const whole = clips.filter(({ start, end }) => start !== null && end !== null);
  for (const clip of [...whole, ...clips.filter((clip) => !whole.includes(clip)).slice(0, 1)]) {
    if (clip.start !== null) pairs.push(['in', iso(clip.start)]);
    if (clip.end !== null) pairs.push(['out', iso(clip.end)]);
  }
  const encode = (text) => encodeURIComponent(text ?? '').replace(/%3A/g, ':').replace(/'/g, '%27');
  return `#${pairs.filter(([, value]) => value).map(([name, value]) => `${name}=${encode(value)}`).join('&')}`;
}

// Settings last as long as the browser allows.
export const settings = {
  get(name) {
    try {
      return localStorage.getItem(`restreamer.${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`restreamer.${name}`, value);
    } catch {
      // Private windows may have no storage; the setting then lasts until the page is closed.
    }
  },
};
