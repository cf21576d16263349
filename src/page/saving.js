// What a clip will be, asked by HEAD before anybody waits for it; and downloads with progress.

import { addresses, Failure, pause, request } from './api.js';

// Larger files go to the browser's own downloads, which keep them on the disk and not in memory.
const MOST_IN_MEMORY = 256e6;

async function head(url, signal) {
  const response = await request(url, { method: 'HEAD', signal });
  const length = response.headers.get('Content-Length');
  const estimate = response.headers.get('X-Cut-Size-Estimate');
  return { bytes: Number(length ?? estimate ?? 0), isEstimate: !length };
}

// Why a cut is refused: the text of the answer to GET, which fails as HEAD does, before it has a body.
async function reason(url, signal) {
  try {
    const stop = new AbortController();
    signal.addEventListener('abort', () => stop.abort(), { once: true });
    await request(url, { signal: stop.signal });
    stop.abort();
    return '';
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    return error.message;
  }
}

// Checks a range: `{kind, bytes, isEstimate, mp4, ts, text, holes}`. `mp4` and `ts` are addresses that work, or null.
// Waits while the server has too many cuts to make, and tells so with `onWait`.
export async function check({ stream, variant, start, end, coverage }, signal, onWait) {
  const url = (container, values) => addresses.cut(stream, variant, container, start, end, values);
  const tryHead = async (address) => {
    for (;;) {
      try {
        return await head(address, signal);
      } catch (error) {
        if (!(error instanceof Failure) || !error.isTemporary) throw error;
        onWait(error.status ? 'The server is busy with other cuts. Waiting…' : 'The server does not answer. Trying again…');
        await pause(Math.min(error.retryAfter || 2, 10), signal);
      }
    }
  };
  // What is missing is known before, so that HEAD need not be refused first. Files without bytes are found only by HEAD.
  const holes = await coverage.holesIn(variant, start, end, signal).catch((error) => {
    if (error.name === 'AbortError') throw error;
    return [];
  });
  const found = { kind: 'complete', holes, text: '' };
  const missing = holes.reduce((sum, hole) => sum + hole.end - hole.start, 0);
  if (missing > end - start - 0.001) return { ...found, kind: 'nothing', mp4: null, ts: null };
  const allowed = {};
  const smart = () => url('mp4', { type: 'smart', ...allowed });
  const allowHoles = () => {
    found.kind = 'holes';
    allowed.allow_holes = 'true';
  };
  try {
    if (holes.length) allowHoles();
    try {
      Object.assign(found, await tryHead(smart()));
    } catch (error) {
      if (error.status !== 406 || holes.length) throw error;
      allowHoles();
      Object.assign(found, await tryHead(smart()));
    }
    return { ...found, mp4: smart(), ts: url('ts', { type: 'smart', ...allowed }) };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (error.status === 406) return { ...found, kind: 'nothing', mp4: null, ts: null };
    const text = await reason(smart(), signal);
    if (![501, 503].includes(error.status)) return { ...found, kind: 'refused', text, mp4: null, ts: null };
    return fallback(found, text, url, allowed, tryHead);
  }
}

// What works where an exact cut without encoding everything does not.
async function fallback(found, text, url, allowed, tryHead) {
  const first = async (container, types) => {
    for (const type of types) {
      const address = url(container, { type, ...allowed });
      try {
        return { type, address, ...(await tryHead(address)) };
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
      }
    }
    return null;
  };
  const mp4 = await first('mp4', ['full', 'copy']);
  const ts = await first('ts', ['smart', 'rough']);
  const { bytes, isEstimate } = mp4 ?? ts ?? { bytes: 0, isEstimate: true };
  const kind = mp4 || ts ? 'limited' : 'refused';
  const types = { mp4: mp4?.type, ts: ts?.type };
  return { ...found, kind, text, bytes, isEstimate, mp4: mp4?.address ?? null, ts: ts?.address ?? null, types };
}

// Saves a file under a name by a link that is followed at once.
function follow(href, name) {
  const link = document.createElement('a');
  link.href = href;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}

export function saveBlob(blob, name) {
  const url = URL.createObjectURL(blob);
  follow(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

function nameOf(response, fallbackName) {
  const header = response.headers.get('Content-Disposition') ?? '';
  const wide = /filename\*=UTF-8''([^;]+)/i.exec(header);
  if (wide) return decodeURIComponent(wide[1]);
  return /filename="((?:[^"\\]|\\.)*)"/.exec(header)?.[1].replace(/\\(.)/g, '$1') ?? fallbackName;
}

// Downloads a file. `onProgress` gets a share from 0 to 1, or NaN, and a text. Resolves to whether it was saved here.
export async function save(url, { bytes = 0, name, signal, onProgress, sizeText }) {
  if (bytes > MOST_IN_MEMORY) {
    follow(url, '');
    return false;
  }
  let response;
  while (!response) {
    onProgress(NaN, 'Preparing…');
    try {
      response = await request(url, { signal });
    } catch (error) {
      if (!(error instanceof Failure) || !error.isTemporary) throw error;
      onProgress(NaN, error.status ? 'The server is busy with other cuts. Waiting…' : 'The server does not answer. Trying again…');
      await pause(Math.min(error.retryAfter || 2, 10), signal);
    }
  }
  const length = Number(response.headers.get('Content-Length') ?? 0);
  const total = length || bytes;
  const reader = response.body.getReader();
  const pieces = [];
  let received = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    received += value.length;
    const share = total ? Math.min(received / total, length ? 1 : 0.99) : NaN;
    onProgress(share, total ? `${sizeText(received)} of ${length ? '' : 'about '}${sizeText(total)}` : sizeText(received));
  }
  const type = response.headers.get('Content-Type') ?? 'application/octet-stream';
  saveBlob(new Blob(pieces, { type }), nameOf(response, name));
  return true;
}
