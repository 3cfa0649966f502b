// Texts for people: numbers, times and ids; and `el`, the only way in which this page makes an element.
// A stranger's words go through `shown` and become text nodes or canvas text, never markup.

const byId = (id) => document.getElementById(id);

/** An element; children that are strings become text. A function among the attributes is a listener. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(key, value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

/** Fill `box` with `children`, those that are there. */
const fill = (box, ...children) =>
  box.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));

const button = (label, onClick, attributes = {}) =>
  el("button", { type: "button", click: onClick, ...attributes }, label);

// What can't be seen, or turns the text around it: controls, bidi marks, tags. Joiners stay, for emoji and Arabic.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** `text` with everything in it visible. */
function shown(text) {
  return text.replace(
    UNSEEN,
    (one) => `\u2039U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u203a`,
  );
}

/** `text` on one line, and no longer than `limit`. */
function short(text, limit) {
  const line = shown(text.slice(0, 2 * limit)).replace(/\s+/g, " ");
  return line.length > limit || text.length > 2 * limit ? `${line.slice(0, limit - 1)}\u2026` : line;
}

const shortId = (id) => (id.length > 11 ? `${shown(id.slice(0, 9))}\u2026` : shown(id));

/** A stranger's words: set apart, so that they can't change the direction of what stands beside them. */
const words = (text, attributes = {}) => el("bdi", { class: "words", ...attributes }, shown(text));

const counted = (count, noun, plural = `${noun}s`) => `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;

const two = (number) => String(number).padStart(2, "0");

function iso(ms) {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

/** `2026-09-21 14:13:20.000 UTC`. */
function utc(ms) {
  const text = iso(ms);
  return text === null ? `${ms} ms` : `${text.replace("T", " ").replace("Z", "")} UTC`;
}

/** The time of day alone, `14:13:20.000`, or less of it. */
function clock(ms, length = 12) {
  const text = iso(ms);
  return text === null ? String(ms) : text.slice(-13, -13 + length);
}

/** From the log's first commit, as the commands count: `+0:07:12.345`. The base of a trimmed log is before it. */
function relative(ms, withMs = true) {
  const since = Math.round(ms - FIRST_MS);
  const all = withMs ? Math.abs(since) : 1000 * Math.floor(Math.abs(since) / 1000);
  const sign = since < 0 && all ? "-" : "+"; // what is shown as zero has no sign
  const days = Math.floor(all / 86400000);
  const hours = Math.floor(all / 3600000) % 24;
  const rest = `${two(Math.floor(all / 60000) % 60)}:${two(Math.floor(all / 1000) % 60)}`;
  const end = withMs ? `.${String(all % 1000).padStart(3, "0")}` : "";
  return `${sign}${days ? `${days}d ` : ""}${hours}:${rest}${end}`;
}

/** How long: `250 ms`, `41.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`; rounded as by `span` in `times.py`. */
function duration(ms) {
  const all = Math.round(Math.abs(ms));
  if (ms < 0 && all) return `-${duration(all)}`;
  if (all < 1000) return all ? `${all} ms` : "0 s";
  const rounded = (unit) => Math.floor((all + unit / 2) / unit);
  const [tenths, seconds, minutes, hours] = [100, 1000, 60000, 3600000].map(rounded);
  if (tenths < 600) return `${Math.floor(tenths / 10)}.${tenths % 10} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
