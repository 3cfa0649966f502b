// The comparisons of a filter, each as a mask over the moments, and masks combined. No page in here.

const DAY_MS = 86400000;
const WRITTEN_DATE = /([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]?/;
const WRITTEN_CLOCK = /((?:[01]?[0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,3})?)?)/;
const WRITTEN_ZONE = /(Z|[+-][0-9]{2}:?[0-9]{2})/;
const WRITTEN_TIME = new RegExp(
  `^(?:${WRITTEN_DATE.source})?(?:${WRITTEN_CLOCK.source})?(?:${WRITTEN_ZONE.source})?$`,
);
const SPAN_UNITS = { ms: 1, s: 1000, m: 60000, h: 3600000, d: DAY_MS };

const COMPARED = {
  "<": (one, other) => one < other,
  "<=": (one, other) => one <= other,
  ">": (one, other) => one > other,
  ">=": (one, other) => one >= other,
  "==": (one, other) => one === other,
  "!=": (one, other) => one !== other,
};
const MIRRORED = { "<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!=" };

const emptyMask = () => new Uint8Array(N + 1);
const complement = (mask) => mask.map((one, m) => (m ? 1 - one : 0));
const combined = (masks, isAnd) =>
  masks[0].map((_, m) => (isAnd ? masks.every((mask) => mask[m]) : masks.some((mask) => mask[m])) ? 1 : 0);

function momentsWhere(isWanted) {
  const mask = emptyMask();
  for (let m = 1; m <= N; m++) if (isWanted(m)) mask[m] = 1;
  return mask;
}

/** The moments with an event that `isWanted`, or a command. */
function momentsOf(isWanted, isCommandWanted = () => false) {
  const mask = momentsWhere(isCommandWanted);
  for (let e = 0; e < E; e++) if (isWanted(e)) mask[eventMoment[e]] = 1;
  return mask;
}

/** How many of `spans` go on after each moment. */
function goingOn(spans, isWanted) {
  const count = new Int32Array(N + 2);
  for (let row = 1; row < spans.start.length; row++) {
    if (!isWanted(row)) continue;
    count[spans.start[row]]++;
    count[Math.min(spans.end[row], N + 1)]--;
  }
  for (let m = 1; m <= N; m++) count[m] += count[m - 1];
  return count;
}

/** The moments at which `name` compares so with `value`. */
function masked(name, sign, value) {
  const isEqual = sign === "==" || sign === "!=";
  const field = FILTER_FIELDS[name.name];
  if (field.same) {
    if (!isEqual) throw new FilterMistake(`column ${value.column}: ${name.name} is compared by == != in`);
    const mask = field.same(value);
    return sign === "==" ? mask : complement(mask);
  }
  const wanted = field.read(value);
  if (name.name === "time" && isEqual) throw new FilterMistake(`column ${value.column}: time is compared by < <= > >=`);
  if (sign === "!=") return complement(field.mask((one) => one === wanted));
  return field.mask((one) => COMPARED[sign](one, wanted));
}

const ofMoment = (numbers) => ({
  read: (value) => {
    if (!/^[0-9]{1,15}$/.test(value.value)) throw new FilterMistake(`column ${value.column}: expected a whole number`);
    return Number(value.value);
  },
  mask: (isWanted) => {
    const column = numbers();
    return momentsWhere((m) => isWanted(column[m]));
  },
});

/** A field of the policy: a number, or a duration where it is one. */
const ofPolicy = (name) => ({
  read: ({ value, column }) => {
    if (/^[0-9]{1,15}$/.test(value)) return Number(value);
    const ms = name.includes("_ms") ? spanMs(value) : null;
    if (ms === null)
      throw new FilterMistake(
        `column ${column}: expected a number, as in policy.${name} > ${name.includes("_ms") ? "15s" : 3}`,
      );
    return ms;
  },
  mask: (isWanted) => inForce(name, isWanted),
});

/** The moments after which the policy's field `name` is one that `isWanted`. */
function inForce(name, isWanted) {
  const values = steps(policy, DATA.base_policy[name], (changes) => changes[name] && changes[name][1]);
  return momentsWhere((m) => isWanted(values[m]));
}

/** What holds after each moment: `first`, until a value of `few`, as read by `read`, replaces it. */
function steps(few, first, read) {
  const found = new Array(N + 1);
  for (let m = 0, n = 0, now = first; m <= N; m++) {
    for (; n < few.moment.length && few.moment[n] <= m; n++) now = read(few.value[n]) ?? now;
    found[m] = now;
  }
  return found;
}

function matchingMask({ value, column }) {
  if (!DATA.matchings.includes(value) && !value.includes(":"))
    throw new FilterMistake(`column ${column}: there is no such matching; there are ${DATA.matchings.join(", ")}`);
  return inForce("matching", (name) => name === value);
}

/** How many events of `kind` there were up to each moment, with those before the log. */
function countedUp(kind, before) {
  const count = new Float64Array(N + 1);
  for (let e = 0; e < E; e++) if (event.kind[e] === kind) count[eventMoment[e]]++;
  count[0] = before;
  for (let m = 1; m <= N; m++) count[m] += count[m - 1];
  return count;
}

const FILTER_FIELDS = {
  position: ofMoment(() => Float64Array.from({ length: N + 1 }, (_, m) => positionOf(m))),
  waiting: ofMoment(() => goingOn(wait, () => true)),
  rooms_open: ofMoment(() => goingOn(room, isRealRoom)),
  rooms_closed: ofMoment(() => countedUp(KIND.room_closed, DATA.base_counts.rooms_closed)),
  messages: ofMoment(() => countedUp(KIND.message_sent, DATA.base_counts.messages)),
  connections: ofMoment(() => steps(connectionsKnown, DATA.base_counts.connections, (count) => count)),
  time: { read: filterTime, mask: (isWanted) => momentsWhere((m) => isWanted(time[m])) },
  wait: {
    read: (value) => {
      const ms = spanMs(value.value);
      if (ms === null) throw new FilterMistake(`column ${value.column}: expected a duration, as in 30s or 1.5m`);
      return ms;
    },
    mask: (isWanted) => {
      const mask = emptyMask();
      for (let row = 1; row < wait.who.length; row++) {
        const m = wait.end[row];
        if (m <= N && wait.start[row] < m && isWanted(waited(row))) mask[m] = 1;
      }
      return mask;
    },
  },
  text: { same: ({ value }) => textsMask((text) => text === value.toLowerCase()) },
  person: { same: personMask },
  room: { same: roomMask },
  type: { same: typeMask },
  reason: { same: reasonMask },
  policy: { same: matchingMask },
  ...Object.fromEntries(
    Object.keys(DATA.base_policy)
      .filter((name) => name !== "matching")
      .map((name) => [`policy.${name}`, ofPolicy(name)]),
  ),
  "policy.matching": { same: matchingMask },
};

function textsMask(isWanted) {
  const mask = emptyMask();
  const look = (text, m) => {
    if (typeof text === "string" && isWanted(text.toLowerCase())) mask[m] = 1;
  };
  DATA.said.forEach((text, said) => look(text, message.moment[said]));
  note.value.forEach((text, n) => look(text, note.moment[n]));
  return mask;
}

/** The numbers, from 1, of the ids that are or begin with what was typed. */
function idsMeant(ids, typed, prefix) {
  const asked = typed.split("\u00b7").pop();
  const exact = maskOf(ids, (id) => id === asked || id === prefix + asked);
  if (exact.includes(1)) return exact;
  return maskOf(ids, (id) => id.startsWith(asked) || id.startsWith(prefix + asked));
}

function personMask({ value, column }) {
  let people = idsMeant(DATA.people, value, "c_");
  if (!people.includes(1)) {
    people = new Uint8Array(P + 1);
    const names = maskOf(lowerNames, (name) => name === value.toLowerCase());
    for (let row = 1; row < wait.who.length; row++) if (names[wait.name[row]]) people[wait.who[row]] = 1;
  }
  if (!people.includes(1)) throw new FilterMistake(`column ${column}: there is no such connection`);
  return momentsOf(
    (e) => people[event.a[e]] || people[event.b[e]],
    (m) => people[commit.who[m]],
  );
}

function roomMask({ value, column }) {
  const ids = idsMeant(DATA.rooms, value, "r_");
  if (!ids.includes(1)) throw new FilterMistake(`column ${column}: there is no such room`);
  return momentsOf(
    (e) => ids[room.id[event.room[e]]],
    (m) => ids[room.id[commit.room[m]]],
  );
}

function typeMask({ value, column }) {
  const plain = (name) => name.replaceAll("_", "").toLowerCase();
  const kinds = DATA.kinds.map((name) => plain(name) === plain(value));
  const commands = DATA.commands.map((name) => plain(name) === plain(value));
  if (![...kinds, ...commands].includes(true))
    throw new FilterMistake(`column ${column}: there is no such type; there are ${DATA.kinds.join(", ")}`);
  return momentsOf(
    (e) => kinds[event.kind[e]],
    (m) => commands[commit.command[m]],
  );
}

function reasonMask({ value, column }) {
  const wanted = value === "missed" ? ["missed", "missed_by_both"] : [value];
  const reasons = DATA.reasons.map((name) => name !== "" && wanted.includes(name));
  if (!reasons.includes(true))
    throw new FilterMistake(`column ${column}: there is no such reason; there are ${DATA.reasons.slice(1).join(", ")}`);
  return momentsOf((e) => reasons[event.reason[e]]);
}

/** A duration in ms, as in 30s or 1h30m; `null` if it is none. */
function spanMs(text) {
  if (!/^([0-9]{1,12}(\.[0-9]{1,3})?(ms|s|m|h|d))+$/.test(text)) return null;
  const parts = text.matchAll(/([0-9.]+)(ms|s|m|h|d)/g);
  return [...parts].reduce((sum, [, number, unit]) => sum + Math.round(Number(number) * SPAN_UNITS[unit]), 0);
}

/** A time of a filter in ms since the beginning: of day, with a date, or since the first commit (`+`). UTC without a zone. */
function filterTime({ value, column }) {
  return timeInLog(value, `column ${column}: `);
}

/** The same of `value` alone; a mistake begins with `where`. */
function timeInLog(value, where) {
  const first = N ? time[1] : 0;
  const ms = writtenTime(value, DATA.start_ms + first);
  if (ms === null)
    throw new FilterMistake(`${where}expected a time, as in 14:03:22, 2026-11-22T14:03:22Z or +90s`);
  if (!N || ms < DATA.start_ms + first || ms > DATA.start_ms + time[N])
    throw new FilterMistake(
      `${where}${shown(value)} is outside the log, which goes from ${utc(DATA.start_ms + first)} to ${utc(DATA.start_ms + time[N])}`,
    );
  if (/^[0-9]{1,2}:/.test(value) && ms + DAY_MS <= DATA.start_ms + time[N])
    throw new FilterMistake(`${where}that time comes more than once; write a date, as in ${iso(ms)}`);
  return ms - DATA.start_ms;
}

/** Unix time in ms of what was written for a log that begins at `start`; `null` if it is no time. */
function writtenTime(text, start) {
  if (text.startsWith("+")) {
    const clock = /^([0-9]{1,6}):([0-5][0-9]):([0-5][0-9](?:\.[0-9]{1,3})?)$/.exec(text.slice(1));
    if (clock) return start + Math.round(((Number(clock[1]) * 60 + Number(clock[2])) * 60 + Number(clock[3])) * 1000);
    const since = spanMs(text.slice(1));
    return since === null ? null : start + since;
  }
  const parts = WRITTEN_TIME.exec(text);
  if (!parts || !(parts[1] || parts[2])) return null;
  const [, date, clock, zone] = parts;
  const padded = (clock ?? "00:00").padStart(clock && clock.indexOf(":") === 1 ? clock.length + 1 : 0, "0");
  const written = (zone ?? "Z").replace(/^(.[0-9]{2})([0-9]{2})$/, "$1:$2");
  const ms = Date.parse(`${date ?? "1970-01-02"}T${padded}${written}`);
  if (Number.isNaN(ms) || (date && iso(Date.parse(`${date}T00:00Z`))?.slice(0, 10) !== date)) return null; // no February 30
  return date ? ms : start + ((((ms - start) % DAY_MS) + DAY_MS) % DAY_MS);
}
