// The comparisons of a filter, each as a mask over the moments, and masks combined. No page in here.

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
  if (field.numbers && isFilterName(value) && FILTER_FIELDS[value.name].numbers) {
    const [one, other] = [field.numbers(), FILTER_FIELDS[value.name].numbers()];
    return momentsWhere((m) => COMPARED[sign](one[m], other[m]));
  }
  const wanted = field.read(value);
  if (name.name === "time" && isEqual) throw new FilterMistake(`column ${value.column}: time is compared by < <= > >=`);
  if (sign === "!=") return complement(field.mask((one) => one === wanted));
  return field.mask((one) => COMPARED[sign](one, wanted));
}

/** A count, with its `numbers` after each moment. */
const ofMoment = (numbers) => ({
  numbers,
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
  text: { same: ({ value }) => textsMask((text) => text === folded(value)) },
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
    if (typeof text === "string" && isWanted(folded(text))) mask[m] = 1;
  };
  DATA.said.forEach((text, said) => look(text, message.moment[said]));
  note.value.forEach((text, n) => look(text, note.moment[n]));
  return mask;
}

/** The numbers, from 1, of the ids that are what was typed; if there is none, of those that begin with it. */
function idsMeant(ids, typed, prefix) {
  const asked = typed.split("\u00b7").pop();
  const exact = maskOf(ids, (id) => id === asked || id === prefix + asked);
  if (exact.includes(1) || asked === "" || asked === prefix) return exact;
  const begun = maskOf(ids, (id) => id.startsWith(asked));
  return begun.includes(1) ? begun : maskOf(ids, (id) => id.startsWith(prefix + asked));
}

/** `mask`, if it has one thing; else the mistake, in which there is no `kind` like that, or more than one. */
function oneOf(mask, kind, column) {
  const count = mask.reduce((sum, one) => sum + one, 0);
  if (!count) throw new FilterMistake(`column ${column}: there is no such ${kind}`);
  if (count > 1)
    throw new FilterMistake(`column ${column}: ${count} ${kind}s are like that; write more of the id of one`);
  return mask;
}

function personMask({ value, column }) {
  let people = idsMeant(DATA.people, value, "c_");
  if (!people.includes(1)) people = peopleCalled(maskOf(lowerNames, (name) => name === folded(value)));
  oneOf(people, "connection", column);
  const mask = momentsOf(
    (e) => people[event.a[e]] || people[event.b[e]],
    (m) => people[commit.who[m]],
  );
  forgotten.value.forEach((those, n) => {
    if (those.some((person) => people[person])) mask[forgotten.moment[n]] = 1;
  });
  return mask;
}

function roomMask({ value, column }) {
  const ids = oneOf(idsMeant(DATA.rooms, value, "r_"), "room", column);
  return momentsOf(
    (e) => ids[room.id[event.room[e]]],
    (m) => ids[room.id[commit.room[m]]],
  );
}

function typeMask({ value, column }) {
  const typed = value.toLowerCase(); // a stored tag, or the name of a class
  const isMeant = (tag) => tag === typed || tag.replaceAll("_", "") === typed;
  const kinds = DATA.kinds.map(isMeant);
  const commands = DATA.commands.map(isMeant);
  if (![...kinds, ...commands].includes(true))
    throw new FilterMistake(`column ${column}: there is no such type; there are ${DATA.kinds.join(", ")}`);
  return momentsOf(
    (e) => kinds[event.kind[e]],
    (m) => commands[commit.command[m]],
  );
}

function reasonMask({ value, column }) {
  const meant = DATA.reasons.map((name) => (name === "missed_by_both" ? "missed" : name)); // one reason in a filter
  const reasons = meant.map((name) => name !== "" && name === value);
  if (!reasons.includes(true)) {
    const names = [...new Set(meant.slice(1))].join(", ");
    throw new FilterMistake(`column ${column}: there is no such reason; there are ${names}`);
  }
  return momentsOf((e) => reasons[event.reason[e]]);
}
