// The panels of a moment: what its commit did, who waits, and which rooms are open.

const METHODS = {
  room_opened: "chatroom.found",
  message_sent: "message.received",
  room_closed: "partner.disconnected",
};
const WAYS = {
  get: "on its GET stream",
  listen: "on its listen stream",
  result: "in a tool's result",
  inbox: "by reading its inbox",
};

const kindOf = (e) => DATA.kinds[event.kind[e]];
const reasonOf = (e) => DATA.reasons[event.reason[e]];

/** What an event says, as nodes. */
function eventText(e) {
  const [a, b] = [event.a[e], event.b[e]].map((person) => (person ? personButton(person, false) : null));
  switch (kindOf(e)) {
    case "queue_entered":
      return [a, isRequeued(ordinal[e]) ? " waits again in the old place" : " began to wait", interestsText(ordinal[e])];
    case "queue_left":
      return [a, ` waits no longer: ${reasonText(reasonOf(e))}`];
    case "room_opened":
      return [a, " and ", b, " met in ", roomButton(event.room[e])];
    case "message_sent":
      return [a, " to ", b, " in ", roomButton(event.room[e]), el("blockquote", {}, said(ordinal[e], 4000))];
    case "room_closed":
      return [a, ` ${reasonText(reasonOf(e))}, so `, roomButton(event.room[e]), " closed on ", b];
    case "partner_blocked":
      return [a, " blocked ", b];
    case "partner_reported":
      return [a, " reported ", b, " in ", roomButton(event.room[e]), `: ${reasonOf(e)}`, noteText(eventMoment[e])];
    case "names_forgotten":
      return [forgottenText(eventMoment[e])];
    default:
      return ["the policy changed", policyText(eventMoment[e])];
  }
}

/** The note of the report in commit `m`, if there is one. */
function noteText(m) {
  const text = sparse(note, m);
  return text === null ? "" : el("blockquote", {}, saidText(text, 4000));
}
const forgottenText = (m) => `names and interests of ${counted(sparse(forgotten, m).length, "connection")} were forgotten`;

function interestsText(row) {
  const interests = interestsOf(row);
  return interests.length ? [", interested in ", ...listed(interests.map((one) => words(one)))] : "";
}

const listed = (nodes) => nodes.flatMap((node, n) => (n ? [", ", node] : [node]));

function policyText(m) {
  const changes = Object.entries(sparse(policy, m) || {});
  return el(
    "ul",
    { class: "mono" },
    changes.map(([name, [before, after]]) => el("li", {}, `${name}: ${before} \u2192 ${after}`)),
  );
}

function drawCommit() {
  const m = state.moment;
  const box = byId("commit");
  if (m === 0) {
    const before = DATA.base
      ? `The log begins here: a snapshot stands in for the ${counted(DATA.base, "commit")} up to position ${DATA.base}, which are gone.`
      : "Nothing has happened yet.";
    fill(
      box,
      el("h2", {}, DATA.base ? `Position ${DATA.base}` : "Before the first commit"),
      el("p", { class: "muted" }, before),
      ...notedAfter(m),
    );
    return;
  }
  const name = DATA.commands[commit.command[m]];
  fill(
    box,
    el("h2", {}, `Commit ${positionOf(m)} `, el("span", { class: "chip" }, name)),
    breachBox(m),
    commitFacts(m),
    el("h3", {}, "Events"),
    eventsList(m),
    ...whyMet(m),
    el("h3", {}, "Told"),
    toldList(m),
    ...notedAfter(m),
  );
}

const breachBox = (m) => {
  const found = breaches.filter((one) => one.moment === m);
  if (!found.length) return null;
  return el(
    "ul",
    { class: "breaches", role: "alert" },
    found.map((one) => el("li", {}, breachText(one))),
  );
};
const breachText = (one) => `promise ${one.promise} is broken at position ${one.position}: ${shown(one.what)}`;

function commitFacts(m) {
  const at = DATA.start_ms + time[m];
  const unused = sparse(drawn, m);
  const since = sparse(absentSince, m);
  const id = sparse(messageId, m);
  return el(
    "dl",
    { class: "facts" },
    commit.who[m] ? fact("by", personButton(commit.who[m])) : null,
    commit.room[m] ? fact("room", roomButton(commit.room[m])) : null,
    fact("at", el("span", { class: "mono", title: `at_ms ${at}` }, utc(at))),
    fact("after", m > 1 ? `${duration(time[m] - time[m - 1])} since the commit before` : "the first commit"),
    since === null ? null : fact("absent", `since position ${since}`),
    id === null ? null : fact("message_id", el("span", { class: "mono" }, words(id))),
    unused === null
      ? null
      : fact(
          "drawn",
          el("span", { class: "mono" }, shortId(unused)),
          el("span", { class: "muted" }, " a room id, not needed"),
        ),
    fact("commit_id", el("span", { class: "mono" }, `${commitId(m)}\u2026`)),
  );
}

function eventsList(m) {
  const items = [];
  for (let e = eventsFrom[m]; e < eventsFrom[m + 1]; e++) {
    items.push(el("li", {}, el("span", { class: `kind ${kindOf(e)}` }, kindOf(e)), " ", eventText(e)));
  }
  return items.length ? el("ol", { class: "events" }, items) : el("p", { class: "muted" }, "none");
}

/** Why the two who met in commit `m` did. */
function whyMet(m) {
  for (let e = eventsFrom[m]; e < eventsFrom[m + 1]; e++) {
    if (kindOf(e) === "room_opened")
      return [el("h3", {}, "Why these two"), whyText(event.room[e]), ...avoidedText(m, event.room[e])];
  }
  const passedOver = avoidedText(m, 0);
  return passedOver.length ? [el("h3", {}, "Why with none of those who waited"), ...passedOver] : [];
}

/** Those whom the search in commit `m` had to avoid, and why; they may be the members of the room that it opened. */
function avoidedText(m, row) {
  const found = sparse(avoided, m) || [];
  const why = (reason, ago) =>
    ({ blocked: "one has blocked the other", met: `met ${duration(ago)} before`, peer: "of a peer that was met lately" })[
      reason
    ];
  const isMember = (person) => row && (room.first[row] === person || room.second[row] === person);
  const line = ([person, reason, ago]) => el("li", {}, personButton(person, false), `: ${why(reason, ago)}`);
  const again = found.filter(([person]) => isMember(person));
  const others = found.filter(([person]) => !isMember(person));
  return [
    ...again.map(([, reason, ago]) => el("p", {}, `In spite of that: ${why(reason, ago)}. There was no other.`)),
    ...(others.length ? [el("p", {}, "They may not meet, though these waited:"), el("ul", { class: "avoided" }, others.map(line))] : []),
  ];
}

function whyText(row) {
  const m = room.start[row];
  const [first, second] = [room.first[row], room.second[row]].map((person) => waitThatEndedIn(row, person));
  if (!first || !second) return el("p", { class: "muted" }, "Their waits are not in this log.");
  const matching = matchingAt(m);
  const shared = interestsOf(first).filter((one) => interestsOf(second).includes(one));
  const came =
    wait.start[second] === m
      ? ["came at this moment"]
      : [`had waited ${duration(waited(second))}`, ...sinceMoment(second)];
  const parts = [
    nameWords(room.first[row]),
    ` had waited ${duration(waited(first))}`,
    ...sinceMoment(first),
    "; ",
    nameWords(room.second[row]),
    " ",
    ...came,
    ". ",
  ];
  if (matching === "first-come") parts.push("First come, first served: whoever waits longest meets whoever comes.");
  else if (shared.length) parts.push("They share ", ...listed(shared.map((one) => words(one))), ".");
  else parts.push("They share no interest; one of them had held out for one long enough.");
  return el("p", {}, parts);
}

const sinceMoment = (row) =>
  waitPlace[row] > 0 ? [" (since ", momentButton(waitPlace[row]), ")"] : [" (since before this log begins)"];

function waitThatEndedIn(row, person) {
  const own = group(waitsOf, person);
  const n = lowerBound(own, upperBound(waits.start, room.start[row], 1)) - 1;
  return n >= 0 && wait.room[own[n]] === row ? own[n] : 0;
}

function toldList(m) {
  const items = [];
  for (let e = eventsFrom[m]; e < eventsFrom[m + 1]; e++) {
    for (const [bit, person] of [
      [1, event.a[e]],
      [2, event.b[e]],
    ]) {
      if (event.told[e] & bit)
        items.push(
          el(
            "li",
            {},
            personButton(person),
            ": ",
            el("span", { class: "method mono" }, METHODS[kindOf(e)]),
            handedText(m, person),
          ),
        );
    }
  }
  return items.length ? el("ul", { class: "told" }, items) : el("p", { class: "muted" }, "Nobody.");
}

const NOTED_LATE_MS = 1200; // as in reading/deliveries.py
const UNSURE = {
  late: "no note yet that it was handed over: one of the brokers has given no sign of life since, and may have ended",
  lost: "no conclusion whether it was handed over: a broker ended without storing its last notes, up to a second of them",
};

/** When and how what commit `m` tells `person` reached them, as far as the log notes it. */
function handedText(m, person) {
  if (!handed) return null;
  const notes = [];
  for (let n = lowerBound(handed.moment, m); handed.moment[n] === m; n++) {
    if (handed.who[n] === person)
      notes.push(`${WAYS[handed.ways[handed.to[n] - 1]]} after ${duration(handed.after_ms[n])}`);
  }
  if (notes.length) return el("div", { class: "muted" }, `handed over ${notes.join(", ")}`);
  if (m <= DATA.handed_after) return el("div", { class: "muted" }, "loaded from a dump: not noted when it was handed over");
  if (time[N] - time[m] < NOTED_LATE_MS) return el("div", { class: "muted" }, "no note yet that it was handed over");
  const [, , why] = handed.unsure.find(([low, high]) => low <= m && m <= high) || [];
  if (why) return el("div", { class: "muted" }, UNSURE[why]);
  return el("div", { class: "missing" }, "no note that it was handed over");
}

const queueNow = { rows: [] };
const roomsNow = { rows: [] };

function queueRow(index) {
  const row = queueNow.rows[index];
  return el(
    "div",
    { class: "row", "data-id": personId(wait.who[row]) },
    el("span", { class: "ordinal muted" }, `${index + 1}`),
    el("span", { class: "grow" }, personButton(wait.who[row]), interestsText(row)),
    el("span", { class: "number" }, duration(time[state.moment] - waitBegan(row))),
  );
}

function roomRow(index) {
  const row = roomsNow.rows[index];
  const since = openedBeforeBase(row) ? "before base" : duration(time[state.moment] - time[room.start[row]]);
  const count = messagesInRoom(row, state.moment);
  return el(
    "div",
    { class: isSelectedRoom(row) ? "row chosen" : "row", "data-id": roomId(row) },
    button(swatch(row), () => selectRoom(row), {
      class: "link",
      title: shown(roomId(row)),
      "aria-label": `Room ${shortId(roomId(row))}`,
    }),
    el(
      "span",
      { class: "grow" },
      personButton(room.first[row], false),
      " \u00b7 ",
      personButton(room.second[row], false),
    ),
    el("span", { class: "number" }, since),
    el("span", { class: "number muted", title: counted(count, "message") }, count),
  );
}

/** `rows` of real rooms that are open, and of those who wait, after moment `m`. */
const openRoomsAt = (m) => rooms.at(m).filter(isRealRoom);
const queueAt = (m) => waits.at(m).sort((one, other) => waitPlace[one] - waitPlace[other] || one - other);

/** A list as high as its rows, up to `most` of them; none where there are none. */
function showRows(box, list, count, most) {
  box.hidden = count === 0;
  box.style.height = `${Math.min(count, most) * 28}px`;
  list.show(count);
}

function wireMoment() {
  const queueList = new LongList(byId("queue-list"), 28, queueRow, "Who waits, longest first: name, waiting time");
  const roomsList = new LongList(byId("rooms-list"), 28, roomRow, "Open rooms: members, since when, messages so far");
  shows(["moment", "selected", "theme"], () => {
    drawCommit();
    queueNow.rows = queueAt(state.moment);
    roomsNow.rows = openRoomsAt(state.moment);
    byId("queue-count").textContent = queueNow.rows.length.toLocaleString("en");
    byId("rooms-count").textContent = roomsNow.rows.length.toLocaleString("en");
    showRows(byId("queue-list"), queueList, queueNow.rows.length, 5);
    showRows(byId("rooms-list"), roomsList, roomsNow.rows.length, 9);
  });
}
