// Puts the page together: the heading, the tabs, light and dark, narrow and wide.

function drawHeading() {
  byId("log-name").textContent = shown(DATA.log);
  document.title = `${shown(DATA.log)} \u2013 chat-broker report`;
  const opened = room.first.reduce((sum, first) => sum + (first !== 0), 0);
  const facts = [
    [N === 1 ? "commit" : "commits", N],
    [P === 1 ? "connection" : "connections", P],
    [opened === 1 ? "room" : "rooms", opened],
    [M === 1 ? "message" : "messages", M],
    ["lasting", duration(AXES.time[N])],
    ["from", utc(DATA.start_ms).replace(/\.\d+ UTC$/, " UTC")],
  ];
  byId("totals").append(
    ...facts.map(([name, value]) => fact(name, typeof value === "number" ? value.toLocaleString("en") : value)),
  );
  const verdict = byId("verdict");
  verdict.hidden = false;
  verdict.className = breaches.length ? "bad" : "good";
  verdict.textContent = breaches.length
    ? `${counted(breaches.length, "breach", "breaches")} of a promise`
    : "every promise holds";
  verdict.addEventListener("click", () => showTab("breaches"));
  if (DATA.stopped !== null) {
    byId("stopped").hidden = false;
    byId("stopped").textContent =
      `The log can't be read to its end: ${shown(DATA.stopped)}. What stands before that is shown.`;
  }
  if (!DATA.texts) byId("log-name").after(el("span", { class: "chip" }, "without texts"));
}

const TABS = ["commits", "breaches", "waits", "throughput"];

function showTab(name) {
  for (const tab of TABS) {
    byId(`tab-${tab}`).setAttribute("aria-selected", tab === name);
    byId(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
    byId(`panel-${tab}`).hidden = tab !== name;
  }
  change({ tab: name });
}

function wireTabs() {
  for (const tab of TABS) byId(`tab-${tab}`).addEventListener("click", () => showTab(tab));
  byId("tab-commits").parentElement.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.indexOf(state.tab) + step + TABS.length) % TABS.length];
    showTab(next);
    byId(`tab-${next}`).focus();
    event.stopPropagation();
    event.preventDefault();
  });
}

function wireScheme() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readTheme();
    change({ theme: state.theme + 1 });
  });
  for (const query of [narrow, byTouch])
    query.addEventListener("change", () => {
      readLayout();
      change({ theme: state.theme + 1 });
    });
}

function wireZoom() {
  byId("zoom-in").addEventListener("click", () => zoomAtMoment(0.5));
  byId("zoom-out").addEventListener("click", () => zoomAtMoment(2));
  byId("zoom-fit").addEventListener("click", lookAtAll);
  for (const name of ["time", "position"]) byId(`axis-${name}`).addEventListener("click", () => setAxis(name));
  byId("hide-empty").addEventListener("click", () => change({ hidesEmpty: !state.hidesEmpty }));
  shows(["axis", "hidesEmpty"], () => {
    byId("hide-empty").setAttribute("aria-pressed", state.hidesEmpty);
    for (const name of ["time", "position"]) byId(`axis-${name}`).setAttribute("aria-pressed", state.axis === name);
  });
}

function begin() {
  const isEmpty = N === 0 && DATA.base === 0;
  drawHeading();
  if (isEmpty) {
    byId("empty").hidden = false;
    for (const id of ["main", "transport", "verdict"]) byId(id).hidden = true;
    return;
  }
  readTheme();
  readLayout();
  for (const wire of [
    wireTimeline,
    wireTransport,
    wireMoment,
    wireSelection,
    wireSearch,
    wireFilter,
    wireLists,
    wirePlots,
    wireTabs,
    wireZoom,
    wireScheme,
    wireKeys,
    wireMarks,
    wireRefusals,
  ])
    wire();
  state.moment = momentAsked() ?? N;
  state.view = wholeView();
  change(Object.fromEntries(["tab", "axis", "moment", "view", "theme"].map((name) => [name, state[name]])), true);
  wireAddress();
}

begin();
requestAnimationFrame(() =>
  requestAnimationFrame(() => {
    document.documentElement.dataset.readyMs = performance.now().toFixed(0);
  }),
);
