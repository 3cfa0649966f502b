// What the plots have in common: their frame, their marks, and the bars.

const PLOT = { left: 54, right: 12, top: 8, bottom: 22 };

/** A canvas that fills its figure, cleared, and the frame to draw in. */
function plotFrame(id) {
  const figure = byId(id).parentElement;
  const width = figure.clientWidth;
  const height = figure.clientHeight - figure.querySelector("figcaption").offsetHeight;
  if (width < 80 || height < 60) return null;
  const ctx = sized(id, width, height);
  ctx.clearRect(0, 0, width, height);
  ctx.font = `12px ${FONT}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  return { ctx, left: PLOT.left, right: width - PLOT.right, top: PLOT.top, bottom: height - PLOT.bottom };
}

const caption = (id, ...nodes) =>
  byId(id)
    .parentElement.querySelector("figcaption")
    .replaceChildren(...nodes);

/** A mark on the left, with a line across. */
function leftMark(frame, y, text) {
  const { ctx } = frame;
  ctx.fillStyle = theme.line;
  ctx.fillRect(frame.left, Math.round(y), frame.right - frame.left, 1);
  ctx.fillStyle = theme.muted;
  ctx.textAlign = "right";
  ctx.fillText(text, frame.left - 6, y);
  ctx.textAlign = "left";
}

/** Marks of time below, from `from` to `to` (ms since the beginning). */
function timeMarks(frame, from, to) {
  const { ctx } = frame;
  const step = timeStep(((to - from) / (frame.right - frame.left)) * 84);
  const offset = DATA.start_ms % step;
  for (let at = Math.ceil((from + offset) / step) * step - offset; at <= to; at += step) {
    const x = frame.left + ((at - from) / (to - from)) * (frame.right - frame.left);
    const absolute = DATA.start_ms + at;
    ctx.fillStyle = theme.line;
    ctx.fillRect(x, frame.top, 1, frame.bottom - frame.top + 4);
    ctx.fillStyle = theme.muted;
    const text =
      step >= 86400000 || absolute % 86400000 === 0
        ? (iso(absolute) || "").slice(0, 10)
        : clock(absolute, step < 1000 ? 12 : 8);
    if (x + ctx.measureText(text).width / 2 > frame.right + PLOT.right) continue;
    ctx.textAlign = "center";
    ctx.fillText(text, Math.max(x, frame.left + 8), frame.bottom + 13);
    ctx.textAlign = "left";
  }
}

const drawnPlots = {}; // by canvas: what was drawn without the moment, so that the moment alone costs nothing

/** Keep what is drawn in `frame` so far, and draw the moment over it. */
function keepPlot(id, frame, from, to) {
  drawPlotMarks(frame, from, to);
  const { canvas } = frame.ctx;
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  copy.getContext("2d").drawImage(canvas, 0, 0);
  drawnPlots[id] = { frame, from, to, copy };
  nowLine(frame, from, to);
}

/** Move the moment on a plot that is drawn already. */
function movePlot(id) {
  const { frame, from, to, copy } = drawnPlots[id];
  frame.ctx.save();
  frame.ctx.setTransform(1, 0, 0, 1, 0, 0);
  frame.ctx.clearRect(0, 0, copy.width, copy.height);
  frame.ctx.drawImage(copy, 0, 0);
  frame.ctx.restore();
  nowLine(frame, from, to);
}

/** Where the moment is. */
function nowLine(frame, from, to) {
  const at = time[state.moment];
  if (at < from || at > to) return;
  const x = frame.left + ((at - from) / (to - from)) * (frame.right - frame.left);
  frame.ctx.fillStyle = theme.accent;
  frame.ctx.fillRect(x - 0.75, frame.top, 1.5, frame.bottom - frame.top);
}

/** What part of the time is in sight, in ms since the beginning, whatever the axis. */
function timeInSight() {
  const { low, high } = state.view;
  const [from, to] = state.axis === "time" ? [low, high] : [time[momentAt(low)], time[Math.min(N, momentAt(high) + 1)]];
  return to > from ? [from, to] : [from, from + 1];
}

/** Times as lengths: even steps are factors of ten, from `least` ms on, which is a tenth of a second or more. */
const DURATION_MARKS = [100, 1000, 10000, 60000, 600000, 3600000, 36000000, 360000000, 3600000000];
const leastOf = (shortest) => Math.min(1000, 10 ** Math.floor(Math.log10(Math.max(100, shortest))));
const logOf = (ms, least) => Math.log10(Math.max(least, ms) / least);
const durationMark = (ms) => (ms === 100 ? "\u2264 0.1 s" : duration(ms).replace(/ 0 (s|min|h)$|\.0(?= s)/, ""));

function quantile(sorted, part) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] : 0;
}
