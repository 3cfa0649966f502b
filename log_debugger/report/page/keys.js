// The keys: what each does, the list of them that `?` opens, and the listener.

const zoomAtMoment = (factor) => zoom(factor, axis()[state.moment]);
const lookAtAll = () => lookAt(wholeView().low, wholeView().high);
const stepMatches = (direction) => state.matches && stepThrough(state.matches.moments, direction);

/** What is listed for each row: the keys (`press` is given the event), and what they do. A key without `press` belongs
 *  to the part of the page that has the focus. */
const KEYS = [
  { keys: ["ArrowLeft"], does: "one commit back, ten with Shift", press: (event) => goTo(state.moment - (event.shiftKey ? 10 : 1)) },
  { keys: ["ArrowRight"], does: "one commit on, ten with Shift", press: (event) => goTo(state.moment + (event.shiftKey ? 10 : 1)) },
  { keys: ["PageUp"], does: "a hundred commits back", press: () => goTo(state.moment - 100) },
  { keys: ["PageDown"], does: "a hundred commits on", press: () => goTo(state.moment + 100) },
  { keys: ["Home"], does: "to the beginning", press: () => goTo(0) },
  { keys: ["End"], does: "to the end", press: () => goTo(N) },
  { keys: [" "], does: "play, or pause", press: () => setPlaying(!state.isPlaying) },
  { keys: ["+", "="], does: "zoom in, at the moment", press: () => zoomAtMoment(0.5) },
  { keys: ["-"], does: "zoom out", press: () => zoomAtMoment(2) },
  { keys: ["0"], does: "show the whole log", press: lookAtAll },
  { keys: ["/"], does: "search", press: () => byId("search").focus() },
  { keys: ["n"], does: "to the next commit of the filter", press: () => stepMatches(1) },
  { keys: ["p"], does: "to the filter's commit before", press: () => stepMatches(-1) },
  { keys: ["b"], does: "to the next broken promise", press: () => stepThrough(breachMoments, 1) },
  { keys: ["B"], does: "to the broken promise before", press: () => stepThrough(breachMoments, -1) },
  { keys: ["Escape"], does: "select nothing; close a list", press: () => change({ selected: null }) },
  { keys: ["?"], does: "this list", press: () => byId("keys").showModal() },
  { keys: ["ArrowUp", "ArrowDown"], does: "on the lanes: select the connection above or below" },
  { keys: ["Enter"], does: "on the lanes: select the room of that connection" },
];
const PRESSED = Object.fromEntries(
  KEYS.filter((row) => row.press).flatMap((row) => row.keys.map((key) => [key, row.press])),
);
const KEY_NAMES = {
  ArrowLeft: "Left",
  ArrowRight: "Right",
  ArrowUp: "Up",
  ArrowDown: "Down",
  PageUp: "Page Up",
  PageDown: "Page Down",
  " ": "Space",
  Escape: "Esc",
};

function pressed(event) {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || byId("keys").open) return;
  const isTyping = target.matches("input:not([type=range]), select, textarea");
  const isOnButton = target.matches("button") && (event.key === " " || event.key === "Enter");
  if (isTyping || isOnButton || !Object.hasOwn(PRESSED, event.key)) return;
  if (target === slider && event.key.startsWith("Page")) return; // the slider's own, bigger steps
  event.preventDefault();
  PRESSED[event.key](event);
}

function wireKeys() {
  const caps = (keys) => keys.flatMap((key, n) => [n ? " or " : "", el("kbd", { "data-key": key }, KEY_NAMES[key] || key)]);
  byId("key-list").append(...KEYS.map((row) => fact(caps(row.keys), row.does)));
  byId("show-keys").addEventListener("click", PRESSED["?"]);
  byId("close-keys").addEventListener("click", () => byId("keys").close());
  document.addEventListener("keydown", pressed);
}
