// Search and filter: from what somebody typed to the rows and the moments that it means. No page in here.

const FOUND_MAX = 200; // of each sort; how many there are is always said

/** `text` in one case, as Python's `casefold`: "\u00df" as "ss", a final sigma as any; but the dotless "\u0131" has no other. */
const folded = (text) =>
  text
    .normalize("NFC")
    .split("\u0131")
    .map((part) => part.toLowerCase().toUpperCase().toLowerCase().replaceAll("\u03c2", "\u03c3"))
    .join("\u0131");
const lowered = (texts) => texts.map((text) => (typeof text === "string" ? folded(text) : ""));
const lowerNames = lowered(DATA.names);
const lowerPeople = lowered(DATA.people);
const lowerRooms = lowered(DATA.rooms);
let lowerTexts = null; // made by the first search

/** Numbers, from 1, of the texts that `isWanted`, as a mask. */
function maskOf(texts, isWanted) {
  const mask = new Uint8Array(texts.length + 1);
  texts.forEach((text, index) => {
    if (isWanted(text)) mask[index + 1] = 1;
  });
  return mask;
}

/** Whether `id` is meant by `part`: two or three digits would be in almost every one. */
const isMeant = (id, part) =>
  id === part || (part.length > 3 ? id.includes(part) : part.length === 3 && id.startsWith(part));

/** Connections by a part of their id, or of any name that they had. */
function peopleMask(part) {
  const ids = maskOf(lowerPeople, (id) => isMeant(id, part));
  const called = peopleCalled(maskOf(lowerNames, (name) => name.includes(part)));
  return ids.map((one, person) => one || called[person]);
}

/** The people who ever had one of `names`. */
function peopleCalled(names) {
  const mask = new Uint8Array(P + 1);
  for (let row = 1; row < wait.who.length; row++) if (names[wait.name[row]]) mask[wait.who[row]] = 1;
  for (let row = 1; row < room.id.length; row++) {
    if (names[room.first_name[row]]) mask[room.first[row]] = 1;
    if (names[room.second_name[row]]) mask[room.second[row]] = 1;
  }
  return mask;
}

function roomsMask(part) {
  const ids = maskOf(lowerRooms, (id) => isMeant(id, part));
  return Uint8Array.from(room.id, (id) => ids[id]);
}

/** What matches `filter`: moments, people and rooms; `null` where nothing is filtered. */
function applied(filter) {
  const person = folded(filter.person.trim());
  const inRoom = folded(filter.room.trim());
  if (filter.kind < 0 && filter.reason <= 0 && !person && !inRoom) return null;
  const wantedPeople = person ? peopleMask(person) : null;
  const wantedRooms = inRoom ? roomsMask(inRoom) : null;
  const isMatch = new Uint8Array(N + 1);
  const people = new Uint8Array(P + 1);
  const roomMask = new Uint8Array(room.id.length);
  for (let e = 0; e < E; e++) {
    const a = event.a[e];
    const b = event.b[e];
    if (filter.kind >= 0 && event.kind[e] !== filter.kind) continue;
    if (filter.reason > 0 && event.reason[e] !== filter.reason) continue;
    if (wantedPeople && !wantedPeople[a] && !wantedPeople[b]) continue;
    if (wantedRooms && !wantedRooms[event.room[e]]) continue;
    isMatch[eventMoment[e]] = people[a] = people[b] = roomMask[event.room[e]] = 1;
  }
  people[0] = roomMask[0] = 0;
  if (wantedPeople)
    wantedPeople.forEach((wanted, one) => {
      if (wanted) people[one] = 1;
    });
  return { isMatch, moments: indexesOf(isMatch), people: indexesOf(people), rooms: roomMask };
}

function indexesOf(mask) {
  const found = new Uint32Array(mask.reduce((sum, one) => sum + one, 0));
  let next = 0;
  for (let index = 0; index < mask.length; index++) if (mask[index]) found[next++] = index;
  return found;
}

/** A sort of things found: how many, and the first of them. */
function collector(sort) {
  const found = { sort, count: 0, items: [] };
  return {
    found,
    add(item) {
      if (found.count++ < FOUND_MAX) found.items.push({ sort, ...item });
    },
  };
}

/** Everything that `typed` may mean, by sort: commits that match it as a filter, positions, connections, rooms, ids,
 *  texts. What can't be read as a filter, though it looks like one, is a sort with a `mistake` and nothing found. */
function search(typed) {
  const part = folded(typed.trim());
  if (!part) return [];
  const found = [findFiltered(typed), findPositions(part), findTime(typed.trim()), findPeople(part), findRooms(part), findIds(part)];
  return [...found, findTexts(part)].filter((sort) => sort.count || sort.mistake);
}

function findFiltered(typed) {
  const sort = collector("commit");
  try {
    for (const moment of filtered(typed) ?? []) sort.add({ moment });
  } catch (mistake) {
    if (!(mistake instanceof FilterMistake)) throw mistake;
    sort.found.mistake = mistake.message;
  }
  return sort.found;
}

function findPositions(part) {
  const sort = collector("position");
  const digits = part.replace(/^#/, "");
  const m = /^[0-9]{1,16}$/.test(digits) ? Number(digits) - DATA.base : -1;
  if (m >= 0 && m <= N) sort.add({ moment: m });
  return sort.found;
}

/** The moment at a time in a form of the commands: the last commit at or before it. */
function findTime(typed) {
  const sort = collector("time");
  const written = /^["'](.*)["']$/.exec(typed)?.[1] ?? typed;
  if (/^[0-9]+$/.test(written) || writtenTime(written, DATA.start_ms + FIRST_MS) === null) return sort.found;
  try {
    sort.add({ moment: Math.max(0, upperBound(AXES.time, timeInLog(written, ""), 0, N + 1) - 1) }); // a date is a midnight
  } catch (mistake) {
    if (!(mistake instanceof FilterMistake)) throw mistake;
    sort.found.mistake = mistake.message;
  }
  return sort.found;
}

function findPeople(part) {
  const sort = collector("connection");
  peopleMask(part).forEach((wanted, person) => {
    if (wanted) sort.add({ person });
  });
  return sort.found;
}

function findRooms(part) {
  const sort = collector("room");
  roomsMask(part).forEach((wanted, row) => {
    if (wanted && isRealRoom(row)) sort.add({ room: row });
  });
  return sort.found;
}

function findIds(part) {
  const sort = collector("id");
  for (const [few, what] of [
    [drawn, "room id drawn, never used"],
    [messageId, "message_id"],
  ]) {
    few.value.forEach((id, n) => {
      if (isMeant(id.toLowerCase(), part)) sort.add({ moment: few.moment[n], id, what });
    });
  }
  if (/^[0-9a-f]{4,32}$/.test(part)) {
    for (let m = 1; m <= N; m++)
      if (part.startsWith(commitId(m).slice(0, part.length))) sort.add({ moment: m, id: commitId(m), what: "commit" });
  }
  return sort.found;
}

function findTexts(part) {
  const sort = collector("text");
  lowerTexts = lowerTexts || lowered(DATA.said);
  lowerTexts.forEach((text, said) => {
    if (text.includes(part)) sort.add({ moment: message.moment[said], said });
  });
  return sort.found;
}

/** The first seven digits of a commit's id. */
const commitId = (m) => commit.id[m].toString(16).padStart(7, "0");
