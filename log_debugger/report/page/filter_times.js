// The times and durations of a filter and of the search, as the commands read them. No page in here.

const DAY_MS = 86400000;
const WALL_CLOCK = new RegExp(
  [
    "^(?:([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ](?=.)|$))?",
    "(?:([01]?[0-9]|2[0-3])(?:(:[0-5][0-9])(?:(:[0-5][0-9])(?:[.,]([0-9]{1,9}))?)?)?",
    "(?: ?([Zz]|UTC|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?))?)?$",
  ].join(""),
  "s",
);
const SPAN_UNITS = { ms: 1, s: 1000, m: 60000, h: 3600000, d: DAY_MS };

/** A duration in ms, as in 30s or 1h30m; `null` if it is none. */
function spanMs(text) {
  if (!/^([0-9]{1,12}(\.[0-9]{1,3})?(ms|s|m|h|d))+$/.test(text)) return null;
  const parts = text.matchAll(/([0-9.]+)(ms|s|m|h|d)/g);
  return [...parts].reduce((sum, [, number, unit]) => sum + Math.round(Number(number) * SPAN_UNITS[unit]), 0);
}

/** A time of a filter in ms since the beginning: of day, with a date, or since the first commit (`+`). UTC without a zone. */
function filterTime({ value, column }) {
  return timeInLog(value, `column ${column}: `);
}

/** The same of `value` alone; a mistake begins with `where`. */
function timeInLog(value, where) {
  const first = DATA.start_ms + FIRST_MS;
  const last = DATA.start_ms + time[N];
  const written = writtenTime(value, first);
  if (written === null)
    throw new FilterMistake(`${where}expected a time, as in 14:03:22, 2026-11-22T14:03:22Z or +90s`);
  const { ms, isDate, isOfDay } = written;
  if (!N || ms < (isDate ? first - DAY_MS + 1 : first) || ms > last)
    throw new FilterMistake(`${where}${shown(value)} is outside the log, which goes from ${utc(first)} to ${utc(last)}`);
  if (isOfDay && ms + DAY_MS <= last)
    throw new FilterMistake(`${where}that time comes more than once; write a date, as in ${iso(ms)}`);
  return ms - DATA.start_ms;
}

/** What was written for a log that begins at `start`, as Unix time in ms, which of a date is its midnight; `null` if it is no time. */
function writtenTime(text, start) {
  if (text.startsWith("+")) {
    const clock = /^([0-9]{1,6}):([0-5][0-9]):([0-5][0-9](?:\.[0-9]{1,3})?)$/.exec(text.slice(1));
    if (clock) return { ms: start + Math.round(((Number(clock[1]) * 60 + Number(clock[2])) * 60 + Number(clock[3])) * 1000) };
    const since = spanMs(text.slice(1));
    return since === null ? null : { ms: start + since };
  }
  const parts = WALL_CLOCK.exec(text);
  if (!parts || !(parts[1] || parts[3])) return null;
  const [, date, hour, minute, second, part = "", zone] = parts;
  const offset = !zone || /^(?:z|UTC)$/i.test(zone) ? "Z" : `${zone.slice(0, 3)}:${zone.slice(3).replace(":", "") || "00"}`;
  const clock = `${(hour ?? "0").padStart(2, "0")}${minute ?? ":00"}${second ?? ":00"}.${part.slice(0, 3).padEnd(3, "0")}`;
  const ms = Date.parse(`${date ?? "1970-01-02"}T${clock}${offset}`);
  if (Number.isNaN(ms) || (date && iso(Date.parse(`${date}T00:00Z`))?.slice(0, 10) !== date)) return null; // no February 30
  if (date) return { ms, isDate: hour === undefined };
  return { ms: start + ((((ms - start) % DAY_MS) + DAY_MS) % DAY_MS), isOfDay: true };
}
