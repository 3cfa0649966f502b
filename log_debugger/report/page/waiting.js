// The plot of how long people waited until they met, of what is in sight on the timeline; and how that is spread.

// Each wait that ended: when, how long, in which room (0: they gave up), by the moment of its end.
const ended = (() => {
  const rows = [];
  for (let row = 1; row < wait.who.length; row++) {
    const met = wait.room[row];
    if (wait.end[row] <= N && (!met || room.first[met] === wait.who[row])) rows.push(row);
  }
  return Uint32Array.from(rows.sort((one, other) => wait.end[one] - wait.end[other]));
})();
const endedAt = Float64Array.from(ended, (row) => AXES.time[wait.end[row]]);

let waitPlot = null; // where things are, for the pointer

function drawWaits() {
  const frame = plotFrame("plot-waits");
  if (!frame) return;
  const [from, to] = timeInSight();
  const rows = ended.subarray(lowerBound(endedAt, from), upperBound(endedAt, to));
  const met = Float64Array.from(
    Array.from(rows)
      .filter((row) => wait.room[row])
      .map(waited),
  ).sort();
  const most = 1.3 * rows.reduce((longest, row) => Math.max(longest, waited(row)), 10000);
  const least = leastOf(rows.reduce((shortest, row) => Math.min(shortest, waited(row)), Infinity));
  const y = (ms) => frame.bottom - (logOf(ms, least) / logOf(most, least)) * (frame.bottom - frame.top);
  const x = (row) => frame.left + ((AXES.time[wait.end[row]] - from) / (to - from)) * (frame.right - frame.left);
  timeMarks(frame, from, to);
  for (const ms of DURATION_MARKS) if (ms >= least && ms <= most) leftMark(frame, y(ms), durationMark(ms));
  drawDots(frame, rows, x, y);
  keepPlot("plot-waits", frame, from, to);
  waitPlot = { rows, x, y };
  captionWaits(met, rows.length - met.length);
  drawSpread(met);
}

function captionWaits(met, gaveUp) {
  caption(
    "plot-waits",
    el("b", {}, "The longer wait of the two of each match"),
    el("span", { class: "dot met" }),
    `${met.length.toLocaleString("en")} met`,
    el("span", { class: "dot gave-up" }),
    `${gaveUp.toLocaleString("en")} gave up`,
  );
  byId("plot-waits").setAttribute(
    "aria-label",
    `Waiting time of ${counted(met.length, "match", "matches")} over time; ${spreadText(met)}`,
  );
}

/** A dot a wait, but no more than one on a place. */
function drawDots(frame, rows, x, y) {
  const { ctx } = frame;
  const width = frame.right + 1;
  const taken = new Set();
  for (const isMet of [true, false]) {
    ctx.fillStyle = isMet ? theme.accent : theme.gone;
    ctx.globalAlpha = 0.75;
    for (const row of rows) {
      if ((wait.room[row] !== 0) !== isMet) continue;
      const [px, py] = [Math.round(x(row)), Math.round(y(waited(row)))];
      const place = (py * width + px) * 2 + (isMet ? 1 : 0);
      if (taken.has(place)) continue;
      taken.add(place);
      ctx.beginPath();
      if (isMet) ctx.arc(px, py, 2.2, 0, 2 * Math.PI);
      else ctx.rect(px - 2.2, py - 2.2, 4.4, 4.4);
      ctx.fill();
    }
  }
  ctx.globalAlpha = 1;
}

const spreadText = (sorted) =>
  sorted.length
    ? [
        `median ${duration(quantile(sorted, 0.5))}`,
        `95 % in ${duration(quantile(sorted, 0.95))}`,
        `at most ${duration(quantile(sorted, 1))}`,
      ].join(", ")
    : "no match in sight";

/** How many matches had which waiting time; `sorted` are those times. */
function drawSpread(sorted) {
  const frame = plotFrame("plot-spread");
  caption("plot-spread", el("b", {}, counted(sorted.length, "match", "matches")), ` ${spreadText(sorted)}`);
  if (!frame || !sorted.length) return;
  const { ctx } = frame;
  const least = leastOf(sorted[0]);
  const buckets = 4 * Math.ceil(logOf(Math.max(10000, sorted[sorted.length - 1] * 1.01), least));
  const counts = new Uint32Array(buckets + 1);
  for (const ms of sorted) counts[Math.min(buckets - 1, Math.floor(4 * logOf(ms, least)))]++;
  const most = counts.reduce((high, one) => Math.max(high, one), 1);
  const size = (frame.right - frame.left) / buckets;
  leftMark(frame, frame.top, most.toLocaleString("en"));
  counts.forEach((count, n) => {
    const height = (count / most) * (frame.bottom - frame.top);
    ctx.fillStyle = theme.accent;
    if (count)
      ctx.fillRect(frame.left + n * size + 1, frame.bottom - Math.max(1, height), size - 2, Math.max(1, height));
  });
  ctx.textAlign = "center";
  ctx.fillStyle = theme.muted;
  for (const ms of DURATION_MARKS.filter((mark) => mark > least)) {
    const x = frame.left + 4 * logOf(ms, least) * size;
    if (x <= frame.right + 4) ctx.fillText(durationMark(ms), x, frame.bottom + 13);
  }
  ctx.textAlign = "left";
  byId("plot-spread").setAttribute("aria-label", `Distribution of waiting times: ${spreadText(sorted)}`);
}

function waitUnder(pointer) {
  if (!waitPlot) return null;
  const box = byId("plot-waits").getBoundingClientRect();
  let best = { off: 8, row: null };
  for (const row of waitPlot.rows) {
    const off = Math.hypot(
      waitPlot.x(row) - pointer.clientX + box.left,
      waitPlot.y(waited(row)) - pointer.clientY + box.top,
    );
    if (off < best.off) best = { off, row };
  }
  return best.row;
}

function wireWaits() {
  const canvas = byId("plot-waits");
  canvas.addEventListener("pointermove", (event) => {
    const row = waitUnder(event);
    showTip(
      event,
      row && [
        el("p", {}, nameWords(wait.who[row]), ` ${waitSummary(row)}`),
        el("p", { class: "muted" }, `${relative(time[wait.end[row]])}, position ${positionOf(wait.end[row])}`),
      ],
    );
  });
  canvas.addEventListener("click", (event) => {
    const row = waitUnder(event);
    if (!row) return;
    goTo(wait.end[row]);
    if (wait.room[row]) selectRoom(wait.room[row]);
    else selectPerson(wait.who[row]);
  });
  canvas.addEventListener("pointerleave", () => showTip(null, null));
}
