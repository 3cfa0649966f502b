// What happened to the broker itself, on the axis, the overview and the plots: changes of its policy.

const MARK_REACH = 6; // px around a mark, for the pointer

/** The moments at which the policy changed, and how: `matching from first-come to interests`. */
const marks = Array.from(policy.moment, (moment, n) => ({ moment, lines: changeLines(policy.value[n]) }));

function changeLines(changes) {
  return Object.entries(changes).map(([name, [old, now]]) => `${name} from ${shown(String(old))} to ${shown(String(now))}`);
}

/** Draw each mark in sight as a diamond and a line: `x` gives the place of a moment, or `null`. */
function drawMarks(ctx, x, top, height) {
  ctx.fillStyle = theme.good;
  let last = -Infinity;
  for (const { moment } of marks) {
    const at = x(moment);
    if (at === null || at - last < 2) continue;
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
  const within = (m) => (place.x(m) >= GUTTER && place.x(m) <= place.width ? place.x(m) : null);
  drawMarks(ctx, within, 0, RULER_HEIGHT);
}

/** The same on a plot of the time from `from` to `to`. */
function drawPlotMarks(frame, from, to) {
  const scale = (frame.right - frame.left) / (to - from);
  const within = (at) => (at >= from && at <= to ? frame.left + (at - from) * scale : null);
  drawMarks(frame.ctx, (m) => within(AXES.time[m]), frame.top, frame.bottom - frame.top);
}

/** What the mark under the pointer on the axis says, if there is one. */
function markLines(x) {
  const place = placing(lanesBox.clientWidth);
  const near = marks.filter(({ moment }) => Math.abs(place.x(moment) - x) <= MARK_REACH);
  if (!near.length) return null;
  const { moment, lines } = near[near.length - 1];
  return [
    el("p", {}, "The policy changed"),
    lines.map((line) => el("p", {}, line)),
    el("p", { class: "muted" }, `${relative(time[moment])}, position ${positionOf(moment)}`),
  ].flat();
}

function wireMarks() {
  const ruler = byId("ruler");
  ruler.addEventListener("pointermove", (event) => showTip(event, event.buttons ? null : markLines(xIn(ruler, event))));
  ruler.addEventListener("pointerleave", () => showTip(null, null));
  ruler.setAttribute(
    "aria-label",
    `Time axis; drag to move the moment. ${counted(marks.length, "change")} of the policy`,
  );
}
