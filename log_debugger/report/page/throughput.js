// The plot of how much happened, of what is in sight on the timeline: commits, messages and matches a bucket of time.

let throughputPlot = null; // where things are, for the pointer

/** Counts a bucket of time, of the commits in sight. */
function bucketed(from, to, pixels) {
  const step = timeStep(((to - from) / pixels) * 7);
  const origin = Math.floor((from + (DATA.start_ms % step)) / step) * step - (DATA.start_ms % step);
  const count = Math.max(1, Math.ceil((to - origin) / step));
  const series = { commits: new Uint32Array(count), messages: new Uint32Array(count), matches: new Uint32Array(count) };
  const values = AXES.time;
  for (let m = Math.max(1, lowerBound(values, from, 0, N + 1)); m <= N && values[m] <= to; m++) {
    const n = Math.min(count - 1, Math.floor((values[m] - origin) / step));
    series.commits[n]++;
    for (let e = eventsFrom[m]; e < eventsFrom[m + 1]; e++) {
      if (event.kind[e] === KIND.message_sent) series.messages[n]++;
      else if (event.kind[e] === KIND.room_opened) series.matches[n]++;
    }
  }
  return { step, origin, count, series };
}

function drawThroughput() {
  const frame = plotFrame("plot-throughput");
  if (!frame) return;
  frame.left = 110;
  const [from, to] = timeInSight();
  const buckets = bucketed(from, to, frame.right - frame.left);
  const part = (frame.bottom - frame.top) / 3;
  timeMarks(frame, from, to);
  Object.entries(buckets.series).forEach(([name, counts], n) =>
    drawSeries(frame, name, counts, buckets, from, to, frame.top + n * part, part - 10),
  );
  keepPlot("plot-throughput", frame, from, to);
  throughputPlot = { frame, buckets, from, to };
  const sum = (name) => buckets.series[name].reduce((total, one) => total + one, 0);
  const nouns = [["commit"], ["message"], ["match", "matches"]];
  const all = nouns.map(([noun, plural = `${noun}s`]) => counted(sum(plural), noun, plural)).join(", ");
  caption("plot-throughput", el("b", {}, `Each bar is ${durationMark(buckets.step)}`), ` in sight: ${all}`);
  byId("plot-throughput").setAttribute("aria-label", `Throughput: ${all}`);
}

function drawSeries(frame, name, counts, buckets, from, to, top, height) {
  const { ctx } = frame;
  const most = counts.reduce((high, one) => Math.max(high, one), 1);
  const scale = (frame.right - frame.left) / (to - from);
  ctx.fillStyle = theme.line;
  ctx.fillRect(frame.left, top + height, frame.right - frame.left, 1);
  ctx.fillStyle = theme.ink;
  ctx.fillText(name, 12, top + height / 2 - 7);
  ctx.fillStyle = theme.muted;
  ctx.fillText(`at most ${most.toLocaleString("en")}`, 12, top + height / 2 + 8);
  ctx.fillStyle = { commits: theme.muted, messages: theme.accent, matches: theme["wait-ink"] }[name];
  counts.forEach((count, n) => {
    if (!count) return;
    const x = Math.max(frame.left, frame.left + (buckets.origin + n * buckets.step - from) * scale);
    const end = Math.min(frame.right, frame.left + (buckets.origin + (n + 1) * buckets.step - from) * scale);
    const size = Math.max(1.5, (count / most) * height);
    ctx.fillRect(x, top + height - size, Math.max(1, end - x - 1), size);
  });
}

function bucketUnder(pointer) {
  if (!throughputPlot) return null;
  const { frame, buckets, from, to } = throughputPlot;
  const x = pointer.clientX - byId("plot-throughput").getBoundingClientRect().left;
  const at = from + ((x - frame.left) / (frame.right - frame.left)) * (to - from);
  const n = Math.floor((at - buckets.origin) / buckets.step);
  return x >= frame.left && n >= 0 && n < buckets.count ? n : null;
}

function bucketLines(n) {
  const { buckets } = throughputPlot;
  const { commits, messages, matches } = buckets.series;
  const at = buckets.origin + n * buckets.step;
  return [
    el("p", {}, `${utc(DATA.start_ms + at)}, ${duration(buckets.step)}`),
    el(
      "p",
      {},
      `${counted(commits[n], "commit")}, ${counted(messages[n], "message")}, ${counted(matches[n], "match", "matches")}`,
    ),
  ];
}

function wireThroughput() {
  const canvas = byId("plot-throughput");
  canvas.addEventListener("pointermove", (event) => {
    const n = bucketUnder(event);
    showTip(event, n !== null && bucketLines(n));
  });
  canvas.addEventListener("click", (event) => {
    const n = bucketUnder(event);
    if (n !== null)
      goTo(lowerBound(AXES.time, throughputPlot.buckets.origin + n * throughputPlot.buckets.step, 0, N + 1));
  });
  canvas.addEventListener("pointerleave", () => showTip(null, null));
}

/** Draw the plot that is to be seen whenever what it shows has changed; the moment alone is drawn over it. */
function wirePlots() {
  wireWaits();
  wireThroughput();
  const draw = (names) => {
    const plot = { waits: drawWaits, throughput: drawThroughput }[state.tab];
    if (!plot) return;
    const isMoved = names && [...names].every((name) => name === "moment" || name === "selected");
    if (isMoved && drawnPlots[`plot-${state.tab}`]) movePlot(`plot-${state.tab}`);
    else plot();
  };
  shows(["moment", "view", "axis", "theme", "tab"], draw);
  new ResizeObserver(() => draw()).observe(byId("bottom"));
}
