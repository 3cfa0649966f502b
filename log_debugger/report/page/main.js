// Puts the page together: the heading, the tabs, the keys, light and dark.

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

const KEYS = {
  ArrowLeft: (event) => goTo(state.moment - (event.shiftKey ? 10 : 1)),
  ArrowRight: (event) => goTo(state.moment + (event.shiftKey ? 10 : 1)),
  PageUp: () => goTo(state.moment - 100),
  PageDown: () => goTo(state.moment + 100),
  Home: () => goTo(0),
  End: () => goTo(N),
  " ": () => setPlaying(!state.isPlaying),
  "+": () => zoom(0.5, axis()[state.moment]),
  "=": () => zoom(0.5, axis()[state.moment]),
  "-": () => zoom(2, axis()[state.moment]),
  0: () => lookAt(wholeView().low, wholeView().high),
  "/": () => byId("search").focus(),
  n: () => state.matches && stepThrough(state.matches.moments, 1),
  p: () => state.matches && stepThrough(state.matches.moments, -1),
  b: () => stepThrough(breachMoments, 1),
  B: () => stepThrough(breachMoments, -1),
  Escape: () => change({ selected: null }),
};

function pressed(event) {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const isTyping = target.matches("input:not([type=range]), select, textarea");
  const isOnButton = target.matches("button") && (event.key === " " || event.key === "Enter");
  if (isTyping || isOnButton || !KEYS[event.key]) return;
  if (target === slider && event.key.startsWith("Page")) return; // the slider's own, bigger steps
  event.preventDefault();
  KEYS[event.key](event);
}

function wireScheme() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readTheme();
    change({ theme: state.theme + 1 });
  });
}

function wireZoom() {
  byId("zoom-in").addEventListener("click", () => KEYS["+"]());
  byId("zoom-out").addEventListener("click", () => KEYS["-"]());
  byId("zoom-fit").addEventListener("click", KEYS[0]);
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
  ])
    wire();
  document.addEventListener("keydown", pressed);
  const asked = /^#([0-9]{1,16})$/.exec(location.hash); // report.html#412 opens at that position
  state.moment = asked ? Math.max(0, Math.min(N, Number(asked[1]) - DATA.base)) : N;
  state.view = wholeView();
  change(Object.fromEntries(["tab", "axis", "moment", "view", "theme"].map((name) => [name, state[name]])), true);
}

begin();
requestAnimationFrame(() =>
  requestAnimationFrame(() => {
    document.documentElement.dataset.readyMs = performance.now().toFixed(0);
  }),
);
