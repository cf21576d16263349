// A download and its progress: a bar, a text, and a button that cancels it. One at a time.

import { sizeText } from './time.js';
import { save } from './saving.js';

export class Download {
  // `place` is an empty element that is shown while there is a download, `template` what goes into it.
  constructor(place, template, notice) {
    this.place = place;
    this.notice = notice;
    place.append(template.content.cloneNode(true));
    this.part('cancel').addEventListener('click', () => this.cancel());
  }

  part(name) {
    return this.place.querySelector(`[data-part="${name}"]`);
  }

  get isRunning() {
    return Boolean(this.control);
  }

  cancel() {
    this.control?.abort();
  }

  // Saves what `find` resolves to: `{url, bytes, name}`. Tells how it ended; resolves to whether that is well.
  async run(find, saved) {
    this.control = new AbortController();
    const { signal } = this.control;
    this.place.hidden = false;
    const onProgress = (share, text) => {
      if (Number.isNaN(share)) this.part('bar').removeAttribute('value');
      else this.part('bar').value = share;
      this.part('progress-text').textContent = text;
    };
    let isDone = true;
    onProgress(NaN, 'Checking…');
    try {
      const { url, bytes, name } = await find();
      const isHere = await save(url, { bytes, name, signal, onProgress, sizeText });
      this.notice(isHere ? saved : 'The browser downloads the clip');
    } catch (error) {
      isDone = false;
      this.notice(error.name === 'AbortError' ? 'Cancelled' : error.message, error.name !== 'AbortError');
    }
    this.control = null;
    this.place.hidden = true;
    return isDone;
  }
}
