// What the person who looks at the page has chosen. Views are told once a frame of what changed since the last one.

const state = {
  moment: N,
  selected: null, // {person} or {room}
  filter: { kind: -1, reason: 0, person: "", room: "" },
  matches: null, // what `applied` made of the filter
  axis: "time",
  hidesEmpty: P > 80, // lanes with nothing in sight
  view: { low: 0, high: 1 }, // what part of the axis is shown
  lanesWithin: 0, // how much of the axis is shown as lanes, however many: what a tap on the heatmap asked for
  isPlaying: false,
  tab: "commits",
  theme: 0, // which scheme the colours were last read for
};

const views = []; // [function, names of what it shows]
let changed = new Set();

/** Let `draw` run whenever one of `names` has changed. */
function shows(names, draw) {
  views.push([draw, names]);
}

/** Change some of the state; what shows it is drawn before the next frame, if it is not so already or `always`. */
function change(parts, always = false) {
  for (const [name, value] of Object.entries(parts)) {
    if (state[name] === value && !always) continue;
    state[name] = value;
    if (!changed.size) requestAnimationFrame(drawChanged);
    changed.add(name);
  }
}

function drawChanged() {
  const began = performance.now();
  const names = changed;
  changed = new Set();
  for (const [draw, shown] of views) if (shown.some((name) => names.has(name))) draw(names);
  document.documentElement.dataset.drawnMs = (performance.now() - began).toFixed(1);
  document.documentElement.dataset.moment = state.moment;
}

/** Go to moment `m`, or to the nearest that there is; bring it into sight. */
function goTo(m) {
  const moment = Math.max(0, Math.min(N, Math.round(m)));
  change({ moment });
  reveal(moment);
}

const selectPerson = (person) => change({ selected: { person } });
const selectRoom = (row) => change({ selected: { room: row } });
const isSelectedPerson = (person) => state.selected !== null && state.selected.person === person;
const isSelectedRoom = (row) => state.selected !== null && state.selected.room === row;

/** Whose lanes belong to the selection. */
function isInSelection(person) {
  const { selected } = state;
  if (!selected) return false;
  return (
    selected.person === person ||
    (selected.room && (room.first[selected.room] === person || room.second[selected.room] === person))
  );
}

/** Filter by `parts`, which replace those of the filter so far. */
function setFilter(parts) {
  const filter = { ...state.filter, ...parts };
  change({ filter, matches: applied(filter) });
}
