// The search box with what it found, and the filter.

const SORTS = { commit: "Commits", position: "Position", time: "Time", connection: "Connections", room: "Rooms", id: "Ids", text: "Texts" };
let foundItems = [];

/** What was found, one row after another, each sort under its heading. */
function flattened(found) {
  return found.filter((sort) => sort.count).flatMap((sort) => {
    const note = sort.count > sort.items.length ? `, the first ${sort.items.length}` : "";
    return [{ heading: `${SORTS[sort.sort]}: ${sort.count.toLocaleString("en")}${note}` }, ...sort.items];
  });
}

function foundRow(index) {
  const item = foundItems[index];
  if (item.heading) return el("div", { class: "row heading" }, item.heading);
  return button(el("span", { class: "grow" }, foundText(item)), () => followFound(item), {
    class: "row",
    "data-sort": item.sort,
  });
}

function foundText(item) {
  switch (item.sort) {
    case "commit":
    case "position":
    case "time":
      return [
        el("span", { class: "mono" }, `#${positionOf(item.moment)}`),
        ` ${utc(DATA.start_ms + time[item.moment])}`,
      ];
    case "connection":
      return [
        hasName(item.person) ? nameWords(item.person) : "",
        " ",
        el("span", { class: "mono muted" }, short(personId(item.person), 40)),
      ];
    case "room":
      return [
        swatch(item.room),
        nameWords(room.first[item.room]),
        " \u00b7 ",
        nameWords(room.second[item.room]),
        " ",
        el("span", { class: "mono muted" }, shortId(roomId(item.room))),
      ];
    case "id":
      return [
        el("span", { class: "mono" }, short(item.id, 24)),
        el("span", { class: "muted" }, ` ${item.what}, #${positionOf(item.moment)}`),
      ];
    default:
      return [
        el("span", { class: "mono muted" }, `#${positionOf(item.moment)}`),
        " ",
        nameWords(message.sender[item.said]),
        ": ",
        words(short(DATA.said[item.said], 80)),
      ];
  }
}

function followFound(item) {
  if (item.person) {
    selectPerson(item.person);
    const own = [...group(waitsOf, item.person)].map((row) => wait.start[row]);
    if (own.length) reveal(own[0]);
  } else if (item.room) {
    selectRoom(item.room);
    reveal(room.start[item.room]);
  } else {
    goTo(item.moment);
    if (item.said !== undefined) selectRoom(message.room[item.said]);
  }
  byId("found").hidden = true;
}

function wireSearch() {
  const box = byId("search");
  const list = new LongList(byId("found-list"), 28, foundRow, "What was found");
  const look = () => {
    const found = search(box.value);
    foundItems = flattened(found);
    const count = found.reduce((sum, sort) => sum + sort.count, 0);
    byId("found").hidden = !box.value.trim();
    const mistake = found.map((sort) => sort.mistake).find(Boolean);
    const isTime = found.some((sort) => sort.mistake && sort.sort === "time");
    const nothing = mistake ? `Nothing found; ${isTime ? "as a time" : "as a filter"}: ${mistake}` : "Nothing found";
    byId("found-count").textContent = count ? `${count.toLocaleString("en")} found` : nothing;
    byId("found-list").style.height = `${Math.min(12, foundItems.length) * list.rowHeight}px`;
    list.show(foundItems.length, true);
  };
  let waiting = 0;
  box.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(look, N > 20000 ? 150 : 0);
  });
  box.addEventListener("focus", () => box.value.trim() && look());
  byId("finder").addEventListener("keydown", (event) => searchKeys(event, box, look));
  document.addEventListener("pointerdown", (event) => {
    if (!byId("finder").contains(event.target)) byId("found").hidden = true;
  });
}

function searchKeys(event, box, look) {
  const rows = [...byId("found-list").querySelectorAll("button")];
  const at = rows.indexOf(document.activeElement);
  if (event.key === "Enter" && event.target === box) {
    look();
    const first = byId("found-list").querySelector("button");
    if (first) first.click();
  } else if (event.key === "ArrowDown" && rows.length) {
    rows[Math.min(rows.length - 1, at + 1)].focus();
  } else if (event.key === "ArrowUp" && at >= 0) {
    (at ? rows[at - 1] : box).focus();
  } else if (event.key === "Escape") {
    byId("found").hidden = true;
    box.focus();
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

function wireFilter() {
  const options = (names, none) => [
    el("option", { value: none[0] }, none[1]),
    ...names.map(([value, name]) => el("option", { value }, name)),
  ];
  byId("filter-kind").append(
    ...options(
      DATA.kinds.map((name, n) => [n, name]),
      [-1, "any event"],
    ),
  );
  byId("filter-reason").append(...options(DATA.reasons.map((name, n) => [n, name]).slice(1), [0, "any reason"]));
  byId("filter-kind").addEventListener("change", (event) => setFilter({ kind: Number(event.target.value) }));
  byId("filter-reason").addEventListener("change", (event) => setFilter({ reason: Number(event.target.value) }));
  byId("filter-person").addEventListener("input", (event) => setFilter({ person: event.target.value }));
  byId("filter-room").addEventListener("input", (event) => setFilter({ room: event.target.value }));
  byId("filter-clear").addEventListener("click", clearFilter);
  shows(["matches"], () => {
    const { matches } = state;
    byId("filter-clear").hidden = !matches;
    byId("filter-count").textContent = matches ? `${counted(matches.moments.length, "commit")}` : "";
    lanesBox.scrollTop = 0;
  });
}

function clearFilter() {
  byId("filter-kind").value = -1;
  byId("filter-reason").value = 0;
  byId("filter-person").value = byId("filter-room").value = "";
  setFilter({ kind: -1, reason: 0, person: "", room: "" });
}

/** Go to the next moment of the filter, or the one before; without a filter, to the next broken promise. */
function stepThrough(moments, direction) {
  const n = direction > 0 ? upperBound(moments, state.moment) : lowerBound(moments, state.moment) - 1;
  if (n >= 0 && n < moments.length) goTo(moments[n]);
}
