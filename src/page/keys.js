// The keys, in one table: what they do, and what the overview of keys says. Groups are in the order in which they are shown.

// `keys` are values of `KeyboardEvent.key`, in lower case. `shown` is for people where that differs.
export const KEYS = [
  ['Playing', [' '], 'Space', 'Play or pause', 'toggle'],
  ['Playing', ['k'], 'K', 'Pause', 'pause'],
  ['Playing', ['j'], 'J', 'Back 10 seconds', 'back'],
  ['Playing', ['l'], 'L', 'Play, then faster with each press', 'faster'],
  ['Playing', ['arrowleft'], '←', 'Back 1 second (with Shift 10)', 'left'],
  ['Playing', ['arrowright'], '→', 'Forward 1 second (with Shift 10)', 'right'],
  ['Playing', [',', '<'], ',', 'Back one frame', 'previousFrame'],
  ['Playing', ['.', '>'], '.', 'Forward one frame', 'nextFrame'],
  ['Playing', ['home'], 'Home', 'The start of the recording', 'first'],
  ['Playing', ['end'], 'End', 'Live, or the end of the recording', 'live'],
  ['Playing', ['g'], 'G', 'Go to a time', 'goTo'],
  ['Clips', ['c'], 'C', 'Clip of the last 30 seconds', 'last30'],
  ['Clips', ['i'], 'I', 'The clip begins with this frame', 'markIn'],
  ['Clips', ['o'], 'O', 'The clip ends before this frame', 'markOut'],
  ['Clips', ['['], '[', 'To the start of the clip', 'toIn'],
  ['Clips', [']'], ']', 'To the end of the clip', 'toOut'],
  ['Clips', ['s', 'enter'], 'S or Enter', 'Save the clip as MP4', 'save'],
  ['Clips', ['a'], 'A', 'Save all ranges as one MP4', 'saveJoined'],
  ['Clips', ['n'], 'N', 'Add another range', 'add'],
  ['Clips', ['p'], 'P', 'Preview the clips', 'preview'],
  ['Clips', ['delete', 'backspace'], 'Delete', 'Remove the clip', 'remove'],
  ['View', ['+', '='], '+', 'Zoom in', 'zoomIn'],
  ['View', ['-', '_'], '−', 'Zoom out', 'zoomOut'],
  ['View', ['0'], '0', 'Show all that is recorded', 'showAll'],
  ['View', ['f'], 'F', 'Full screen', 'fullScreen'],
  ['View', ['m'], 'M', 'Sound off or on', 'mute'],
  ['View', ['u'], 'U', 'UTC or local time', 'zone'],
  ['View', ['?'], '?', 'These keys', 'help'],
];

// Calls `actions[name](event)` for keys, except where a field or a control needs them itself.
export function listen(actions) {
  const byKey = new Map(KEYS.flatMap(([, keys, , , name]) => keys.map((key) => [key, name])));
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
    const { target } = event;
    if (document.querySelector('dialog[open]')) return;
    if (target.matches?.('input:not([type=range]), textarea, select')) return;
    const key = event.key.toLowerCase();
    if (target.matches?.('button, a, summary') && [' ', 'enter'].includes(key)) return;
    if (target.matches?.('input[type=range]') && key.startsWith('arrow')) return;
    const name = byKey.get(key);
    if (!name) return;
    event.preventDefault();
    actions[name](event);
  });
}

// Fills the overview of keys.
export function describe(container) {
  const groups = group(KEYS);
  for (const [name, rows] of groups) {
    const section = document.createElement('section');
    const title = document.createElement('h3');
    title.textContent = name;
    const list = document.createElement('dl');
    for (const [, , shown, text] of rows) {
      const [term, description] = [document.createElement('dt'), document.createElement('dd')];
      shown.split(' or ').forEach((key, index) => {
        if (index) term.append(' or ');
        const cap = document.createElement('kbd');
        cap.textContent = key;
        term.append(cap);
      });
      description.textContent = text;
      list.append(term, description);
    }
    section.append(title, list);
    container.append(section);
  }
}

function group(rows) {
  const groups = new Map();
  for (const row of rows) groups.set(row[0], [...(groups.get(row[0]) ?? []), row]);
  return groups;
}
