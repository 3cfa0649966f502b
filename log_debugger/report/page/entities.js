// How connections, rooms and messages look wherever they stand: buttons that select them, and what is said of them.

const nameWords = (person) => words(short(nameOf(person), 40));

/** A connection as a button that selects it; its name, and the beginning of its id. */
function personButton(person, withId = true) {
  const named = hasName(person);
  const id = el("span", { class: named ? "mono muted" : "mono" }, shortId(personId(person)));
  const parts = named ? [nameWords(person), ...(withId ? [" ", id] : [])] : [id];
  return button(parts, () => selectPerson(person), { class: "link", title: shown(personId(person)) });
}

/** A room as a button that selects it, with its colour. */
function roomButton(row, label = shortId(roomId(row))) {
  if (!isRealRoom(row))
    return el("span", { class: "mono", title: shown(roomId(row)) }, `${shortId(roomId(row))} (never opened)`);
  return button([swatch(row), label], () => selectRoom(row), { class: "link mono", title: shown(roomId(row)) });
}

function swatch(row) {
  const made = el("i", { class: "swatch" });
  made.style.background = roomColours(row).fill;
  made.style.borderColor = roomColours(row).edge;
  return made;
}

/** A position as a button that goes there. */
const momentButton = (m, label = `#${positionOf(m)}`) =>
  button(label, () => goTo(m), { class: "link mono", title: utc(DATA.start_ms + time[m]) });

const partnerOf = (row, person) => (room.first[row] === person ? room.second[row] : room.first[row]);

/** What was said, or what is left of it. */
const said = (number, limit = 400) => saidText(DATA.said[number], limit);

function saidText(text, limit) {
  if (typeof text === "string")
    return words(text.length > limit ? `${text.slice(0, limit)}\u2026` : text, { class: "words said" });
  const why = DATA.texts ? "redacted" : "left out";
  return el("span", { class: "redacted" }, `[${why}, ${counted(text, "byte")}]`);
}

function interestsOf(row) {
  return wait.interests[row] ? DATA.interests[wait.interests[row] - 1] : [];
}

function waitSummary(row) {
  const long = duration(waited(row));
  if (wait.end[row] > N) return `waits since ${long}, to the end of the log`;
  if (wait.room[row])
    return wait.start[row] === wait.end[row] ? "met someone at once" : `waited ${long}, then met someone`;
  return `waited ${long}, then ${reasonText(DATA.reasons[wait.reason[row]])}`;
}

/** How much was said in a room, and for how long it was open. */
function roomLength(row) {
  const messages = counted(messagesInRoom(row, N), "message");
  if (room.end[row] > N) return `${messages}, open at the end of the log`;
  return `${messages} in ${openedBeforeBase(row) ? "more than " : ""}${duration(time[room.end[row]] - time[room.start[row]])}`;
}

/** The same, and how it ended, as nodes. */
function roomSummary(row) {
  if (room.end[row] > N) return [roomLength(row)];
  return [
    `${roomLength(row)}; `,
    words(short(nameOf(room.closer[row]), 24)),
    ` ${reasonText(DATA.reasons[room.reason[row]])}`,
  ];
}

function reasonText(reason) {
  return (
    {
      left: "left",
      next: "went on to the next",
      timeout: "timed out",
      disconnected: "disconnected",
      missed: "gave no sign of life",
      missed_by_both: "gave no sign of life, nor did the other",
    }[reason] || reason
  );
}

/** A label and what belongs to it, as one row of a `dl`. */
const fact = (name, ...values) => el("div", {}, el("dt", {}, name), el("dd", {}, ...values));

/** Where a connection is at moment `m`: {wait}, {room}, or neither. */
function placeOf(person, m) {
  const chat = covering(group(roomsOf, person), rooms, m);
  return { room: chat, wait: chat ? 0 : covering(group(waitsOf, person), waits, m) };
}
