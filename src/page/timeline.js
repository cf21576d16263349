// The timeline: a canvas with everything that is recorded, from years to single frames. It draws, and turns wheels, fingers
// and the mouse into views, seeks and marks.

import { clockText, dateText, fromParts, parts } from './time.js';
import { Film, Waveform } from './strips.js';

const LEAST_SPP = 0.0003; // seconds a pixel: a frame is as wide as a hand
const MOST_SPP = 4e5; // ten years on a phone
const RULER = 30;
const MAIN = 44;
const OVERVIEW = 22;
const EXACT_SPP = 4; // below this, ranges are exact
const WAVE_SECONDS = 3600; // the longest view with a waveform

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;
const STEPS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE,
  15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR,
];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

export class Timeline extends EventTarget {
  constructor(canvas, model) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.model = model;
    this.spp = 0.5;
    this.start = 0;
    this.isFollowing = true;
    this.hover = null;
    this.pointers = new Map();
    this.film = new Film(() => this.invalidate(), model.isRecorded);
    this.wave = new Waveform(() => this.invalidate(), model.isRecorded);
    this.isCalm = matchMedia('(prefers-reduced-motion: reduce)');
    this.readColors();
    for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) {
      matchMedia(query).addEventListener('change', () => {
        this.readColors();
        this.invalidate();
      });
    }
    // In the next frame: to set the height here would notify the observer again.
    new ResizeObserver(() => requestAnimationFrame(() => this.resize())).observe(canvas);
    this.listen();
  }

  open(stream, variant) {
    this.film.open(stream, variant);
    this.wave.open(stream, variant);
    this.resize();
  }

  readColors() {
    const style = getComputedStyle(this.canvas);
    const names = 'back lane text muted line accent full suspect partial gap live mark wave'.split(' ');
    this.colors = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--tl-${name}`).trim()]));
    this.font = style.fontFamily;
  }

  // ---- The view ----

  get end() {
    return this.start + this.width * this.spp;
  }

  x(time) {
    return (time - this.start) / this.spp;
  }

  time(x) {
    return this.start + x * this.spp;
  }

  get filmHeight() {
    return this.width < 600 ? 48 : 64;
  }

  // Where the parts are, from top to bottom.
  lanes() {
    const variants = this.model.variants();
    const others = variants.filter((name) => name !== this.model.variant());
    const height = others.length > 6 ? 5 : 12;
    const main = RULER + this.filmHeight + 6;
    const lanes = [{ name: this.model.variant() ?? '', y: main, height: MAIN }];
    let y = main + MAIN + 4;
    for (const name of others.slice(0, 20)) {
      lanes.push({ name, y, height });
      y += height + 3;
    }
    return { lanes, overview: y + 5, height: y + 5 + OVERVIEW };
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const center = this.time((this.width ?? 0) / 2);
    const hadWidth = this.width > 0;
    this.width = this.canvas.clientWidth;
    const { height } = this.lanes();
    this.height = height;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (hadWidth) this.start = center - (this.width / 2) * this.spp;
    this.draw();
  }

  // Shows a range, with some space around it.
  show(start, end) {
    const width = this.width || this.canvas.clientWidth || 800;
    this.spp = clamp((end - start) / width / 0.92, LEAST_SPP, MOST_SPP);
    this.start = (start + end) / 2 - (width / 2) * this.spp;
    this.motion = null;
    this.invalidate();
  }

  showAll() {
    const extent = this.model.extent();
    if (extent) this.show(...extent);
    this.isFollowing = false;
  }

  // Moves a time into the middle of the view, or `share` of the way from its left end.
  center(time, share = 0.5) {
    this.start = time - this.width * share * this.spp;
    this.isFollowing = true;
    this.invalidate();
  }

  // Zooms around a place, over some frames unless the viewer prefers less motion.
  zoom(factor, x = this.anchor()) {
    const spp = clamp((this.motion?.spp ?? this.spp) * factor, LEAST_SPP, MOST_SPP);
    this.motion = { spp, x, time: this.time(x) };
    if (this.isCalm.matches) this.moveTo(spp);
    this.invalidate();
  }

  // Keys zoom around the playhead if it is in view.
  anchor() {
    const x = this.x(this.model.time());
    return x >= 0 && x <= this.width ? x : this.width / 2;
  }

  moveTo(spp) {
    const { x, time } = this.motion;
    this.spp = spp;
    this.start = time - x * spp;
    if (spp === this.motion.spp) this.motion = null;
  }

  // Keeps the playhead in view while it plays.
  keepInView() {
    if (!this.isFollowing || this.pointers.size) return;
    const time = this.model.time();
    const x = this.x(time);
    if (x > this.width * 0.85 && x < this.width * 1.3) this.start += (x - this.width * 0.85) * this.spp;
    else if (x < 0 || x > this.width) this.start = time - this.width * 0.5 * this.spp;
  }

  invalidate() {
    if (this.request) return;
    this.request = requestAnimationFrame(() => {
      this.request = 0;
      this.draw();
    });
  }

  // ---- Drawing ----

  draw() {
    if (!this.width) return;
    if (this.motion) {
      const next = this.spp * (this.motion.spp / this.spp) ** 0.35;
      this.moveTo(Math.abs(next / this.motion.spp - 1) < 0.005 ? this.motion.spp : next);
      if (this.motion) this.invalidate();
    } else {
      this.keepInView();
    }
    const { context: c, colors, width, height } = this;
    c.fillStyle = colors.back;
    c.fillRect(0, 0, width, height);
    const { lanes, overview } = this.lanes();
    this.drawFilm();
    for (const lane of lanes) this.drawLane(lane);
    this.drawWave(lanes[0]);
    this.drawRuler(lanes.at(-1));
    this.drawNames(lanes);
    this.drawMarks(lanes.at(-1));
    this.drawHover(lanes.at(-1));
    this.drawPlayhead(lanes.at(-1));
    this.drawOverview(overview);
  }

  drawFilm() {
    const { context: c, colors } = this;
    const [y, height] = [RULER + 2, this.filmHeight];
    c.fillStyle = colors.lane;
    c.fillRect(0, y, this.width, height);
    if (this.film.failure) {
      this.text(`No pictures: ${this.film.failure}`, this.width / 2, y + height / 2, colors.muted, 'center');
      return;
    }
    if (!this.model.hasPictures()) return;
    const cellWidth = Math.round((height * 16) / 9);
    const cells = this.film.cells(this.start, this.end, this.spp, cellWidth, this.model.edge(), this.model.frames);
    c.save();
    c.beginPath();
    c.rect(0, y, this.width, height);
    c.clip();
    for (const cell of cells) {
      const [left, right] = [Math.round(this.x(cell.start)), Math.round(this.x(cell.end))];
      if (cell.image) {
        // The middle of the picture, as much as fits the cell.
        const scale = Math.max((right - left) / cell.width, height / cell.height);
        const [w, h] = [(right - left) / scale, height / scale];
        const [sx, sy] = [cell.x + (cell.width - w) / 2, cell.y + (cell.height - h) / 2];
        c.drawImage(cell.image, sx, sy, w, h, left, y, right - left, height);
      }
      c.fillStyle = colors.back;
      c.fillRect(right - 1, y, 1, height);
    }
    c.restore();
  }

  drawLane({ name, y, height }) {
    const { context: c, colors } = this;
    c.fillStyle = colors.lane;
    c.fillRect(0, y, this.width, height);
    const isMain = height === MAIN;
    c.globalAlpha = isMain ? 1 : 0.75;
    const ranges = this.model.ranges(name, this.start, this.end, this.spp);
    const holes = [];
    let last = null;
    for (const range of ranges) {
      const [left, right] = [this.x(range.start), this.x(range.end)];
      const [from, to] = [Math.max(left, -2), Math.min(right, this.width + 2)];
      if (isMain && last !== null && from > last) holes.push([last, from]);
      // A long range has the worst type of all that is in it, which says little: a strip, until a closer look tells more.
      const isStrip = range.type !== 'full' && this.spp >= EXACT_SPP;
      c.fillStyle = isStrip ? colors.full : (colors[range.type] ?? colors.full);
      c.fillRect(from, y, Math.max(to - from, 1), height);
      c.fillStyle = colors[range.type];
      if (isStrip && isMain) c.fillRect(from, y, Math.max(to - from, 1), 4);
      last = Math.max(last ?? -Infinity, to);
    }
    for (const [from, to] of holes) this.drawHole(from, to, y, height);
    c.globalAlpha = 1;
  }

  drawHole(from, to, y, height) {
    const { context: c, colors } = this;
    // At least two pixels, so that none is missed.
    const width = Math.max(to - from, 2);
    c.fillStyle = colors.back;
    c.fillRect(from, y, width, height);
    c.fillStyle = colors.gap;
    c.fillRect(from, y + height - 4, width, 4);
    if (width < 70) return;
    const seconds = width * this.spp;
    const label = seconds < 120 ? `${seconds.toFixed(1)} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
    const middle = (Math.max(from, 0) + Math.min(to, this.width)) / 2;
    this.text(`${label} missing`, middle, y + height / 2 - 2, colors.muted, 'center', width - 6);
  }

  drawWave({ y, height }) {
    if (this.width * this.spp > WAVE_SECONDS || !this.wave.stream) return;
    const { context: c, colors } = this;
    const middle = y + height / 2;
    for (const { start, step, peak, mean } of this.wave.tiles(this.start, this.end, this.spp, this.model.edge())) {
      const first = Math.max(0, Math.floor((this.start - start) / step));
      const last = Math.min(peak.length, Math.ceil((this.end - start) / step));
      const width = Math.max(step / this.spp - (step / this.spp > 3 ? 1 : 0), 1);
      c.fillStyle = colors.wave;
      for (const [levels, alpha] of [[peak, 0.55], [mean, 1]]) {
        c.globalAlpha = alpha;
        c.beginPath();
        for (let index = first; index < last; index++) {
          if (!levels[index]) continue;
          // The square root shows quiet sounds too.
          const half = Math.sqrt(levels[index]) * (height / 2 - 3);
          c.rect(this.x(start + index * step), middle - half, width, 2 * half);
        }
        c.fill();
      }
    }
    c.globalAlpha = 1;
  }

  drawRuler(lastLane) {
    const { context: c, colors, width } = this;
    const bottom = lastLane.y + lastLane.height;
    const isUtc = this.model.isUtc();
    c.fillStyle = colors.back;
    c.fillRect(0, 0, width, RULER);
    let labelled = -Infinity;
    for (const { time, label, isStrong } of ticks(this.start, this.end, this.spp, isUtc)) {
      const x = Math.round(this.x(time)) + 0.5;
      c.strokeStyle = colors.line;
      c.globalAlpha = isStrong ? 1 : 0.55;
      c.beginPath();
      c.moveTo(x, RULER - (label ? 8 : 4));
      c.lineTo(x, label ? bottom : RULER);
      c.lineWidth = 1;
      if (label) c.globalAlpha *= 0.6;
      c.stroke();
      c.globalAlpha = 1;
      if (label && x - labelled > 20) {
        const drawn = this.text(label, x, 11, isStrong ? colors.text : colors.muted, 'center');
        labelled = x + drawn / 2;
      }
    }
  }

  drawNames(lanes) {
    const { context: c, colors } = this;
    if (lanes.length < 2) return;
    for (const { name, y, height } of lanes) {
      if (height < 10) continue;
      c.font = `600 10px ${this.font}`;
      const label = name.length > 24 ? `${name.slice(0, 23)}…` : name;
      const width = Math.min(c.measureText(label).width, 160) + 10;
      const [top, size] = height === MAIN ? [y + 2, 15] : [y, height];
      c.globalAlpha = 0.82;
      c.fillStyle = colors.back;
      c.fillRect(0, top, width, size);
      c.globalAlpha = 1;
      c.fillStyle = colors.text;
      c.textAlign = 'left';
      c.textBaseline = 'middle';
      c.fillText(label, 5, top + size / 2 + 0.5, 160);
    }
  }

  drawMarks(lastLane) {
    const { context: c, colors } = this;
    const bottom = lastLane.y + lastLane.height;
    for (const clip of this.model.clips()) {
      const { start, end, isActive } = clip;
      const [left, right] = [this.x(start ?? end), this.x(end ?? start)];
      if (right < -20 || left > this.width + 20) continue;
      c.fillStyle = colors.mark;
      c.globalAlpha = isActive ? 0.22 : 0.12;
      c.fillRect(left, RULER, right - left, bottom - RULER);
      c.globalAlpha = isActive ? 1 : 0.5;
      c.fillRect(left, RULER - 4, Math.max(right - left, 1), 4);
      if (isActive) {
        if (start !== null) this.drawFlag(left, 1, bottom);
        if (end !== null) this.drawFlag(right, -1, bottom);
      }
      c.globalAlpha = 1;
    }
  }

  // The grip of a mark, inside the range.
  drawFlag(x, side, bottom) {
    const { context: c, colors } = this;
    c.fillStyle = colors.mark;
    c.fillRect(side > 0 ? x : x - 2, RULER - 4, 2, bottom - RULER + 4);
    c.beginPath();
    c.moveTo(x, 14);
    c.lineTo(x + side * 11, 14);
    c.lineTo(x + side * 11, RULER - 9);
    c.lineTo(x, RULER);
    c.fill();
  }

  drawHover(lastLane) {
    if (this.hover === null || this.pointers.size) return;
    const { context: c, colors } = this;
    const x = Math.round(this.hover) + 0.5;
    c.strokeStyle = colors.muted;
    c.beginPath();
    c.moveTo(x, RULER - 6);
    c.lineTo(x, lastLane.y + lastLane.height);
    c.stroke();
    const time = this.time(this.hover);
    const isUtc = this.model.isUtc();
    const digits = this.spp < 0.02 ? 3 : this.spp < 0.2 ? 1 : 0;
    const label = this.spp > 120 ? `${dateText(time, isUtc)} ${clockText(time, isUtc, 0)}` : clockText(time, isUtc, digits);
    this.badge(label, x, colors.lane, colors.text);
  }

  drawPlayhead(lastLane) {
    const { context: c, colors } = this;
    const x = this.x(this.model.time());
    c.fillStyle = colors.live;
    if (x < 0 || x > this.width) {
      // An arrow at the side where it is.
      const [at, side] = x < 0 ? [6, 1] : [this.width - 6, -1];
      const y = RULER + this.filmHeight / 2;
      c.beginPath();
      c.moveTo(at, y);
      c.lineTo(at + side * 12, y - 10);
      c.lineTo(at + side * 12, y + 10);
      c.fill();
      return;
    }
    const bottom = lastLane.y + lastLane.height;
    c.fillRect(Math.round(x) - 1, RULER - 10, 2, bottom - RULER + 10);
    c.beginPath();
    c.moveTo(x - 7, RULER - 12);
    c.lineTo(x + 7, RULER - 12);
    c.lineTo(x + 7, RULER - 6);
    c.lineTo(x, RULER + 2);
    c.lineTo(x - 7, RULER - 6);
    c.fill();
  }

  // Everything there is, with the view in it.
  drawOverview(y) {
    const { context: c, colors, width } = this;
    const extent = this.model.extent();
    c.fillStyle = colors.lane;
    c.fillRect(0, y, width, OVERVIEW);
    if (!extent) return;
    const [from, spp] = [extent[0], (extent[1] - extent[0]) / width];
    const at = (time) => (time - from) / spp;
    c.fillStyle = colors.full;
    for (const range of this.model.ranges(this.model.variant(), extent[0], extent[1], Math.max(spp, 61))) {
      c.fillRect(at(range.start), y + 7, Math.max(at(range.end) - at(range.start), 1), OVERVIEW - 14);
    }
    c.fillStyle = colors.mark;
    for (const { start, end } of this.model.clips()) {
      if (start !== null && end !== null) c.fillRect(at(start), y + 4, Math.max(at(end) - at(start), 2), OVERVIEW - 8);
    }
    c.fillStyle = colors.live;
    c.fillRect(clamp(at(this.model.time()), 0, width - 2), y + 2, 2, OVERVIEW - 4);
    const left = clamp(at(this.start), 1, width - 9);
    const right = clamp(at(this.end), left + 8, width - 1);
    c.strokeStyle = colors.text;
    c.lineWidth = 1.5;
    c.strokeRect(left, y + 1.5, right - left, OVERVIEW - 3);
    c.lineWidth = 1;
  }

  text(text, x, y, color, align, most) {
    const { context: c } = this;
    c.font = `11px ${this.font}`;
    c.fillStyle = color;
    c.textAlign = align;
    c.textBaseline = 'middle';
    c.fillText(text, x, y, most);
    return c.measureText(text).width;
  }

  // A label in the ruler that stays inside the view.
  badge(label, x, back, color) {
    const { context: c } = this;
    c.font = `600 11px ${this.font}`;
    const width = c.measureText(label).width + 12;
    const left = clamp(x - width / 2, 0, this.width - width);
    c.fillStyle = back;
    c.fillRect(left, 1, width, 19);
    c.fillStyle = color;
    c.textAlign = 'left';
    c.textBaseline = 'middle';
    c.fillText(label, left + 6, 11);
  }

  // ---- Pointers ----

  listen() {
    const { canvas } = this;
    // A click does not take the focus, and its ring, from where it is.
    canvas.addEventListener('mousedown', (event) => event.preventDefault());
    canvas.addEventListener('wheel', (event) => this.onWheel(event), { passive: false });
    canvas.addEventListener('pointerdown', (event) => this.onDown(event));
    canvas.addEventListener('pointermove', (event) => this.onMove(event));
    canvas.addEventListener('pointerup', (event) => this.onUp(event));
    canvas.addEventListener('pointercancel', (event) => this.onUp(event));
    canvas.addEventListener('pointerleave', () => {
      this.hover = null;
      this.invalidate();
    });
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  onWheel(event) {
    event.preventDefault();
    const unit = [1, 16, 400][event.deltaMode];
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      this.pan((event.deltaX || event.deltaY) * unit);
    } else {
      // Touchpads pinch with the control key and small steps.
      this.zoom(Math.exp(clamp(event.deltaY * unit, -120, 120) * (event.ctrlKey ? 0.01 : 0.0025)), event.offsetX);
    }
  }

  pan(pixels) {
    this.motion = null;
    this.start += pixels * this.spp;
    const x = this.x(this.model.time());
    this.isFollowing = x >= 0 && x <= this.width * 0.85;
    this.invalidate();
  }

  // What is under a pointer: a mark, the playhead, the overview, or the timeline.
  hit(event) {
    const [x, y] = [event.offsetX, event.offsetY];
    if (y >= this.lanes().overview) return 'overview';
    const near = event.pointerType === 'mouse' ? 7 : 22;
    const active = this.model.clips().find((clip) => clip.isActive);
    const distances = [
      ['start', active?.start ?? null],
      ['end', active?.end ?? null],
    ]
      .filter(([, time]) => time !== null)
      // A grip lies inside its range.
      .map(([name, time]) => [name, Math.abs(this.x(time) + (name === 'start' ? 5 : -5) - x)]);
    distances.sort((a, b) => a[1] - b[1]);
    const isAtEdge = event.pointerType === 'mouse' || y < RULER + 14;
    if (isAtEdge && distances.length && distances[0][1] <= near) return distances[0][0];
    if (y < RULER + 4 && Math.abs(this.x(this.model.time()) - x) <= near) return 'playhead';
    return 'timeline';
  }

  onDown(event) {
    if (event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.motion = null;
    if (this.pointers.size === 2) {
      this.drag = { kind: 'pinch' };
      return;
    }
    this.drag = { kind: this.hit(event), x: event.offsetX, begun: event.offsetX, start: this.start, isMoved: false };
    if (this.drag.kind === 'overview') this.toOverview(event.offsetX);
    this.emit('drag', { kind: this.drag.kind, isBegin: true });
  }

  onMove(event) {
    const pointer = this.pointers.get(event.pointerId);
    this.hover = event.pointerType === 'mouse' ? event.offsetX : null;
    if (!pointer) {
      const cursors = { start: 'ew-resize', end: 'ew-resize', playhead: 'ew-resize', overview: 'pointer' };
      this.canvas.style.cursor = cursors[this.hit(event)] ?? 'default';
      this.invalidate();
      return;
    }
    const before = [...this.pointers.values()].map(({ x }) => x);
    pointer.x = event.offsetX;
    const { drag } = this;
    if (!drag) return;
    if (drag.kind === 'pinch') {
      const after = [...this.pointers.values()].map(({ x }) => x);
      if (after.length < 2) return;
      const time = this.time((before[0] + before[1]) / 2);
      const factor = Math.max(Math.abs(before[0] - before[1]), 10) / Math.max(Math.abs(after[0] - after[1]), 10);
      this.spp = clamp(this.spp * factor, LEAST_SPP, MOST_SPP);
      this.start = time - ((after[0] + after[1]) / 2) * this.spp;
      this.isFollowing = false;
    } else if (drag.kind === 'overview') {
      this.toOverview(event.offsetX);
    } else {
      const slack = event.pointerType === 'mouse' ? 4 : 9;
      drag.isMoved ||= Math.abs(event.offsetX - drag.begun) > slack;
      if (!drag.isMoved) return;
      if (drag.kind === 'timeline') this.pan(drag.x - event.offsetX);
      else this.emit('drag', { kind: drag.kind, time: this.time(event.offsetX) });
      drag.x = event.offsetX;
    }
    this.invalidate();
  }

  onUp(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { drag } = this;
    if (this.pointers.size) return;
    this.drag = null;
    this.invalidate();
    if (!drag || event.type === 'pointercancel') return;
    if (drag.kind === 'timeline' && !drag.isMoved) {
      const x = this.x(this.model.time());
      const isArrow = (x < 0 && event.offsetX < 24) || (x > this.width && event.offsetX > this.width - 24);
      if (isArrow) return void this.center(this.model.time());
      this.isFollowing = true;
      this.emit('seek', { time: this.time(event.offsetX) });
    } else if (drag.kind !== 'pinch') {
      this.emit('drag', { kind: drag.kind, isEnd: true });
    }
  }

  toOverview(x) {
    const extent = this.model.extent();
    if (!extent) return;
    const time = extent[0] + ((extent[1] - extent[0]) * x) / this.width;
    this.start = time - (this.width / 2) * this.spp;
    this.isFollowing = false;
  }
}

const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

// The ticks of a view: `{time, label, isStrong}`, where lesser ones have no label.
function ticks(start, end, spp, isUtc) {
  const least = spp * 92;
  const found = [];
  const step = STEPS.find((length) => length >= least);
  if (step) {
    const minor = step >= HOUR ? step / 4 : step / 5;
    // Steps count from midnight, so that they are round in every zone.
    const { year, month, day } = parts(start, isUtc);
    const midnight = fromParts(isUtc, year, month, day);
    const first = Math.floor((start - midnight) / minor);
    for (let index = first; midnight + index * minor <= end; index++) {
      const time = midnight + index * minor;
      const isLabelled = Math.abs(index % Math.round(step / minor)) === 0;
      if (!isLabelled) {
        found.push({ time, label: '', isStrong: false });
        continue;
      }
      const { hour, minute, second, millis, month: tickMonth, day: tickDay } = parts(time + 1e-6, isUtc);
      const isMidnight = !hour && !minute && !second && millis < 1;
      const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;
      const clock = clockText(time + 1e-6, isUtc, digits);
      const label = isMidnight ? `${tickDay} ${MONTHS[tickMonth]}` : step >= MINUTE ? clock.slice(0, 5) : clock;
      found.push({ time, label, isStrong: isMidnight });
    }
    return found;
  }
  return calendarTicks(start, end, least, isUtc);
}

// Ticks at days, months and years.
function calendarTicks(start, end, least, isUtc) {
  const found = [];
  const [year, month] = [parts(start, isUtc).year, parts(start, isUtc).month];
  const days = [1, 2, 7].find((count) => count * DAY >= least);
  if (days) {
    for (let index = 0; ; index++) {
      const first = fromParts(isUtc, year, month + index);
      if (first > end) return found;
      for (let day = 1; day <= 31; day++) {
        const time = fromParts(isUtc, year, month + index, day);
        const at = parts(time, isUtc);
        if (at.day !== day) break;
        const isLabelled = (day - 1) % days === 0 && (days === 1 || day < 30);
        const name = MONTHS[at.month];
        const label = day === 1 && at.month === 0 ? `${at.year}` : `${day} ${name}`;
        found.push({ time, label: isLabelled ? label : '', isStrong: day === 1 });
      }
    }
  }
  const months = [1, 3, 6].find((count) => count * 30 * DAY >= least);
  const years = months ? 0 : ([1, 2, 5, 10, 20, 50].find((count) => count * 365 * DAY >= least) ?? 100);
  for (let index = 0; ; index++) {
    const time = fromParts(isUtc, year, index);
    if (time > end) return found;
    const at = parts(time, isUtc);
    const isJanuary = at.month === 0;
    if (years && !isJanuary) continue;
    const isLabelled = years ? at.year % years === 0 : at.month % months === 0;
    found.push({ time, label: isLabelled ? (isJanuary ? `${at.year}` : MONTHS[at.month]) : '', isStrong: isJanuary });
  }
}
