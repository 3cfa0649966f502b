// The panel of what is selected: the life of a connection, or a room and what was said in it.

const SAID_MAX = 60; // messages around the moment; the others are a step away
const LIFE_MAX = 60;

function drawSelection() {
  const { selected } = state;
  const box = byId("selection");
  box.hidden = !selected;
  if (!selected) return;
  const head = el(
    "h2",
    {},
    selected.person ? "Connection " : "Room ",
    el("span", { class: "spring" }),
    button("Only this", () => onlySelected(), { class: "small", title: "Filter by it" }),
    button("\u00d7", () => change({ selected: null }), {
      class: "small",
      "aria-label": "Select nothing",
      title: "Select nothing (Esc)",
    }),
  );
  fill(box, head, ...(selected.person ? personPanel(selected.person) : roomPanel(selected.room)));
  const now = box.querySelector(".now");
  if (now) now.parentElement.scrollTop = Math.max(0, now.offsetTop - now.parentElement.clientHeight / 2);
}

function onlySelected() {
  const { person, room: row } = state.selected;
  byId("filter-person").value = person ? personId(person) : "";
  byId("filter-room").value = row ? roomId(row) : "";
  setFilter({ person: byId("filter-person").value, room: byId("filter-room").value });
}

function personPanel(person) {
  const place = placeOf(person, state.moment);
  const sentBy = group(messagesOf, person).reduce((sum, one) => sum + (message.sender[one] === person), 0);
  const now = place.room
    ? ["chats with ", personButton(partnerOf(place.room, person), false), " in ", roomButton(place.room)]
    : [place.wait ? `waits, for ${duration(time[state.moment] - waitBegan(place.wait))}` : "neither waits nor chats"];
  return [
    el(
      "p",
      { class: "title" },
      hasName(person) ? nameWords(person) : "",
      el("span", { class: "mono id" }, shown(personId(person))),
    ),
    el(
      "dl",
      { class: "facts" },
      fact("now", ...now),
      fact(
        "said",
        `${counted(sentBy, "message")}, was told ${(group(messagesOf, person).length - sentBy).toLocaleString("en")}`,
      ),
    ),
    lifeList(person),
  ];
}

/** Waits, rooms and refusals of a connection in the order of time; those around the moment, if there are many. */
function lifeList(person) {
  // A wait that ended as it began, because someone was there, is said with the room.
  const long = Array.from(group(waitsOf, person)).filter((row) => wait.end[row] > wait.start[row]);
  const lived = long.map((row) => ({ start: wait.start[row], end: wait.end[row], wait: row }));
  for (const row of group(roomsOf, person)) lived.push({ start: room.start[row], end: room.end[row], room: row });
  lived.sort((one, other) => one.start - other.start || (one.wait ? -1 : 1));
  lived.push(...refusedInLife(person)); // each comes after what began at its moment
  lived.sort((one, other) => one.start - other.start);
  return around(lived, LIFE_MAX, "life", (one) =>
    el(
      "li",
      { class: one.start <= state.moment && one.end > state.moment ? "now" : one.start > state.moment ? "later" : "" },
      momentButton(one.start),
      " ",
      ...lifeItem(one, person),
    ),
  );
}

function lifeItem(one, person) {
  if (one.refused !== undefined) return refusalItem(one.refused);
  if (one.wait) return [waitSummary(one.wait)];
  return [roomButton(one.room, ""), "with ", personButton(partnerOf(one.room, person), false), ": ", roomSummary(one.room)];
}

/** A list of the `limit` things of `all` (each with a `start`) around the moment, and how many more there are. */
function around(all, limit, name, item) {
  let from = 0;
  if (all.length > limit) {
    const next = all.findIndex((one) => one.start > state.moment);
    from = Math.max(0, Math.min(all.length - limit, (next < 0 ? all.length : next) - limit / 2));
  }
  const part = all.slice(from, from + limit);
  const more = (count, where) =>
    count > 0 ? el("li", { class: "muted" }, `${count.toLocaleString("en")} more ${where}`) : null;
  return el(
    "ol",
    { class: name },
    more(from, "before"),
    part.map(item),
    more(all.length - from - part.length, "after"),
  );
}

function roomPanel(row) {
  const closed = room.end[row] <= N;
  const opened = openedBeforeBase(row)
    ? `at position ${DATA.opened_positions[row - 1]}, before this log begins`
    : momentButton(room.start[row]);
  return [
    el(
      "p",
      { class: "title" },
      swatch(row),
      personButton(room.first[row], false),
      " and ",
      personButton(room.second[row], false),
    ),
    el("p", { class: "mono id" }, shown(roomId(row))),
    el(
      "dl",
      { class: "facts" },
      fact("opened", opened),
      fact(
        "closed",
        ...(closed
          ? [
              momentButton(room.end[row]),
              " ",
              nameWords(room.closer[row]),
              ` ${reasonText(DATA.reasons[room.reason[row]])}`,
            ]
          : ["open to the end of the log"]),
      ),
      fact("said", roomLength(row)),
    ),
    openedBeforeBase(row) ? null : whyText(row),
    transcript(row),
  ];
}

function transcript(row) {
  const own = group(messagesIn, row);
  const lines = Array.from(own, (number) => ({ start: message.moment[number], number }));
  const current = messagesInRoom(row, state.moment) - 1;
  return around(lines, SAID_MAX, "transcript", ({ start, number }) =>
    el(
      "li",
      {
        class: [
          own[current] === number ? "now" : start > state.moment ? "later" : "",
          message.sender[number] === room.first[row] ? "one" : "other",
        ].join(" "),
      },
      momentButton(start, relative(time[start], false)),
      el("b", {}, nameWords(message.sender[number])),
      said(number),
    ),
  );
}

function wireSelection() {
  shows(["selected", "moment", "theme"], drawSelection);
  shows(["selected"], () => {
    if (!state.selected) return;
    const { person, room: row } = state.selected;
    revealLanes(person ? [person] : [room.first[row], room.second[row]]);
    byId("right").scrollTop = 0;
  });
}
