// The server: its addresses, and requests that say what went wrong. All addresses are relative to where the page is.

import { iso, parseIso } from './time.js';

// This module is at `page/<hash>/api.js` below the server's root, which may itself be below a path of a proxy.
const ROOT = new URL('../../', import.meta.url);

const encode = (name) => encodeURIComponent(name).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16)}`);

// A value that is an array gives a parameter for each of its elements.
function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  const pairs = given.flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  return pairs.map(([name, value]) => `${name}=${encodeURIComponent(value).replace(/%3A/g, ':')}`).join('&');
}

const address = (path, values = {}) => new URL(`${path}?${query(values)}`.replace(/\?$/, ''), ROOT).href;
const range = (start, end) => ({ start: iso(start), end: iso(end) });

export const addresses = {
  streams: () => address('files'),
  variants: (stream) => address(`files/${encode(stream)}`),
  health: () => address('health'),
  master: (stream) => address(`playlist/${encode(stream)}.m3u8`, { container: 'fmp4' }),
  list: (stream, variant, start, end, container) =>
    address(`playlist/${encode(stream)}/${encode(variant)}.m3u8`, { ...range(start, end), container }),
  watch: (stream, variant, start) => address(`playlist/${encode(stream)}/${encode(variant)}.m3u8`, { start: iso(start) }),
  coverage: (stream, values) => address(`coverage/${encode(stream)}.json`, values),
  frame: (stream, variant, kind, timestamp, width) =>
    address(`frame/${encode(stream)}/${encode(variant)}.${kind}`, { timestamp: iso(timestamp), width }),
  storyboard: (stream, variant, start, end, count, width) =>
    address(`storyboard/${encode(stream)}/${encode(variant)}.jpg`, { ...range(start, end), count, width }),
  waveform: (stream, variant, start, end, points) =>
    address(`waveform/${encode(stream)}/${encode(variant)}.json`, { ...range(start, end), points }),
  cut: (stream, variant, container, start, end, values = {}) =>
    address(`cut/${encode(stream)}/${encode(variant)}.${container}`, { ...range(start, end), ...values }),
  joined: (stream, variant, container, ranges, values = {}) =>
    address(`cut/${encode(stream)}/${encode(variant)}.${container}`, {
      range: ranges.map(({ start, end }) => `${iso(start)},${iso(end)}`),
      ...values,
    }),
};

// A request that failed: `status` is 0 if there was no answer. `text` is one line for people.
export class Failure extends Error {
  constructor(status, text, retryAfter) {
    super(text);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  // Whether the same request may succeed soon: the server is away, or has too much to do.
  get isTemporary() {
    return this.status === 0 || (this.status === 503 && this.retryAfter > 0) || [502, 504].includes(this.status);
  }
}

// The server's clock less the browser's, in seconds, from the answers' `Date`.
let skew = 0;

export const serverNow = () => Date.now() / 1000 + skew;

const listeners = new Set();

// Calls `listener` with true or false when the server begins or ceases to answer.
export function onReachable(listener) {
  listeners.add(listener);
}

let isReachable = true;
let awayAt = 0;

function reached(now) {
  if (now === isReachable) return;
  isReachable = now;
  awayAt = serverNow();
  for (const listener of listeners) listener(now);
}

// The answer to a request, whatever its status; fails if there is none.
async function answer(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: 'same-origin', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    reached(false);
    throw new Failure(0, 'The server does not answer.');
  }
  const date = Date.parse(response.headers.get('Date') ?? '') / 1000;
  // A cached answer has an old date, which is told by its `Age` or not at all: only later clocks count.
  if (date + 0.5 - Date.now() / 1000 > skew || !skew) skew = date ? date + 0.5 - Date.now() / 1000 : skew;
  // Proxies answer 502 or 504 for a server that is away, and the browser's cache answers with older dates.
  const isAway = [502, 504].includes(response.status);
  if (isAway || isReachable || !date || date > awayAt - 1) reached(!isAway);
  return response;
}

// The response to a request; fails with the server's own words if it is not a success.
export async function request(url, options = {}) {
  const response = await answer(url, options);
  if (response.ok) return response;
  const isText = (response.headers.get('Content-Type') ?? '').startsWith('text/plain');
  const text = isText ? (await response.text()).trim().split('\n')[0] : '';
  const retryAfter = Number(response.headers.get('Retry-After') ?? 0);
  throw new Failure(response.status, text || `The server answered ${response.status}.`, retryAfter);
}

export const getText = async (url, options) => (await request(url, options)).text();
export const getJson = async (url, options) => (await request(url, options)).json();

export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException('stopped', 'AbortError'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, seconds * 1000);
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}

// The variants of a stream, best first, with the codecs of each as far as they are known.
export async function variantsOf(stream) {
  const names = (await getJson(addresses.variants(stream))).filter((name) => name !== 'chat');
  const codecs = new Map();
  const known = [];
  const text = await getText(addresses.master(stream)).catch(() => '');
  const lines = text.split('\n');
  lines.forEach((line, index) => {
    if (!line.startsWith('#EXT-X-STREAM-INF:')) return;
    const path = (lines[index + 1] ?? '').split('?')[0];
    const name = decodeURIComponent(path.slice(path.lastIndexOf('/') + 1).replace(/\.m3u8$/, ''));
    codecs.set(name, /CODECS="([^"]*)"/.exec(line)?.[1]);
    if (names.includes(name)) known.push(name);
  });
  const others = names.filter((name) => !known.includes(name));
  return { names: [...known, ...others], codecs };
}

// The entries of a media playlist of fragments: `{start, end, url, init}`, and whether it can still grow.
export async function entriesOf(url, signal) {
  const text = await getText(url, { signal });
  const entries = [];
  let [init, start, duration] = ['', NaN, 0];
  for (const line of text.split('\n')) {
    if (line.startsWith('#EXT-X-MAP:')) init = new URL(/URI="([^"]*)"/.exec(line)[1], url).href;
    else if (line.startsWith('#EXT-X-PROGRAM-DATE-TIME:')) start = parseIso(line.slice(25));
    else if (line.startsWith('#EXTINF:')) duration = parseFloat(line.slice(8));
    else if (line && !line.startsWith('#')) {
      entries.push({ start, end: start + duration, url: new URL(line, url).href, init });
    }
  }
  return { entries, isFinished: text.includes('#EXT-X-ENDLIST') };
}
