// The lists below the timeline: the commits, all or those of the filter, and the promises that they broke.

const PROMISES = {
  1: "one place at a time",
  2: "two members a room",
  3: "first come, first served",
  4: "messages of members, once",
  5: "ids, positions and the chain",
  6: "folding gives the state",
  7: "who is told",
  8: "no secrets",
  9: "blocks hold",
};

const listedMoments = () => (state.matches ? state.matches.moments : null);
const momentInList = (index) => (listedMoments() ? listedMoments()[index] : index + 1);

function commitRow(index) {
  const m = momentInList(index);
  const classes = ["row", m === state.moment ? "current" : "", isBreached(m) ? "bad" : ""];
  return button(
    [
      el("span", { class: "position mono" }, positionOf(m)),
      el("span", { class: "when mono muted" }, relative(time[m])),
      el("span", { class: `kind ${commandClass(m)}` }, DATA.commands[commit.command[m]]),
      el("span", { class: "who" }, commit.who[m] ? words(short(nameOf(commit.who[m]), 24)) : "the broker"),
      el("span", { class: "grow" }, commitSummary(m)),
    ],
    () => goTo(m),
    { class: classes.join(" "), "data-position": positionOf(m), "aria-current": m === state.moment },
  );
}

const isBreached = (m) => breachMoments[lowerBound(breachMoments, m)] === m;

/** The colour of a command is that of the last event it led to. */
const commandClass = (m) => (eventsFrom[m] < eventsFrom[m + 1] ? kindOf(eventsFrom[m + 1] - 1) : "");

function commitSummary(m) {
  return listedWith(
    "; ",
    Array.from({ length: eventsFrom[m + 1] - eventsFrom[m] }, (_, n) => plainEvent(eventsFrom[m] + n)),
  );
}
const listedWith = (separator, parts) => parts.flatMap((part, n) => (n ? [separator, ...part] : part));

/** An event in a few words, without buttons: it stands in one. */
function plainEvent(e) {
  const name = (person) => words(short(nameOf(person), 20));
  switch (kindOf(e)) {
    case "queue_entered":
      return [isRequeued(ordinal[e]) ? "waits again" : "waits"];
    case "queue_left":
      return [`waits no longer: ${reasonText(reasonOf(e))}`];
    case "room_opened":
      return [name(event.a[e]), " and ", name(event.b[e]), " met"];
    case "message_sent": {
      const text = DATA.said[ordinal[e]];
      return ["to ", name(event.b[e]), ": ", typeof text === "string" ? words(short(text, 120)) : said(ordinal[e])];
    }
    case "room_closed":
      return [`${reasonText(reasonOf(e))}; the room with `, name(event.b[e]), " closed"];
    case "partner_blocked":
      return ["blocks ", name(event.b[e])];
    case "partner_reported":
      return ["reports ", name(event.b[e]), `: ${reasonOf(e)}`];
    case "names_forgotten":
      return [forgottenText(eventMoment[e])];
    default:
      return [Object.keys(sparse(policy, eventMoment[e]) || {}).join(", ")];
  }
}

function breachRow(index) {
  const one = breaches[index];
  return button(
    [
      el("span", { class: "position mono" }, one.position),
      el("span", { class: "promise" }, `promise ${one.promise}: ${PROMISES[one.promise] || ""}`),
      el("span", { class: "grow" }, shown(one.what)),
    ],
    () => goTo(one.moment),
    {
      class: one.moment === state.moment ? "row bad current" : "row bad",
      title: breachText(one),
      "data-position": one.position,
    },
  );
}

function wireLists() {
  const commits = new LongList(
    byId("panel-commits"),
    26,
    commitRow,
    "Commits: position, time, command, connection, events",
  );
  shows(["matches"], () => commits.show(listedMoments() ? listedMoments().length : N, true));
  shows(["moment", "matches", "tab"], () => {
    const moments = listedMoments();
    const index = moments ? lowerBound(moments, state.moment) : state.moment - 1;
    commits.reveal(Math.max(0, Math.min(index, commits.count - 1)));
  });
  commits.show(N);
  wireBreaches();
}

function wireBreaches() {
  byId("tab-breaches").append(
    el("span", { class: breaches.length ? "count bad" : "count" }, breaches.length.toLocaleString("en")),
  );
  if (!breaches.length) {
    byId("panel-breaches").append(
      el("p", { class: "muted" }, "None: every promise that can be seen in a log holds at every position of this one."),
    );
    return;
  }
  const broken = new LongList(
    byId("panel-breaches"),
    26,
    breachRow,
    "Broken promises: position, promise, what is wrong",
  );
  broken.show(breaches.length);
  shows(["moment", "tab"], () => broken.draw());
}
