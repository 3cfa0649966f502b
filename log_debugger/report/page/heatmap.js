// Draws a heatmap of the connections where more are in sight than lanes can be told apart. A row is a group of slots;
// connections that are not there at the same time share a slot. The fuller a cell, the stronger its colour.

const LANES_MAX = 300; // with more lanes in sight, none is found by scrolling
const CELL = 3; // px: the width of a cell, and the least height
const CELL_INK_MIN = 0.25; // a cell with anything in it is seen
const CELL_FILL_MIN = 0.02; // of a cell: what lasts no time is there all the same

/** Whether the heatmap is shown: for too many lanes, unless a tap on it has asked for the lanes of so little time. */
function isHeatmap() {
  shownPeople();
  return lanes.busy.length > LANES_MAX && state.view.high - state.view.low > state.lanesWithin;
}

/** Call `each(person, from, to, isChat)` for what goes on between the moments `from` and `to`. */
function eachSpan(from, to, each) {
  const walk = (spans, tell) => {
    spans.at(from).forEach(tell);
    for (let row = upperBound(spans.start, from, 1), end = upperBound(spans.start, to, 1); row < end; row++) tell(row);
  };
  walk(waits, (row) => each(wait.who[row], wait.start[row], wait.end[row], false));
  walk(rooms, (row) => {
    if (!isRealRoom(row)) return;
    each(room.first[row], room.start[row], room.end[row], true);
    each(room.second[row], room.start[row], room.end[row], true);
  });
}

let packing = { people: null };

/** The slots of `people`: each has the lowest that is free from the first to the last that they do. */
function packed(people) {
  if (packing.people === people) return packing;
  const [slot, first, last] = [new Uint32Array(P + 1), new Float64Array(P + 1).fill(Infinity), new Float64Array(P + 1)];
  eachSpan(0, N + 1, (person, from, to) => {
    first[person] = Math.min(first[person], from);
    last[person] = Math.max(last[person], to);
  });
  const there = people.filter((person) => last[person]);
  const byEnd = there.slice().sort((one, other) => last[one] - last[other]);
  const free = []; // descending
  let [count, ended] = [0, 0];
  for (const person of there.slice().sort((one, other) => first[one] - first[other])) {
    while (last[byEnd[ended]] <= first[person]) setFree(free, slot[byEnd[ended++]]);
    slot[person] = free.pop() ?? ++count;
  }
  packing = { people, slot, count };
  return packing;
}

function setFree(descending, slot) {
  let low = 0;
  for (let high = descending.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if (descending[middle] > slot) low = middle + 1;
    else high = middle;
  }
  descending.splice(low, 0, slot);
}

/** Whose lanes stand above the heatmap: those of the selection. */
function pinnedPeople() {
  const { selected } = state;
  if (!selected) return [];
  return selected.person ? [selected.person] : [room.first[selected.room], room.second[selected.room]].filter(Boolean);
}

/** The rows and columns of the heatmap on a canvas of `width` by `height` px. */
function heatmapGrid(width, height) {
  const { slot, count } = packed(lanes.all);
  const top = pinnedPeople().length * ROW;
  const rowsMax = Math.max(1, Math.floor((height - top) / CELL));
  const slotsEach = Math.max(1, Math.ceil(count / rowsMax));
  const rows = Math.max(1, Math.ceil(count / slotsEach));
  const columns = Math.max(1, Math.floor((width - GUTTER) / CELL));
  const cell = { width: (width - GUTTER) / columns, height: Math.min(ROW, (height - top) / rows) };
  return { slot, top, slotsEach, rows, columns, cell };
}

/** How full each cell is with waits and with chats, in slots, row after row. */
function heatmapCells({ slot, slotsEach, rows, columns }) {
  const { low, high } = state.view;
  const values = axis();
  const scale = columns / (high - low);
  const stride = columns + 2;
  const full = [new Float64Array(rows * stride), new Float64Array(rows * stride)];
  // A span is the difference of two ramps, of which each touches two cells: their sums along a row are the cells.
  const ramp = (sums, row, x, sign) => {
    const cell = Math.floor(x);
    sums[row * stride + cell] += sign * (1 - x + cell);
    sums[row * stride + cell + 1] += sign * (x - cell);
  };
  eachSpan(momentAt(low), Math.min(N, momentAt(high)), (person, from, to, isChat) => {
    if (!slot[person]) return;
    const row = Math.floor((slot[person] - 1) / slotsEach);
    const begin = Math.min(columns, Math.max(0, (values[from] - low) * scale));
    const end = Math.min(columns, Math.max(begin + CELL_FILL_MIN, (values[to] - low) * scale));
    ramp(full[Number(isChat)], row, begin, 1);
    ramp(full[Number(isChat)], row, end, -1);
  });
  for (const sums of full)
    for (let row = 0; row < rows; row++)
      for (let n = row * stride + 1; n < row * stride + columns; n++) sums[n] += sums[n - 1];
  return { wait: full[0], chat: full[1], stride };
}

/** The red, green and blue of a colour of the style. */
function rgbOf(colour) {
  const pen = new OffscreenCanvas(1, 1).getContext("2d");
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  return pen.getImageData(0, 0, 1, 1).data;
}

let heatmapDrawn = { key: [] };

/** The cells as a picture, a pixel each; made anew only when something else is in sight. */
function heatmapPicture(grid) {
  const key = [state.view, state.axis, lanes.all, theme, grid.rows, grid.columns];
  if (key.every((one, n) => one === heatmapDrawn.key[n])) return heatmapDrawn.picture;
  const { rows, columns } = grid;
  const { wait: waiting, chat, stride } = heatmapCells(grid);
  const most = chat.reduce((high, one, n) => Math.max(high, one + waiting[n]), CELL_FILL_MIN);
  const [waitInk, chatInk] = [rgbOf(theme["wait-ink"]), rgbOf(theme.rooms[0].edge)];
  const picture = new OffscreenCanvas(columns, rows);
  const pen = picture.getContext("2d");
  const image = pen.createImageData(columns, rows);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const [waits, chats] = [waiting[row * stride + column], chat[row * stride + column]];
      const fill = waits + chats;
      if (fill < 1e-6) continue;
      const at = 4 * (row * columns + column);
      for (let part = 0; part < 3; part++) image.data[at + part] = (waitInk[part] * waits + chatInk[part] * chats) / fill;
      image.data[at + 3] = 255 * (CELL_INK_MIN + (1 - CELL_INK_MIN) * Math.sqrt(fill / most));
    }
  }
  pen.putImageData(image, 0, 0);
  heatmapDrawn = { key, picture };
  return picture;
}

function drawHeatmap(ctx, width, height) {
  const grid = heatmapGrid(width, height);
  const picture = heatmapPicture(grid);
  const pinned = pinnedPeople();
  drawLanes(ctx, pinned, 0, 0, width, height);
  ctx.save();
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(picture, GUTTER, grid.top, width - GUTTER, grid.rows * grid.cell.height);
  ctx.restore();
  drawHeatmapLabel(ctx, grid);
  const place = placing(width);
  drawBreachLines(ctx, place, height);
  drawNow(ctx, place, height);
}

function drawHeatmapLabel(ctx, { top, slotsEach }) {
  const lines = [
    [theme.ink, lanes.busy.length.toLocaleString("en")],
    [theme.ink, "connections"],
    [theme.muted, `${slotsEach} a row`],
    [theme.muted, "tap: lanes"],
  ];
  ctx.fillStyle = theme.line;
  ctx.fillRect(GUTTER - 1, top, 1, ctx.canvas.height);
  ctx.font = `12px ${FONT}`;
  lines.forEach(([colour, text], n) => {
    ctx.fillStyle = colour;
    ctx.fillText(text, 12, top + 16 + 18 * n, GUTTER - 20);
  });
}

/** The cell of the heatmap at a point of the lanes, `null` beside it: whose it is, and from when to when. */
function cellUnder(x, y) {
  const grid = heatmapGrid(lanesBox.clientWidth, lanesBox.clientHeight);
  const row = Math.floor((y - grid.top) / grid.cell.height);
  const column = Math.floor((x - GUTTER) / grid.cell.width);
  if (row < 0 || row >= grid.rows || column < 0 || column >= grid.columns) return null;
  const each = (state.view.high - state.view.low) / grid.columns;
  const low = state.view.low + column * each;
  const people = new Set();
  eachSpan(momentAt(low), Math.min(N, momentAt(low + each)), (person, from, to) => {
    const isThere = axis()[to] >= low && axis()[from] <= low + each;
    if (isThere && grid.slot[person] && Math.floor((grid.slot[person] - 1) / grid.slotsEach) === row) people.add(person);
  });
  return { people: [...people], low, high: low + each };
}

function cellLines({ people, low, high }) {
  const when = (value) => (state.axis === "time" ? relative(value, high - low < 1000) : `#${positionOf(momentAt(value))}`);
  return [
    el("p", {}, people.length ? `${counted(people.length, "connection")}: tap for the lanes` : "Nobody waits or chats"),
    el("p", { class: "muted" }, `${when(Math.max(0, low))} to ${when(high)}`),
  ];
}

/** The part of the heatmap at the moment, as wide as a cell. */
function cellAtMoment() {
  const half = (CELL * perPixel()) / 2;
  return { people: [], low: axis()[state.moment] - half, high: axis()[state.moment] + half };
}

/** Show the lanes of a cell's time, with those of its people in sight. */
function openCell({ people, low, high }) {
  const middle = (low + high) / 2;
  let size = high - low;
  showTip(null, null);
  lookAt(low, high);
  for (let tries = 0; shownPeople() && lanes.busy.length > LANES_MAX && tries < 6; tries++) {
    size /= 2;
    lookAt(middle - size / 2, middle + size / 2);
  }
  change({ lanesWithin: 1.01 * (state.view.high - state.view.low) });
  drawTimeline();
  const there = people.filter((person) => shownPeople().includes(person));
  revealLanes(there.slice(0, 1));
}
