// The parts of the page that only show: notices, messages, the clock, the live button, the states of controls.

import { clockText, dateText, spanText } from './time.js';

export const $ = (id) => document.getElementById(id);

// Sets a text only where it changes, so that screen readers and layout have no work.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setIcon(button, name) {
  const use = button.querySelector('use');
  if (use.getAttribute('href') !== `#${name}`) use.setAttribute('href', `#${name}`);
}

// The server's words as a sentence.
export const sentence = (text) => text.replace(/[^.!?…]$/, '$&.');

let noticeTimer = 0;

// A sentence over the picture for some seconds, which screen readers say.
export function notice(text, isBad = false) {
  const element = $('notice');
  element.textContent = text;
  element.classList.toggle('bad', isBad);
  element.classList.add('shown');
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => element.classList.remove('shown'), isBad ? 8000 : 4000);
}

// What is shown in place of a picture: `{title, text, code, button, run}`; nothing removes it.
export function message(content) {
  $('message').hidden = !content;
  if (!content) return;
  setText($('messageTitle'), content.title);
  setText($('messageText'), content.text ?? '');
  $('messageCode').hidden = !content.code;
  setText($('messageCode'), content.code ?? '');
  $('messageButton').hidden = !content.button;
  setText($('messageButton'), content.button ?? '');
  $('messageButton').onclick = content.run ?? null;
}

export function away(text) {
  $('away').hidden = !text;
  setText($('away'), text);
}

export function showClock(time, isUtc) {
  if (!Number.isFinite(time)) {
    setText($('date'), '');
    setText($('clock'), '--:--:--.---');
    return;
  }
  setText($('date'), dateText(time + 1e-6, isUtc));
  setText($('clock'), clockText(time + 1e-6, isUtc));
}

// The live button, and how far behind the newest recording the picture is.
export function showLive({ isRecording, isFollowing, behind, age }) {
  const state = !isRecording ? 'ended' : isFollowing ? 'live' : 'behind';
  $('live').dataset.state = state;
  setText($('liveText'), isRecording ? (isFollowing ? 'Live' : 'Go live') : 'To end');
  const ended = `Recorded until ${spanText(age)} ago`;
  const live = behind < 0.5 ? 'Live' : `${spanText(Math.round(behind))} behind live`;
  setText($('distance'), Number.isFinite(behind) ? (isRecording ? live : ended) : '');
}

export function showPlaying(isPlaying) {
  setIcon($('play'), isPlaying ? 'i-pause' : 'i-play');
  $('play').setAttribute('aria-label', isPlaying ? 'Pause' : 'Play');
  $('play').title = isPlaying ? 'Pause (Space or K)' : 'Play (Space)';
}

export function showSound(video) {
  const isMuted = video.muted || video.volume === 0;
  setIcon($('mute'), isMuted ? 'i-muted' : 'i-sound');
  $('mute').setAttribute('aria-label', isMuted ? 'Sound on' : 'Sound off');
  $('mute').setAttribute('aria-pressed', String(isMuted));
  $('volume').value = isMuted ? 0 : video.volume;
}

// Replaces the options of a select. Names are text, whatever is in them.
export function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  select.title = chosen ?? '';
}

// Copies a text, also where the page has no secure origin.
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement('textarea');
    field.value = text;
    field.className = 'unseen';
    const focused = document.activeElement;
    document.body.append(field);
    field.select();
    const isDone = document.execCommand('copy');
    field.remove();
    focused?.focus();
    return isDone;
  }
}
