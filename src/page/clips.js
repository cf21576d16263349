// Marks and the list of clips: each row is a range of time with what can be done with it.

import { lengthText, sizeText, clockText, dateText, parseTyped, spanText } from './time.js';
import { addresses } from './api.js';
import { Download } from './download.js';
import { check } from './saving.js';

const REST = 300; // milliseconds that marks rest before they are checked

// Marks are kept in whole milliseconds, rounded down: the frame at a mark begins at or behind it.
const floor = (time) => Math.floor(time * 1e3 + 1e-3) / 1e3;

export class Clips extends EventTarget {
  // `context` has what rows need of the page: `source()`, `isUtc()`, `frameLength()`, `seek(time)`, `actions`.
  constructor(list, template, context) {
    super();
    Object.assign(this, { list, template, context });
    this.rows = [];
    this.active = null;
    this.joined = new Download(context.joinedProgress, context.progress, context.notice);
  }

  // The ranges, as links have them.
  get ranges() {
    return this.rows.map(({ start, end }) => ({ start, end }));
  }

  get whole() {
    return this.rows.filter((row) => row.isWhole);
  }

  get total() {
    return this.whole.reduce((sum, row) => sum + row.end - row.start, 0);
  }

  changed() {
    this.rows.forEach((row, index) => row.setNumber(index + 1, this.rows.length));
    this.dispatchEvent(new Event('change'));
  }

  add(start = null, end = null) {
    const row = new Row(this, start, end);
    this.rows.push(row);
    this.list.append(row.element);
    this.activate(row);
    return row;
  }

  activate(row) {
    if (this.active === row) return;
    this.active?.element.classList.remove('active');
    this.active = row;
    row?.element.classList.add('active');
    this.changed();
  }

  remove(row) {
    const index = this.rows.indexOf(row);
    row.close();
    this.rows.splice(index, 1);
    row.element.remove();
    if (this.active === row) {
      this.active = null;
      this.activate(this.rows[Math.min(index, this.rows.length - 1)] ?? null);
    }
    this.changed();
  }

  clear() {
    for (const row of [...this.rows]) this.remove(row);
  }

  move(row, by) {
    const from = this.rows.indexOf(row);
    const to = from + by;
    if (to < 0 || to >= this.rows.length) return;
    this.rows.splice(from, 1);
    this.rows.splice(to, 0, row);
    const focused = document.activeElement;
    this.list.insertBefore(row.element, this.rows[to + 1]?.element ?? null);
    focused?.focus();
    this.changed();
  }

  // Sets a mark of the active range, or of a new one if there is none or it is saved already. The other mark goes if it is
  // on the wrong side.
  mark(which, time) {
    const isDone = !this.active || (this.active.isWhole && this.active.isSaved);
    const row = isDone ? this.add() : this.active;
    row.set(which, floor(time));
    return row;
  }

  // Saves all ranges as one MP4, in the order of the list.
  async saveJoined() {
    const rows = this.whole;
    if (rows.length < 2 || this.joined.isRunning) return;
    const find = async () => {
      const found = await Promise.all(rows.map((row) => row.checked()));
      const without = found.findIndex((one) => !one?.mp4);
      if (without >= 0) throw new Error(`Range ${this.rows.indexOf(rows[without]) + 1}: ${rows[without].describe(found[without])[1]}`);
      // All are of one type: what cannot be cut otherwise is encoded.
      const type = found.some((one) => one.types?.mp4) ? 'full' : 'smart';
      const values = found.some((one) => one.kind === 'holes' || one.holes.length) ? { allow_holes: 'true' } : {};
      const { stream, variant } = this.context.source();
      const bytes = found.reduce((sum, one) => sum + one.bytes, 0);
      return { url: addresses.joined(stream, variant, 'mp4', rows, { type, ...values }), bytes, name: 'clips.mp4' };
    };
    if (await this.joined.run(find, `Saved ${rows.length} ranges as one MP4`)) rows.forEach((row) => { row.isSaved = true; });
  }

  // Checks all ranges anew: in another variant, or when the server is back.
  checkAll() {
    for (const row of this.rows) row.check();
  }

  refresh() {
    for (const row of this.rows) row.show();
  }
}

class Row {
  constructor(clips, start, end) {
    Object.assign(this, { clips, start, end, found: null });
    this.element = clips.template.content.firstElementChild.cloneNode(true);
    this.part = (name) => this.element.querySelector(`[data-part="${name}"]`);
    this.download = new Download(this.part('progress'), clips.context.progress, clips.context.notice);
    this.element.addEventListener('focusin', () => clips.activate(this));
    this.element.addEventListener('pointerdown', () => clips.activate(this));
    for (const which of ['start', 'end']) this.listenToField(which);
    this.listenToButtons();
    this.show();
    this.check();
  }

  get isWhole() {
    return this.start !== null && this.end !== null && this.end > this.start;
  }

  listenToField(which) {
    const field = this.part(which);
    field.addEventListener('change', () => {
      const { context } = this.clips;
      const typed = parseTyped(field.value, this[which] ?? context.time(), context.isUtc());
      field.setAttribute('aria-invalid', String(Number.isNaN(typed)));
      if (Number.isNaN(typed)) return;
      this.set(which, floor(typed));
      context.seek(this[which]);
    });
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') field.blur();
      if (event.key === 'Escape') this.show();
      const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.nudge(which, step);
    });
  }

  listenToButtons() {
    const { clips } = this;
    const { actions } = clips.context;
    const on = (name, run) => this.part(name).addEventListener('click', run);
    for (const which of ['start', 'end']) {
      on(`${which}-back`, () => this.nudge(which, -1));
      on(`${which}-forward`, () => this.nudge(which, 1));
    }
    on('mp4', () => this.save('mp4'));
    on('ts', () => this.save('ts'));
    on('frame', () => actions.saveFrame());
    on('link', () => actions.copyLink(this));
    on('curl', () => actions.copyCurl(this));
    on('up', () => clips.move(this, -1));
    on('down', () => clips.move(this, 1));
    on('remove', () => clips.remove(this));
  }

  // Moves a mark by frames and shows the picture there.
  nudge(which, frames) {
    const { context } = this.clips;
    if (this[which] === null) return;
    const length = context.frameLength();
    // From the middle of a frame to the middle of another: rounding does not add up.
    this.set(which, floor(context.snap(this[which] + (frames + 0.5) * length)));
    context.seek(this[which]);
  }

  // Moves a mark to a time.
  adjust(which, time) {
    this.set(which, floor(time));
  }

  set(which, time) {
    this[which] = time;
    this.isSaved = false;
    const other = which === 'start' ? 'end' : 'start';
    if (this.start !== null && this.end !== null && this.end <= this.start) this[other] = null;
    this.show();
    this.check();
    this.clips.changed();
  }

  setNumber(number, count) {
    this.part('number').textContent = number;
    this.element.setAttribute('aria-label', `Clip ${number}`);
    this.part('up').hidden = count < 2;
    this.part('down').hidden = count < 2;
    this.part('up').disabled = number === 1;
    this.part('down').disabled = number === count;
  }

  // ---- What is shown ----

  show() {
    const isUtc = this.clips.context.isUtc();
    for (const which of ['start', 'end']) {
      const field = this.part(which);
      const time = this[which];
      field.value = time === null ? '' : clockText(time + 1e-6, isUtc);
      field.title = time === null ? 'not marked yet' : `${dateText(time, isUtc)} ${clockText(time + 1e-6, isUtc)}`;
      field.removeAttribute('aria-invalid');
    }
    const first = this.start ?? this.end;
    this.part('date').textContent = first === null ? '' : dateText(first, isUtc);
    this.part('length').textContent = this.isWhole ? lengthText(this.end - this.start) : '';
    this.showFound();
  }

  showFound() {
    const { found } = this;
    const status = this.part('status');
    const [kind, text] = this.isWhole ? this.describe(found) : ['open', this.start === null ? 'Mark its start (I)' : 'Mark its end (O)'];
    status.dataset.kind = kind;
    if (status.textContent !== text) status.textContent = text;
    const can = (container) => this.isWhole && (found === null || found[container] !== null) && !this.download.isRunning;
    this.part('mp4').disabled = !can('mp4');
    this.part('ts').disabled = !can('ts');
    for (const name of ['link', 'curl']) this.part(name).disabled = !this.isWhole;
  }

  // A kind for colors, and a sentence.
  describe(found) {
    if (!found) return ['checking', this.waiting || 'Checking…'];
    const size = found.bytes ? ` · ${found.isEstimate ? 'about ' : ''}${sizeText(found.bytes)}` : '';
    if (found.kind === 'complete') return ['complete', `Complete${size}`];
    if (found.kind === 'nothing') return ['refused', 'Nothing was recorded in this range.'];
    if (found.kind === 'refused') return ['refused', found.text || 'The server cannot make this clip.'];
    const notes = [];
    if (found.holes.length) notes.push(this.describeHoles(found.holes));
    else if (found.kind === 'holes') notes.push('Parts are missing');
    if (found.kind === 'limited') {
      if (found.types.mp4 === 'full') notes.push('Encoded anew');
      else if (found.types.mp4 === 'copy') notes.push('Not encoded: hidden pictures remain before its start');
      else notes.push('No MP4');
      if (found.types.ts === 'rough') notes.push('TS in whole segments');
      notes.push(`The reason: ${found.text}`);
    }
    return ['limited', `${notes.join('. ')}${size}`];
  }

  describeHoles(holes) {
    const isUtc = this.clips.context.isUtc();
    const sum = holes.reduce((seconds, { start, end }) => seconds + end - start, 0);
    const first = clockText(holes[0].start, isUtc, 1);
    const more = holes.length > 1 ? ` and ${holes.length - 1} more` : '';
    return `${spanText(sum)} ${sum === 1 ? 'is' : 'are'} missing at ${first}${more}`;
  }

  // ---- What the server says ----

  check() {
    this.checking?.abort();
    clearTimeout(this.timer);
    this.found = null;
    this.waiting = '';
    this.showFound();
    if (this.isWhole) this.timer = setTimeout(() => this.ask(), REST);
  }

  async ask() {
    const { signal } = (this.checking = new AbortController());
    const onWait = (text) => {
      this.waiting = text;
      this.showFound();
    };
    try {
      const found = await check({ ...this.clips.context.source(), start: this.start, end: this.end }, signal, onWait);
      if (signal.aborted) return;
      this.found = found;
    } catch (error) {
      if (signal.aborted) return;
      this.found = { kind: 'refused', text: error.message, holes: [], mp4: null, ts: null };
    }
    this.showFound();
    this.clips.dispatchEvent(new Event('checked'));
  }

  // What the server says, by now: who saves before the check has come waits for it.
  async checked() {
    clearTimeout(this.timer);
    if (!this.found) await this.ask();
    return this.found;
  }

  close() {
    clearTimeout(this.timer);
    this.checking?.abort();
    this.download.cancel();
  }

  // ---- Saving ----

  async save(container) {
    if (!this.isWhole || this.download.isRunning) return;
    const find = async () => {
      const found = await this.checked();
      if (!found?.[container]) throw new Error(this.describe(found)[1]);
      return { url: found[container], bytes: found.bytes, name: `clip.${container}` };
    };
    const running = this.download.run(find, `Saved ${lengthText(this.end - this.start)} as ${container.toUpperCase()}`);
    this.showFound();
    this.isSaved = await running || this.isSaved;
    this.showFound();
  }
}
