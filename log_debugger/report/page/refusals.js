// What the broker refused: a cross on the lane of the caller, and lines at the commit before it and in the caller's life.

const REFUSED_MAX = 20; // at one commit

const refused = unpackAll(DATA.refused);
const refusalsOf = grouped(P, [refused.who]);
const refusedWord = (number) => shown(DATA.refused.words[number - 1]);

/** The time of refusal `n` on the axis, or its place between two positions; never beside the commits around it. */
function refusedAt(n) {
  const m = refused.moment[n];
  if (state.axis !== "time") return m + 0.5;
  return Math.min(Math.max(refused.at[n], AXES.time[m]), AXES.time[m + 1]);
}

/** What was refused, and why: `send_message: chat_ended`. */
function refusedText(n) {
  if (!refused.command[n]) return `${counted(refused.times[n], "more call")}, too many to note each`;
  return `${refusedWord(refused.command[n])}: ${refusedWord(refused.code[n])}`;
}

function refusedWho(n) {
  if (refused.who[n]) return [personButton(refused.who[n], false), " is refused "];
  if (refused.other[n]) return [el("span", { class: "mono" }, shortId(refusedWord(refused.other[n]))), " is refused "];
  return [refused.command[n] ? "an unknown caller is refused " : "refused: "];
}

/** What was noted after commit `m` and before the next one: refusals, and starts and ends of the broker. */
function notedAfter(m) {
  const low = lowerBound(refused.moment, m);
  const high = upperBound(refused.moment, m);
  const noted = marks
    .filter((mark) => mark.moment === m && mark.position !== m)
    .map((mark) => ({ at: mark.time, text: [mark.lines.join(", ")] }));
  for (let n = low; n < Math.min(high, low + REFUSED_MAX); n++)
    noted.push({ at: refused.at[n], text: [...refusedWho(n), refusedText(n)] });
  noted.sort((one, other) => one.at - other.at);
  const more = high - low - REFUSED_MAX;
  const rows = noted.map(({ at, text }) => el("li", {}, el("span", { class: "mono muted" }, `${relative(at)} `), text));
  if (more > 0) rows.push(el("li", { class: "muted" }, `${counted(more, "more refusal", "more refusals")}`));
  return rows.length ? [el("h3", {}, "Noted after it"), el("ul", { class: "noted" }, rows)] : [];
}

/** The refusals in a connection's life, for its list. */
const refusedInLife = (person) =>
  Array.from(group(refusalsOf, person), (n) => ({ start: refused.moment[n], end: refused.moment[n], refused: n }));

const refusalItem = (n) => [
  "was refused ",
  refusedText(n),
  el("span", { class: "mono muted" }, ` ${relative(refused.at[n])}`),
];

function drawRefusals(ctx, person, y, place) {
  const own = group(refusalsOf, person);
  const low = lowerBound(own, lowerBound(refused.moment, place.from));
  const high = lowerBound(own, upperBound(refused.moment, place.to));
  const middle = y + ROW / 2;
  ctx.strokeStyle = theme.ink;
  ctx.lineWidth = 1.5;
  thinned(own, low, high, refused.moment, place, (n) => {
    const x = place.at(refusedAt(n));
    ctx.beginPath();
    ctx.moveTo(x - 3, middle - 3);
    ctx.lineTo(x + 3, middle + 3);
    ctx.moveTo(x + 3, middle - 3);
    ctx.lineTo(x - 3, middle + 3);
    ctx.stroke();
  });
}

function wireRefusals() {
  document.querySelector("#legend [data-refused]").hidden = !refusalsOf.rows.length;
}
