// The timeline's hands: its canvases, the pointer, the wheel, the keys on the lanes, and what the tip says.

const lanesBox = byId("lanes");
const tip = byId("tip");
const pens = {}; // by the id of the canvas
const everyone = Uint32Array.from({ length: P }, (_, n) => n + 1);
let lanes = { people: everyone, for: [] };

/** Whose lanes are shown, ascending: everyone's, or of whom the filter found; and of them, who does something in sight. */
function shownPeople() {
  const { matches, hidesEmpty, view, axis: name } = state;
  const asked = [matches, hidesEmpty, hidesEmpty && view, hidesEmpty && name];
  if (asked.every((one, n) => one === lanes.for[n])) return lanes.people;
  const all = matches ? matches.people : everyone;
  lanes = { people: hidesEmpty ? all.filter((person) => busyInSight()[person]) : all, for: asked };
  return lanes.people;
}

let busy = { mask: null, view: null };

/** Who waits or chats in sight, as a mask. */
function busyInSight() {
  if (busy.view === state.view) return busy.mask;
  const from = momentAt(state.view.low);
  const to = Math.min(N, momentAt(state.view.high));
  const mask = new Uint8Array(P + 1);
  const walk = (spans, mark) => {
    spans.at(from).forEach(mark);
    for (let row = upperBound(spans.start, from, 1), end = upperBound(spans.start, to, 1); row < end; row++) mark(row);
  };
  walk(waits, (row) => (mask[wait.who[row]] = 1));
  walk(rooms, (row) => (mask[room.first[row]] = mask[room.second[row]] = 1));
  busy = { mask, view: state.view };
  return mask;
}

let anchor = 0; // whose lane was the first in sight

/** Keep the lane in place that was selected or first in sight, when others come and go. */
function keepPlace(before, people) {
  if (before === people || !before.length || !people.length) return;
  const chosen = state.selected && (state.selected.person || room.first[state.selected.room]);
  const kept = chosen && people.includes(chosen) && before.includes(chosen) ? chosen : anchor;
  const offset = before.indexOf(kept) * ROW - lanesBox.scrollTop;
  lanesBox.scrollTop = Math.min(people.length - 1, lowerBound(people, kept)) * ROW - offset;
}

/** A canvas of `width` by `height` px, sharp on every screen. */
function sized(id, width, height) {
  const canvas = byId(id);
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const ctx = (pens[id] = pens[id] || canvas.getContext("2d"));
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  return ctx;
}

function drawTimeline() {
  const width = lanesBox.clientWidth;
  const height = lanesBox.clientHeight;
  if (!width || !height) return;
  const before = lanes.people;
  const people = shownPeople();
  byId("lanes-all").style.height = `${Math.max(people.length * ROW, height)}px`;
  keepPlace(before, people);
  const first = Math.floor(lanesBox.scrollTop / ROW);
  anchor = people[first] || anchor;
  const { low, high } = state.view;
  const whole = wholeView();
  document.documentElement.dataset.inSight = ((high - low) / (whole.high - whole.low)).toFixed(4);
  drawOverview(sized("overview", width, OVERVIEW_HEIGHT), width);
  drawRuler(sized("ruler", width, RULER_HEIGHT), width);
  drawLanes(sized("lanes-canvas", width, height), people, first, first * ROW - lanesBox.scrollTop, width, height);
}

/** Scroll the lanes of `people` into sight, the first of them if they are too far apart. */
function revealLanes(people) {
  const tops = people.map((person) => shownPeople().indexOf(person) * ROW).filter((top) => top >= 0);
  if (!tops.length) return;
  const inSight = lanesBox.clientHeight;
  let [from, to] = [Math.min(...tops), Math.max(...tops) + ROW];
  if (to - from > inSight) [from, to] = [tops[0], tops[0] + ROW];
  if (from < lanesBox.scrollTop || to > lanesBox.scrollTop + inSight) lanesBox.scrollTop = (from + to - inSight) / 2;
}

/** What is at a point of the lanes: a person, and what they do there. */
function under(pointer) {
  const box = lanesBox.getBoundingClientRect();
  const people = shownPeople();
  const n = Math.floor((pointer.clientY - box.top + lanesBox.scrollTop) / ROW);
  if (n < 0 || n >= people.length) return null;
  const person = people[n];
  const x = pointer.clientX - box.left;
  if (x < GUTTER) return { person };
  const place = placing(lanesBox.clientWidth);
  const said = nearestMessage(person, x, place);
  if (said !== null) return { person, said, room: message.room[said] };
  const m = place.momentOf(x);
  const chat = covering(group(roomsOf, person), rooms, m);
  if (chat) return { person, room: chat };
  const waiting = covering(group(waitsOf, person), waits, m);
  return waiting ? { person, wait: waiting } : { person };
}

function nearestMessage(person, x, place) {
  const own = group(messagesOf, person);
  const n = lowerBound(own, lowerBound(message.moment, place.nearest(x)));
  let best = null;
  for (let k = Math.max(0, n - 1); k < Math.min(own.length, n + 2); k++) {
    const off = Math.abs(place.x(message.moment[own[k]]) - x);
    if (off <= 4 && (best === null || off < best.off)) best = { said: own[k], off };
  }
  return best && best.said;
}

/** The newest of `rows` that goes on after moment `m`. */
function covering(rows, spans, m) {
  for (let n = lowerBound(rows, upperBound(spans.start, m, 1)) - 1, tries = 0; n >= 0 && tries < 4; n--, tries++) {
    if (spans.end[rows[n]] > m) return rows[n];
  }
  return 0;
}

/** Say `lines` beside the pointer; nothing, if there are none. */
function showTip(pointer, lines) {
  tip.hidden = !lines;
  if (!lines) return;
  tip.replaceChildren(...lines);
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  const y = pointer.clientY + 16;
  tip.style.left = `${Math.max(6, Math.min(pointer.clientX + 14, innerWidth - width - 6))}px`;
  tip.style.top = `${y + height > innerHeight - 6 ? pointer.clientY - height - 10 : y}px`;
}

function tipLines(on) {
  const who = el("p", {}, nameWords(on.person), " ", el("span", { class: "mono muted" }, shortId(personId(on.person))));
  if (on.said !== undefined) {
    const m = message.moment[on.said];
    const [from, to] = [message.sender[on.said], message.recipient[on.said]].map((one) => nameWords(one));
    return [
      el("p", {}, from, " to ", to),
      el("p", {}, said(on.said)),
      el("p", { class: "muted" }, `${relative(time[m])}, position ${positionOf(m)}`),
    ];
  }
  if (on.room)
    return [
      who,
      el("p", {}, "chats with ", nameWords(partnerOf(on.room, on.person))),
      el("p", { class: "muted" }, roomSummary(on.room)),
    ];
  if (on.wait) return [who, el("p", {}, waitSummary(on.wait))];
  return [who];
}

/** Follow the pointer from where it was pressed until it is let go; `moved(dx, dy, event)`, `ended(wasMoved, event)`. */
function dragging(target, pressed) {
  target.addEventListener("pointerdown", (down) => {
    if (down.button !== 0) return;
    const { moved, ended } = pressed(down) || {};
    if (!moved) return;
    let [x, y, wasMoved] = [down.clientX, down.clientY, false];
    const move = (event) => {
      if (event.pointerId !== down.pointerId) return;
      if (isPinching()) return;
      if (!wasMoved && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < 4) return;
      if (!wasMoved) target.setPointerCapture(down.pointerId);
      wasMoved = true;
      moved(event.clientX - x, event.clientY - y, event);
      [x, y] = [event.clientX, event.clientY];
    };
    const end = (event) => {
      if (event.pointerId !== down.pointerId) return;
      target.removeEventListener("pointermove", move);
      target.removeEventListener("pointerup", end);
      target.removeEventListener("pointercancel", end);
      if (ended) ended(wasMoved || (event.pointerType === "touch" && wasPinched), event);
    };
    target.addEventListener("pointermove", move);
    target.addEventListener("pointerup", end);
    target.addEventListener("pointercancel", end);
  });
}

const perPixel = () => (state.view.high - state.view.low) / (lanesBox.clientWidth - GUTTER);
const xIn = (target, event) => event.clientX - target.getBoundingClientRect().left;

function choose(on) {
  if (!on) return;
  if (on.said !== undefined) goTo(message.moment[on.said]);
  if (on.room) selectRoom(on.room);
  else selectPerson(on.person);
}

function wheeled(event, alwaysZooms) {
  const isZoom = alwaysZooms || event.ctrlKey || event.metaKey;
  const across = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
  if (isZoom)
    zoom(1.0018 ** event.deltaY, placing(lanesBox.clientWidth).valueOf(Math.max(GUTTER, xIn(lanesBox, event))));
  else if (across) pan(across * perPixel());
  else return;
  event.preventDefault();
}

function wireTimeline() {
  dragging(
    lanesBox,
    (down) =>
      xIn(lanesBox, down) < lanesBox.clientWidth && {
        moved: (dx, dy) => {
          pan(-dx * perPixel());
          lanesBox.scrollTop -= dy;
        },
        ended: (wasMoved, event) => wasMoved || choose(under(event)),
      },
  );
  lanesBox.addEventListener("pointermove", (event) => {
    const on = event.buttons ? null : under(event);
    showTip(event, on && tipLines(on));
  });
  lanesBox.addEventListener("pointerleave", () => showTip(null, null));
  lanesBox.addEventListener("scroll", drawTimeline);
  const ruler = byId("ruler");
  const scrub = (event) => goTo(placing(lanesBox.clientWidth).nearest(Math.max(GUTTER, xIn(ruler, event))));
  dragging(ruler, (down) => {
    scrub(down);
    return { moved: (dx, dy, event) => scrub(event) };
  });
  wireOverview(byId("overview"));
  for (const target of [lanesBox, ruler]) pinching(target);
  for (const [target, zooms] of [
    [lanesBox, false],
    [ruler, true],
    [byId("overview"), true],
  ]) {
    target.addEventListener("wheel", (event) => wheeled(event, zooms), { passive: false });
  }
  lanesBox.addEventListener("keydown", laneKeys);
  new ResizeObserver(drawTimeline).observe(lanesBox);
  shows(["moment", "view", "axis", "selected", "matches", "hidesEmpty", "theme"], drawTimeline);
}

/** Pressed beside the part that is shown, it brings that part there; dragged, it takes it along. */
function wireOverview(overview) {
  dragging(overview, (down) => {
    const whole = wholeView();
    const each = (whole.high - whole.low) / (lanesBox.clientWidth - GUTTER);
    const middle = whole.low + (xIn(overview, down) - GUTTER) * each;
    const { low, high } = state.view;
    if (middle < low || middle > high) lookAt(middle - (high - low) / 2, middle + (high - low) / 2);
    return { moved: (dx) => pan(dx * each) };
  });
}

function laneKeys(event) {
  const people = shownPeople();
  const chosen = state.selected && (state.selected.person || room.first[state.selected.room]);
  const n = people.indexOf(chosen);
  if (event.key === "Enter" && chosen) {
    const chat = covering(group(roomsOf, chosen), rooms, state.moment);
    if (chat) selectRoom(chat);
    return;
  }
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  event.preventDefault();
  const next = people[Math.max(0, Math.min(people.length - 1, n + (event.key === "ArrowDown" ? 1 : -1)))];
  if (!next) return;
  selectPerson(next);
  revealLanes([next]);
  const { room: chat, wait: waiting } = placeOf(next, state.moment);
  byId("announced").textContent =
    `Connection ${short(nameOf(next), 40)}, ${chat ? "chats" : waiting ? "waits" : "idle"}`;
}
