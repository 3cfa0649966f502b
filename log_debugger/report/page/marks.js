// What happened to the broker itself, on the axis, the overview and the plots: changes of its policy, starts and ends.

const MARK_REACH = 6; // px around a mark, for the pointer

const BROKER_TEXTS = {
  started: "A broker started",
  running: "A broker was seen for the last time",
  stopped: "A broker stopped in good order",
  log_unavailable: "The log took no commits any more",
  log_available: "The log took commits again",
};

/**
 * Each mark with the last moment before it, its place on either axis, its colour and its lines.
 *
 * A note of the broker stands between two commits, where its clock and theirs agree: at its time.
 */
const marks = [...policyMarks(), ...brokerMarks()].sort((a, b) => a.position - b.position);

function policyMarks() {
  return Array.from(policy.moment, (moment, n) => ({
    moment,
    time: AXES.time[moment],
    position: moment,
    colour: "good",
    lines: ["The policy changed", ...changeLines(policy.value[n])],
  }));
}

/** How the policy changed: `matching from first-come to interests`. */
function changeLines(changes) {
  return Object.entries(changes).map(([name, [old, now]]) => `${name} from ${shown(String(old))} to ${shown(String(now))}`);
}

function brokerMarks() {
  return DATA.broker.map(([moment, at, kind, isUnclean]) => ({
    moment,
    time: Math.min(Math.max(at, AXES.time[moment]), AXES.time[moment + 1]),
    position: moment + 0.5,
    colour: isUnclean || kind === "log_unavailable" ? "gone" : "muted",
    lines: [BROKER_TEXTS[kind], ...(isUnclean ? [`no orderly end was noted ${kind === "started" ? "before" : "of it"}`] : [])],
  }));
}

/** Draw each mark in sight as a diamond and a line: `x` gives the place of a mark, or `null`. */
function drawMarks(ctx, x, top, height) {
  let last = -Infinity;
  for (const mark of marks) {
    const at = x(mark);
    if (at === null || at - last < 2) continue;
    ctx.fillStyle = theme[mark.colour];
    ctx.fillRect(at - 0.75, top, 1.5, height);
    ctx.beginPath();
    ctx.moveTo(at, top);
    ctx.lineTo(at + 4, top + 4);
    ctx.lineTo(at, top + 8);
    ctx.lineTo(at - 4, top + 4);
    ctx.fill();
    last = at;
  }
}

function drawAxisMarks(ctx, place) {
  const within = (x) => (x >= GUTTER && x <= place.width ? x : null);
  drawMarks(ctx, (mark) => within(place.at(mark[state.axis])), 0, RULER_HEIGHT);
}

/** The same on a plot of the time from `from` to `to`. */
function drawPlotMarks(frame, from, to) {
  const scale = (frame.right - frame.left) / (to - from);
  const within = (at) => (at >= from && at <= to ? frame.left + (at - from) * scale : null);
  drawMarks(frame.ctx, (mark) => within(mark.time), frame.top, frame.bottom - frame.top);
}

/** What the marks under the pointer on the axis say, if there are any. */
function markLines(x) {
  const place = placing(lanesBox.clientWidth);
  const near = marks.filter((mark) => Math.abs(place.at(mark[state.axis]) - x) <= MARK_REACH);
  if (!near.length) return null;
  const { time: at, moment, lines, position } = near[near.length - 1];
  const where = position === moment ? `position ${positionOf(moment)}` : `after position ${positionOf(moment)}`;
  return [...lines.map((line) => el("p", {}, line)), el("p", { class: "muted" }, `${relative(at)}, ${where}`)];
}

function wireMarks() {
  const ruler = byId("ruler");
  ruler.addEventListener("pointermove", (event) => showTip(event, event.buttons ? null : markLines(xIn(ruler, event))));
  ruler.addEventListener("pointerleave", () => showTip(null, null));
  for (const key of document.querySelectorAll("#legend [data-mark]")) {
    key.hidden = !marks.some((mark) => mark.colour === key.dataset.mark);
  }
  const notes = DATA.broker.length ? `, ${counted(DATA.broker.length, "note")} of the broker` : "";
  ruler.setAttribute(
    "aria-label",
    `Time axis; drag to move the moment. ${counted(policy.moment.length, "change")} of the policy${notes}`,
  );
}
