// Draws the lanes: a row a connection, with its waits, its rooms and its messages. Only what is in sight is looked at,
// and where there is more of it than pixels, one thing a pixel.

let ROW = 28; // px
let BAR = 20; // a room; its label is in the upper part, what was said in the lower
let GUTTER = 168; // for the labels
const ROOM_HUES = [212, 165, 268, 100, 312, 190, 238, 75]; // red and amber mean something else

const narrow = matchMedia("(max-width: 700px)");
const byTouch = matchMedia("(max-width: 700px), (pointer: coarse)");

/** Take lanes that a finger hits, and a narrow column of labels where the window is narrow. */
function readLayout() {
  GUTTER = narrow.matches ? 92 : 168;
  ROW = byTouch.matches ? 40 : 28;
  BAR = ROW - 8;
}

let theme = {};

/** Read the colours of the present scheme, light or dark. */
function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const names = [
    "ink",
    "muted",
    "line",
    "panel",
    "stripe",
    "accent",
    "wait",
    "wait-ink",
    "gone",
    "bad",
    "good",
    "chosen",
    "tick",
    "heard",
  ];
  theme = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  theme.isDark = style.getPropertyValue("--is-dark").trim() === "1";
  theme.rooms = ROOM_HUES.map((hue) => ({
    fill: theme.isDark ? `hsl(${hue} 32% 29%)` : `hsl(${hue} 58% 86%)`,
    edge: theme.isDark ? `hsl(${hue} 38% 52%)` : `hsl(${hue} 42% 58%)`,
    ink: theme.isDark ? `hsl(${hue} 60% 90%)` : `hsl(${hue} 60% 20%)`,
  }));
  theme.hatch = null;
}
const roomColours = (row) => theme.rooms[row % theme.rooms.length];

/** The pattern of waiting, so that it is told from chatting by more than its colour. */
function hatch(ctx) {
  if (theme.hatch) return theme.hatch;
  const tile = new OffscreenCanvas(6, 6);
  const pen = tile.getContext("2d");
  pen.fillStyle = theme.wait;
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = theme["wait-ink"];
  pen.globalAlpha = 0.55;
  pen.lineWidth = 1.2;
  for (const x of [-6, 0, 6]) {
    pen.moveTo(x, 6);
    pen.lineTo(x + 6, 0);
  }
  pen.stroke();
  theme.hatch = ctx.createPattern(tile, "repeat");
  return theme.hatch;
}

/** Where moments stand on a canvas `width` px wide, beside the labels. */
function placing(width) {
  const { low, high } = state.view;
  const values = axis();
  const factor = (width - GUTTER) / (high - low);
  return {
    width,
    x: (m) => GUTTER + (values[m] - low) * factor,
    at: (value) => GUTTER + (value - low) * factor,
    from: momentAt(low),
    to: Math.min(N, momentAt(high) + 1),
    momentOf: (x) => momentAt(low + (x - GUTTER) / factor),
    nearest: (x) => nearestMoment(low + (x - GUTTER) / factor),
    valueOf: (x) => low + (x - GUTTER) / factor,
  };
}

/** Call `draw` for `rows[low..high)`; if they are too dense, for the first of each pixel. `start` gives a row's moment. */
function thinned(rows, low, high, start, place, draw) {
  if (high - low <= 3 * place.width) {
    for (let n = low; n < high; n++) draw(rows[n]);
    return;
  }
  for (let n = low, x = GUTTER; n < high;) {
    draw(rows[n]);
    x = Math.max(x + 1, Math.ceil(place.x(start[rows[n]]) + 0.5));
    const next = place.momentOf(x);
    let above = high;
    for (let below = n + 1; below < above;) {
      const middle = (below + above) >>> 1;
      if (start[rows[middle]] < next) below = middle + 1;
      else above = middle;
    }
    n = Math.max(n + 1, above);
  }
}

/** The part of `rows` (ascending, of `spans`) that may be in sight. */
function inSight(rows, spans, place) {
  const high = lowerBound(rows, upperBound(spans.start, place.to, 1));
  let low = lowerBound(rows, lowerBound(spans.start, place.from, 1));
  for (let back = 0; low > 0 && back < 4; back++) low--; // one that began before may go on
  return [low, high];
}

/** Draw the lanes of `people` from `first` on, beginning at `top` px, on a canvas of `width` by `height`. */
function drawLanes(ctx, people, first, top, width, height) {
  ctx.clearRect(0, 0, width, height);
  ctx.textBaseline = "middle";
  const place = placing(width);
  for (let n = first, y = top; n < people.length && y < height; n++, y += ROW) {
    drawLane(ctx, people[n], y, place, n);
  }
  drawRoomLink(ctx, people, first, top, place, height);
  drawBreachLines(ctx, place, height);
  drawNow(ctx, place, height);
}

function drawNow(ctx, place, height) {
  const now = place.x(state.moment);
  if (now >= GUTTER && now <= place.width) verticalLine(ctx, now, height, theme.accent, 1.5);
}

function drawLane(ctx, person, y, place, n) {
  const isChosen = isInSelection(person);
  ctx.fillStyle = isChosen ? theme.chosen : n % 2 ? theme.stripe : theme.panel;
  ctx.fillRect(0, y, place.width, ROW);
  ctx.save();
  ctx.beginPath();
  ctx.rect(GUTTER, y, place.width - GUTTER, ROW);
  ctx.clip();
  const own = group(waitsOf, person);
  thinned(own, ...inSight(own, waits, place), wait.start, place, (row) => drawWait(ctx, row, y, place));
  const chats = group(roomsOf, person);
  thinned(chats, ...inSight(chats, rooms, place), room.start, place, (row) => drawRoom(ctx, row, person, y, place));
  drawMessages(ctx, person, y, place);
  drawRefusals(ctx, person, y, place);
  ctx.restore();
  drawLabel(ctx, person, y, isChosen);
}

function drawLabel(ctx, person, y, isChosen) {
  ctx.fillStyle = theme.ink;
  ctx.font = `${isChosen ? "600 " : ""}12px ${FONT}`;
  const middle = y + ROW / 2 + 0.5;
  if (hasName(person)) {
    ctx.fillText(short(nameOf(person), 14), 12, middle, Math.min(92, GUTTER - 18));
    ctx.fillStyle = theme.muted;
  }
  ctx.font = `12px ${MONO}`;
  ctx.fillText(
    hasName(person) ? (GUTTER < 120 ? "" : short(personId(person), 8)) : short(personId(person), GUTTER < 120 ? 11 : 20),
    hasName(person) ? 108 : 12,
    middle,
    GUTTER < 120 || !hasName(person) ? GUTTER - 20 : GUTTER - 112,
  );
  ctx.fillStyle = theme.line;
  ctx.fillRect(GUTTER - 1, y, 1, ROW);
}

const FONT = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif';
const MONO = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';

const strength = (isMatch) => (state.matches && !isMatch ? 0.28 : 1);

function drawWait(ctx, row, y, place) {
  const from = place.x(wait.start[row]);
  const to = place.x(wait.end[row]);
  const { matches } = state;
  ctx.globalAlpha = strength(matches && (matches.isMatch[wait.start[row]] || matches.isMatch[wait.end[row]]));
  ctx.fillStyle = to - from > 5 ? hatch(ctx) : theme["wait-ink"];
  ctx.fillRect(from, y + 9, Math.max(1.5, to - from), ROW - 18);
  if (wait.end[row] <= N && !wait.room[row]) endMark(ctx, to, y, DATA.reasons[wait.reason[row]]);
  ctx.globalAlpha = 1;
}

function drawRoom(ctx, row, person, y, place) {
  const from = Math.max(GUTTER - 4, place.x(room.start[row]));
  const to = Math.min(place.width + 4, place.x(room.end[row]));
  const { matches } = state;
  const colours = roomColours(row);
  const top = y + (ROW - BAR) / 2;
  const size = Math.max(1.5, to - from);
  ctx.globalAlpha = strength(matches && matches.rooms[row]);
  ctx.fillStyle = size < 3 ? colours.edge : colours.fill;
  ctx.fillRect(from, top, size, BAR);
  if (size >= 3) {
    ctx.strokeStyle = isSelectedRoom(row) ? theme.ink : colours.edge;
    ctx.lineWidth = isSelectedRoom(row) ? 2 : 1;
    ctx.strokeRect(from + 0.5, top + 0.5, size - 1, BAR - 1);
  }
  if (size > 54) roomLabel(ctx, row, person, from, size, y, colours);
  if (room.end[row] <= N && room.closer[row] === person) endMark(ctx, to, y, DATA.reasons[room.reason[row]]);
  ctx.globalAlpha = 1;
}

function roomLabel(ctx, row, person, from, size, y, colours) {
  const other = room.first[row] === person ? room.second[row] : room.first[row];
  ctx.font = `12px ${FONT}`;
  ctx.fillStyle = colours.ink;
  const text = short(nameOf(other), Math.min(30, Math.floor((size - 12) / 6.5)));
  ctx.fillText(text, Math.max(from, GUTTER) + 6, y + 11, size - 10);
}

/** Who ended it, and whether on purpose. */
function endMark(ctx, x, y, reason) {
  const isGone = ["timeout", "disconnected", "missed", "missed_by_both"].includes(reason);
  ctx.fillStyle = isGone ? theme.gone : theme.ink;
  ctx.beginPath();
  if (isGone) ctx.rect(x - 2.5, y + 3, 4, ROW - 6);
  else ctx.rect(x - 1, y + 3, 2, ROW - 6);
  ctx.fill();
}

function drawMessages(ctx, person, y, place) {
  const own = group(messagesOf, person);
  const low = lowerBound(own, lowerBound(message.moment, place.from));
  const high = lowerBound(own, upperBound(message.moment, place.to));
  const { matches } = state;
  thinned(own, low, high, message.moment, place, (said) => {
    const x = place.x(message.moment[said]);
    ctx.globalAlpha = strength(matches && matches.isMatch[message.moment[said]]);
    const isSender = message.sender[said] === person;
    ctx.fillStyle = isSender ? theme.tick : theme.heard;
    const size = isSender ? 7 : 3;
    ctx.fillRect(x - 0.75, y + ROW - 5 - size, 1.5, size);
  });
  ctx.globalAlpha = 1;
}

/** A line from lane to lane where the selected room opened. */
function drawRoomLink(ctx, people, first, top, place, height) {
  const row = state.selected && state.selected.room;
  if (!row) return;
  const x = place.x(room.start[row]);
  const lanes = [room.first[row], room.second[row]].map(
    (person) => top + (people.indexOf(person) - first) * ROW + ROW / 2,
  );
  if (x < GUTTER || x > place.width || people.indexOf(room.first[row]) < 0 || people.indexOf(room.second[row]) < 0)
    return;
  ctx.strokeStyle = theme.ink;
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  ctx.moveTo(x, Math.max(-5, Math.min(height + 5, lanes[0])));
  ctx.lineTo(x, Math.max(-5, Math.min(height + 5, lanes[1])));
  ctx.stroke();
}

function drawBreachLines(ctx, place, height) {
  let last = -Infinity;
  for (let n = lowerBound(breachMoments, place.from); n < breachMoments.length && breachMoments[n] <= place.to; n++) {
    const x = place.x(breachMoments[n]);
    if (x < GUTTER || x - last < 2) continue;
    ctx.globalAlpha = breachMoments.length > 20 ? 0.5 : 1; // many of them must not hide the lanes
    verticalLine(ctx, x, height, theme.bad, 1.5);
    last = x;
  }
  ctx.globalAlpha = 1;
}

function verticalLine(ctx, x, height, colour, width) {
  ctx.fillStyle = colour;
  ctx.fillRect(x - width / 2, 0, width, height);
}
