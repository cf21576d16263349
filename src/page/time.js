// Times are seconds since 1970 as numbers, which hold microseconds exactly. This module turns them into text and back.

const pad = (number, digits = 2) => String(number).padStart(digits, '0');

// The parts of a time in UTC or in the browser's zone, truncated to milliseconds.
export function parts(time, isUtc) {
  const micros = Math.round(time * 1e6);
  const date = new Date(Math.floor(micros / 1000));
  const get = (name) => (isUtc ? date[`getUTC${name}`]() : date[`get${name}`]());
  return {
    year: get('FullYear'),
    month: get('Month'),
    day: get('Date'),
    weekday: get('Day'),
    hour: get('Hours'),
    minute: get('Minutes'),
    second: get('Seconds'),
    millis: get('Milliseconds'),
  };
}

// The time of calendar parts; months may be over 11 and days over 31, as in `Date`.
export function fromParts(isUtc, year, month = 0, day = 1, hour = 0, minute = 0, second = 0) {
  const millis = isUtc
    ? Date.UTC(year, month, day, hour, minute, second)
    : new Date(year, month, day, hour, minute, second).getTime();
  return millis / 1000;
}

// `2026-11-27T13:08:42.120Z`, as addresses have it; microseconds only where there are any.
export function iso(time) {
  const micros = Math.round(time * 1e6);
  const text = new Date(Math.floor(micros / 1000)).toISOString();
  const rest = ((micros % 1000) + 1000) % 1000;
  return rest ? `${text.slice(0, -1)}${pad(rest, 3)}Z` : text;
}

// The time of an ISO 8601 text with a zone, to the microsecond; NaN if it is none.
export function parseIso(text) {
  const fraction = /\.(\d+)(?=Z|[+-]\d\d:?\d\d$)/.exec(text);
  const whole = Date.parse(fraction ? text.replace(fraction[0], '') : text);
  return whole / 1000 + (fraction ? Math.round(Number(`0.${fraction[1]}`) * 1e6) / 1e6 : 0);
}

export function dateText(time, isUtc) {
  const { year, month, day } = parts(time, isUtc);
  return `${year}-${pad(month + 1)}-${pad(day)}`;
}

// `13:08:42.120`, with as many digits of the second as wanted.
export function clockText(time, isUtc, digits = 3) {
  const { hour, minute, second, millis } = parts(time, isUtc);
  const fraction = digits ? `.${pad(millis, 3).slice(0, digits)}` : '';
  return `${pad(hour)}:${pad(minute)}:${pad(second)}${fraction}`;
}

export const fullText = (time, isUtc) => `${dateText(time, isUtc)} ${clockText(time, isUtc)}`;

// A length for reading: `4.20 s`, `12:05`, `3 h 20 min`, `4 days 3 h`.
export function spanText(seconds) {
  const span = Math.max(0, seconds);
  if (span < 59.95) return `${span < 10 ? Number(span.toFixed(1)) : Math.round(span)} s`;
  const whole = Math.round(span);
  const both = (first, second, unit) => (second ? `${first} ${second} ${unit}` : first);
  if (whole < 3600) return both(`${Math.floor(whole / 60)} min`, whole % 60, 's');
  if (whole < 86400) return both(`${Math.floor(whole / 3600)} h`, Math.floor(whole / 60) % 60, 'min');
  const days = Math.floor(whole / 86400);
  return both(`${days} ${days === 1 ? 'day' : 'days'}`, Math.floor(whole / 3600) % 24, 'h');
}

// A length to the millisecond: `12.340 s`, `1:02:12.340`.
export function lengthText(seconds) {
  const millis = Math.round(seconds * 1000);
  const whole = Math.floor(millis / 1000);
  const fraction = pad(millis % 1000, 3);
  if (whole < 60) return `${whole}.${fraction} s`;
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return `${hours ? `${hours}:${pad(minutes)}` : minutes}:${pad(whole % 60)}.${fraction}`;
}

export function sizeText(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

const UNITS = { d: 86400, h: 3600, min: 60, m: 60, s: 1, ms: 0.001 };

// What a person types: `13:08`, `13:08:42.12` (on the day of `near`), `11-27 13:08`, `2026-11-27 13:08:42`, an ISO 8601
// time with a zone, seconds since 1970, `now`, or a step from `near` such as `-90s`, `+1h30m`. NaN if it is none of them.
export function parseTyped(text, near, isUtc) {
  const typed = text.trim();
  if (/^\d{9,11}(\.\d+)?$/.test(typed)) return Number(typed);
  if (/^now$/i.test(typed)) return Date.now() / 1000;
  const step = /^([+-])((?:\d+(?:\.\d+)?(?:d|h|min|ms|m|s)?)+)$/i.exec(typed.replace(/\s/g, ''));
  if (step) {
    let sum = 0;
    for (const [, number, unit] of step[2].matchAll(/(\d+(?:\.\d+)?)(d|h|min|ms|m|s)?/gi)) {
      sum += Number(number) * UNITS[(unit ?? 's').toLowerCase()];
    }
    return near + (step[1] === '-' ? -sum : sum);
  }
  if (/(Z|[+-]\d\d:?\d\d)$/i.test(typed) && typed.includes(':')) return parseIso(typed.replace(' ', 'T').replace(/z$/, 'Z'));
  const local = /^(?:(?:(\d{4})-)?(\d{1,2})-(\d{1,2}))?(?:(?:^|[T\s]+)(\d{1,2}):(\d{2})(?::(\d{2})([.,]\d+)?)?)?$/i.exec(typed);
  if (!typed || !local) return NaN;
  const now = parts(near, isUtc);
  const [year, month, day] = [local[1] ?? now.year, local[2] ? local[2] - 1 : now.month, local[3] ?? now.day].map(Number);
  const [hour, minute, second] = [local[4] ?? 0, local[5] ?? 0, local[6] ?? 0].map(Number);
  if (month > 11 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59) return NaN;
  const fraction = local[7] ? Number(local[7].replace(',', '.')) : 0;
  return fromParts(isUtc, year, month, day, hour, minute, second) + Math.round(fraction * 1e6) / 1e6;
}
