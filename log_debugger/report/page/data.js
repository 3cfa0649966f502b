// The log as columns, and the questions that are asked of it. A moment is counted from the base: 0 is the base,
// N is after the last commit. Rows of tables are counted from 1, so that 0 is nobody and nothing.

const DATA = JSON.parse(byId("data").textContent);

/** The numbers that Python packed: base64 of the least width; with `+`, each is added to the one before. */
function unpack(text) {
  const summed = text[0] === "+";
  const raw = atob(text.slice(summed ? 2 : 1));
  const bytes = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) bytes[n] = raw.charCodeAt(n);
  const kind = { B: Uint8Array, H: Uint16Array, i: Int32Array, d: Float64Array }[text[summed ? 1 : 0]];
  const column = new kind(bytes.buffer);
  if (!summed) return column;
  const sums = new Float64Array(column.length);
  for (let n = 0, sum = 0; n < column.length; n++) sums[n] = sum += column[n];
  return sums;
}

const unpackAll = (table) =>
  Object.fromEntries(
    Object.entries(table).map(([name, text]) => [name, typeof text === "string" ? unpack(text) : text]),
  );

/** The first index from which on `column`, which ascends, is at least (`lowerBound`) or above (`upperBound`) `value`. */
function lowerBound(column, value, low = 0, high = column.length) {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (column[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
function upperBound(column, value, low = 0, high = column.length) {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (column[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A column of rows counted from 1: index 0 is put before. */
function fromOne(column) {
  const shifted = new column.constructor(column.length + 1);
  shifted.set(column, 1);
  return shifted;
}
const table = (packed) =>
  Object.fromEntries(Object.entries(unpackAll(packed)).map(([name, column]) => [name, fromOne(column)]));

const commit = table(DATA.commit); // by moment
const N = commit.at_ms.length - 1;
const time = commit.at_ms; // ms since the beginning, by moment; 0 at moment 0
const FIRST_MS = N ? time[1] : 0; // of the first commit
const event = unpackAll(DATA.event); // counted from 0
const E = event.kind.length;
const wait = table(DATA.wait);
const room = table(DATA.room);
const handed = DATA.handed && unpackAll(DATA.handed);
const drawn = unpackAll(DATA.drawn);
const absentSince = unpackAll(DATA.absent_since);
const messageId = unpackAll(DATA.message_id);
const policy = unpackAll(DATA.policy);
const connectionsKnown = unpackAll(DATA.connections);
const note = unpackAll(DATA.note);
const forgotten = unpackAll(DATA.forgotten);
const avoided = unpackAll(DATA.avoided);
const P = DATA.people.length;
const KIND = Object.fromEntries(DATA.kinds.map((name, number) => [name, number]));

const eventsFrom = new Uint32Array(N + 2); // events of moment m: eventsFrom[m] up to eventsFrom[m + 1]
for (let m = 1; m <= N; m++) eventsFrom[m + 1] = eventsFrom[m] + commit.events[m];
const eventMoment = new Uint32Array(E);
for (let m = 1; m <= N; m++) eventMoment.fill(m, eventsFrom[m], eventsFrom[m + 1]);

// Messages, in order; and of each event its message or its wait, as there is one for each such event.
const M = DATA.said.length;
const message = {
  moment: new Uint32Array(M),
  sender: new Uint32Array(M),
  recipient: new Uint32Array(M),
  room: new Uint32Array(M),
};
const ordinal = new Uint32Array(E);
for (let e = 0, said = 0, entered = 1 + DATA.waiting_since.length; e < E; e++) {
  if (event.kind[e] === KIND.queue_entered) ordinal[e] = entered++;
  if (event.kind[e] !== KIND.message_sent) continue;
  message.moment[said] = eventMoment[e];
  message.sender[said] = event.a[e];
  message.recipient[said] = event.b[e];
  message.room[said] = event.room[e];
  ordinal[e] = said++;
}

/** Rows by key: those of `key` are `rows` from `from[key]` up to `from[key + 1]`, ascending. */
function grouped(keys, columns) {
  const from = new Uint32Array(keys + 2);
  for (const column of columns) for (const key of column) if (key) from[key + 1]++;
  for (let key = 1; key < from.length; key++) from[key] += from[key - 1];
  const next = from.slice();
  const rows = new Uint32Array(from[keys + 1]);
  for (let row = 0; row < columns[0].length; row++) {
    for (const column of columns) if (column[row]) rows[next[column[row]]++] = row;
  }
  return { from, rows };
}
const waitsOf = grouped(P, [wait.who]);
const roomsOf = grouped(P, [room.first, room.second]);
const messagesOf = grouped(P, [message.sender, message.recipient]);
const messagesIn = grouped(room.id.length - 1, [message.room]);
const group = (index, key) => index.rows.subarray(index.from[key], index.from[key + 1]);

/** Spans of moments, sorted by their start; `at` finds those that go on. */
class Spans {
  constructor(start, end) {
    this.start = start;
    this.end = end;
    // A keyframe holds the spans before its row that went on when that row began. They are as far apart as they are
    // long, so all of them are of the size of the log, and a question costs no more than what goes on.
    this.keyRows = [1];
    this.keyframes = [[]];
    let going = [];
    for (let row = 1, last = 1; row < start.length; row++) {
      if (row - last >= Math.max(256, going.length)) {
        going = going.filter((one) => end[one] > start[row]);
        this.keyRows.push(row);
        this.keyframes.push(Uint32Array.from(going));
        last = row;
      }
      going.push(row);
    }
  }

  /** The rows of the spans that go on after moment `m`, in the order of their start. */
  at(m) {
    const rows = upperBound(this.start, m, 1);
    const key = Math.max(0, lowerBound(this.keyRows, rows) - 1);
    const found = [];
    for (const row of this.keyframes[key]) if (this.end[row] > m) found.push(row);
    for (let row = this.keyRows[key]; row < rows; row++) if (this.end[row] > m) found.push(row);
    return found;
  }
}
const waits = new Spans(wait.start, wait.end);
const rooms = new Spans(room.start, room.end);

const positionOf = (m) => DATA.base + m;
const isRealRoom = (row) => room.first[row] !== 0;
const roomId = (row) => DATA.rooms[room.id[row] - 1];
const personId = (person) => DATA.people[person - 1];
const messagesUntil = (m) => upperBound(message.moment, m);

/** How many of `row`'s messages were said up to moment `m`. */
function messagesInRoom(row, m) {
  const rows = group(messagesIn, row);
  return lowerBound(rows, messagesUntil(m));
}

// Since when each waits, in ms since the beginning, and by which moment its place in the queue is. A wait of the base
// began before it. After a missed match, a wait has the place and the time of the one before.
const waitSince = Float64Array.from(wait.start, (m) => time[m]);
const waitPlace = Float64Array.from(wait.start);
DATA.waiting_since.forEach((since, index) => {
  waitSince[index + 1] = since;
  waitPlace[index + 1] = DATA.waiting_at[index];
});
for (const [m, place, since] of DATA.requeued) {
  const row = lowerBound(wait.start, m, 1); // that commit begins no other wait
  waitSince[row] = since;
  waitPlace[row] = place;
}
const isRequeued = (row) => waitPlace[row] < wait.start[row] && row > DATA.waiting_since.length;
const waitBegan = (row) => waitSince[row];
const waited = (row) => time[Math.min(wait.end[row], N)] - waitBegan(row);
const openedBeforeBase = (row) => row <= DATA.opened_positions.length;

// The name that each had last, for labels; and the one they had at a moment.
const lastName = new Uint32Array(P + 1);
for (let row = 1; row < room.id.length; row++) {
  if (room.first_name[row]) lastName[room.first[row]] = room.first_name[row];
  if (room.second_name[row]) lastName[room.second[row]] = room.second_name[row];
}
for (let row = 1; row < wait.who.length; row++) if (wait.name[row]) lastName[wait.who[row]] = wait.name[row];

const hasName = (person) => lastName[person] !== 0;
const nameOf = (person) => (lastName[person] ? DATA.names[lastName[person] - 1] : personId(person));

/** The matching that held at moment `m`. */
function matchingAt(m) {
  let name = DATA.base_policy.matching;
  policy.value.forEach((changes, n) => {
    if (policy.moment[n] <= m && changes.matching) name = changes.matching[1];
  });
  return name;
}

/** What a column of few says of moment `m`, if anything. */
function sparse(few, m) {
  const n = lowerBound(few.moment, m);
  return few.moment[n] === m ? few.value[n] : null;
}

// Broken promises by moment; one behind the end stands at the end.
const breaches = DATA.breaches.map(([m, promise, what]) => ({
  moment: Math.max(0, Math.min(m, N)),
  position: positionOf(m),
  promise,
  what,
}));
const breachMoments = Uint32Array.from(new Set(breaches.map((one) => one.moment))).sort();
