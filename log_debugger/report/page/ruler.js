// Draws the axis above the lanes, and above it the overview: how many commits there are, over the whole log.

const RULER_HEIGHT = 42;
const OVERVIEW_HEIGHT = 34;

function drawRuler(ctx, width) {
  ctx.clearRect(0, 0, width, RULER_HEIGHT);
  const place = placing(width);
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  ctx.fillStyle = theme.muted;
  ctx.font = `12px ${FONT}`;
  const isTime = state.axis === "time";
  ctx.fillText(isTime ? "UTC" : "position", GUTTER - 8, 10);
  ctx.fillText(GUTTER < 120 ? "since start" : "from the start", GUTTER - 8, 25);
  ctx.textAlign = "left";
  if (isTime) drawTimeMarks(ctx, place);
  else drawPositionMarks(ctx, place);
  drawAxisMarks(ctx, place);
  drawMatchMarks(ctx, place);
  drawBreachMarks(ctx, place, 0, 8);
  drawHandle(ctx, place.x(state.moment), width);
}

function drawTimeMarks(ctx, place) {
  const { low, high } = state.view;
  const step = timeStep(((high - low) / (place.width - GUTTER)) * 96);
  const offset = DATA.start_ms % step; // marks stand at round times of the clock
  for (let at = Math.ceil((low + offset) / step) * step - offset; at <= high; at += step) {
    const x = GUTTER + ((at - low) / (high - low)) * (place.width - GUTTER);
    const absolute = DATA.start_ms + at;
    const day = step >= 86400000 || absolute % 86400000 === 0;
    mark(
      ctx,
      x,
      day ? (iso(absolute) || "").slice(0, 10) : clock(absolute, step < 1000 ? 12 : 8),
      relative(at, step < 1000),
      place.width,
    );
  }
}

function drawPositionMarks(ctx, place) {
  const { low, high } = state.view;
  const step = Math.max(1, roundStep(((high - low) / (place.width - GUTTER)) * 96));
  for (
    let m = Math.max(0, Math.ceil((low + (DATA.base % step)) / step) * step - (DATA.base % step));
    m <= Math.min(N, high);
    m += step
  ) {
    mark(ctx, place.x(m), positionOf(m).toLocaleString("en"), relative(time[m]), place.width);
  }
}

function mark(ctx, x, upper, lower, width) {
  if (x < GUTTER || x + 5 + Math.max(ctx.measureText(upper).width, ctx.measureText(lower).width) > width) return;
  ctx.fillStyle = theme.line;
  ctx.fillRect(x, 4, 1, RULER_HEIGHT - 4);
  ctx.fillStyle = theme.ink;
  ctx.fillText(upper, x + 5, 10);
  ctx.fillStyle = theme.muted;
  ctx.fillText(lower, x + 5, 25);
}

/** Where what was filtered for is. */
function drawMatchMarks(ctx, place) {
  if (!state.matches) return;
  const { moments } = state.matches;
  ctx.fillStyle = theme.accent;
  let last = -Infinity;
  for (let n = lowerBound(moments, place.from); n < moments.length && moments[n] <= place.to; n++) {
    const x = place.x(moments[n]);
    if (x >= GUTTER && x - last >= 1) {
      ctx.fillRect(x - 0.75, RULER_HEIGHT - 5, 1.5, 5);
      last = x;
    }
  }
}

function drawBreachMarks(ctx, place, top, size) {
  let last = -Infinity;
  ctx.fillStyle = theme.bad;
  for (let n = lowerBound(breachMoments, place.from); n < breachMoments.length && breachMoments[n] <= place.to; n++) {
    const x = place.x(breachMoments[n]);
    if (x < GUTTER || x - last < 2) continue;
    ctx.beginPath();
    ctx.moveTo(x - 5, top);
    ctx.lineTo(x + 5, top);
    ctx.lineTo(x, top + size);
    ctx.fill();
    ctx.fillRect(x - 0.75, top, 1.5, RULER_HEIGHT);
    last = x;
  }
}

function drawHandle(ctx, x, width) {
  if (x < GUTTER - 1 || x > width) return;
  ctx.fillStyle = theme.accent;
  ctx.beginPath();
  ctx.moveTo(x - 6, RULER_HEIGHT - 10);
  ctx.lineTo(x + 6, RULER_HEIGHT - 10);
  ctx.lineTo(x, RULER_HEIGHT);
  ctx.fill();
  ctx.fillRect(x - 0.75, RULER_HEIGHT - 10, 1.5, 10);
}

let density = { key: "", bars: [], most: 1 };

/** How many commits stand on each pixel of the whole axis. */
function densityOf(pixels) {
  const key = `${state.axis} ${pixels}`;
  if (density.key === key) return density;
  const bars = new Uint32Array(pixels + 1);
  const { low, high } = wholeView();
  const values = axis();
  for (let m = 1; m <= N; m++) bars[Math.round(((values[m] - low) / (high - low)) * pixels)]++;
  density = { key, bars, most: bars.reduce((most, one) => Math.max(most, one), 1) };
  return density;
}

function drawOverview(ctx, width) {
  ctx.clearRect(0, 0, width, OVERVIEW_HEIGHT);
  const pixels = Math.max(1, Math.floor(width - GUTTER));
  const { bars, most } = densityOf(pixels);
  const whole = wholeView();
  const xOf = (value) => GUTTER + ((value - whole.low) / (whole.high - whole.low)) * pixels;
  const [from, to] = [xOf(state.view.low), xOf(state.view.high)];
  ctx.fillStyle = theme.stripe;
  ctx.fillRect(GUTTER, 0, pixels, OVERVIEW_HEIGHT);
  ctx.fillStyle = theme.chosen;
  ctx.fillRect(from, 0, Math.max(2, to - from), OVERVIEW_HEIGHT);
  ctx.fillStyle = theme.muted;
  for (let n = 0; n <= pixels; n++) {
    const size = bars[n] ? Math.max(2, (OVERVIEW_HEIGHT - 8) * Math.sqrt(bars[n] / most)) : 0;
    if (size) ctx.fillRect(GUTTER + n, OVERVIEW_HEIGHT - 2 - size, 1, size);
  }
  ctx.strokeStyle = theme.accent;
  ctx.lineWidth = 1;
  ctx.strokeRect(from + 0.5, 0.5, Math.max(2, to - from - 1), OVERVIEW_HEIGHT - 1);
  drawMarks(ctx, (mark) => xOf(mark[state.axis]), 0, OVERVIEW_HEIGHT);
  ctx.fillStyle = theme.bad;
  for (const m of breachMoments) ctx.fillRect(xOf(axis()[m]) - 1, 0, 2, OVERVIEW_HEIGHT);
  ctx.fillStyle = theme.accent;
  ctx.fillRect(xOf(axis()[state.moment]) - 0.75, 0, 1.5, OVERVIEW_HEIGHT);
  ctx.fillStyle = theme.muted;
  ctx.font = `12px ${FONT}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  ctx.fillText("whole log", GUTTER - 8, OVERVIEW_HEIGHT / 2);
  ctx.textAlign = "left";
}
