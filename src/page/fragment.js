// What the page reads in fragments of MP4 (ISO/IEC 14496-12): when each picture is shown, and which can be decoded alone.

// Calls `visit(type, view, start, end)` for each box; `start` is that of its content.
function boxes(view, start, end, visit) {
  let at = start;
  while (at + 8 <= end) {
    const size = view.getUint32(at);
    const type = String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at + 4, 4));
    const [header, length] = size === 1 ? [16, Number(view.getBigUint64(at + 8))] : [8, size || end - at];
    if (length < header || at + length > end) return;
    visit(type, at + header, at + length);
    at += length;
  }
}

// The kind of sound that descriptors say (ISO/IEC 14496-1, 7.2.6): `40.2` for AAC, or the number of another in hexadecimal.
function objectType(view, start) {
  let at = start;
  const skipHead = () => {
    at += 1;
    while (view.getUint8(at) & 0x80) at += 1;
    at += 1;
  };
  skipHead();
  at += 3;
  skipHead();
  const type = view.getUint8(at);
  return type === 0x40 ? '40.2' : type.toString(16).toUpperCase();
}

// The video track of an initialization section: `{id, timescale}`, or null; and codecs that can be read from it.
export function readInit(buffer) {
  const view = new DataView(buffer);
  let video = null;
  const codecs = [];
  const hex = (at) => view.getUint8(at).toString(16).padStart(2, '0');
  const readTrack = (start, end) => {
    let [id, timescale, isVideo] = [0, 0, false];
    const visit = (type, from, to) => {
      const isLong = view.getUint8(from) === 1;
      if (type === 'tkhd') id = view.getUint32(from + (isLong ? 20 : 12));
      else if (type === 'mdhd') timescale = view.getUint32(from + (isLong ? 20 : 12));
      else if (type === 'hdlr') isVideo = view.getUint32(from + 8) === 0x76696465;
      else if (type === 'stsd') boxes(view, from + 8, to, entry);
      else if (['mdia', 'minf', 'stbl'].includes(type)) boxes(view, from, to, visit);
    };
    const entry = (type, from, to) => {
      if (type === 'avc1') {
        boxes(view, from + 78, to, (name, at) => {
          if (name === 'avcC') codecs.push(`avc1.${hex(at + 1)}${hex(at + 2)}${hex(at + 3)}`);
        });
      } else if (type === 'mp4a') {
        boxes(view, from + 28, to, (name, at) => name === 'esds' && codecs.push(`mp4a.${objectType(view, at + 4)}`));
      } else codecs.push(type);
    };
    boxes(view, start, end, visit);
    if (isVideo && !video) video = { id, timescale };
  };
  boxes(view, 0, buffer.byteLength, (type, from, to) => {
    if (type === 'moov') boxes(view, from, to, (name, start, end) => name === 'trak' && readTrack(start, end));
  });
  const isKnown = codecs.every((codec) => /^(avc1|mp4a)\./.test(codec));
  return { video, codecs: codecs.join(','), isKnown };
}

// The pictures of a fragment in the order in which they are shown: `{times, end, firstSync}`, in seconds.
export function readFrames(buffer, video) {
  const view = new DataView(buffer);
  const frames = [];
  const readRun = (at, base, duration, flags) => {
    const has = view.getUint32(at) & 0xffffff;
    const count = view.getUint32(at + 4);
    const version = view.getUint8(at);
    let [next, time] = [at + 8 + (has & 1 ? 4 : 0), base];
    const first = has & 4 ? view.getUint32(next) : undefined;
    if (has & 4) next += 4;
    for (let index = 0; index < count; index++) {
      let [length, sample, offset] = [duration, index === 0 && first !== undefined ? first : flags, 0];
      if (has & 0x100) [length, next] = [view.getUint32(next), next + 4];
      if (has & 0x200) next += 4;
      if (has & 0x400) [sample, next] = [view.getUint32(next), next + 4];
      if (has & 0x800) [offset, next] = [version ? view.getInt32(next) : view.getUint32(next), next + 4];
      frames.push({ time: time + offset, length, isSync: !(sample & 0x10000) });
      time += length;
    }
    return time;
  };
  const readTrack = (start, end) => {
    let [isOurs, base, duration, flags] = [false, 0, 0, 0];
    boxes(view, start, end, (type, at) => {
      if (type === 'tfhd') {
        isOurs = view.getUint32(at + 4) === video.id;
        const has = view.getUint32(at) & 0xffffff;
        let next = at + 8 + (has & 1 ? 8 : 0) + (has & 2 ? 4 : 0);
        if (has & 8) [duration, next] = [view.getUint32(next), next + 4];
        if (has & 16) next += 4;
        if (has & 32) flags = view.getUint32(next);
      } else if (type === 'tfdt' && isOurs) {
        base = view.getUint8(at) ? Number(view.getBigUint64(at + 4)) : view.getUint32(at + 4);
      } else if (type === 'trun' && isOurs) base = readRun(at, base, duration, flags);
    });
  };
  boxes(view, 0, buffer.byteLength, (type, from, to) => {
    if (type === 'moof') boxes(view, from, to, (name, start, end) => name === 'traf' && readTrack(start, end));
  });
  if (!frames.length) return null;
  frames.sort((a, b) => a.time - b.time);
  const last = frames[frames.length - 1];
  const seconds = (ticks) => ticks / video.timescale;
  return {
    times: Float64Array.from(frames, (frame) => seconds(frame.time)),
    end: seconds(last.time + last.length),
    firstSync: seconds((frames.find((frame) => frame.isSync) ?? { time: Infinity }).time),
  };
}
