// The state of one chat, and how each happening changes it. It is pure: no page, no time, no calls.

/**
 * place      outside, entering, waiting, chatting, over
 * chat       a number that changes with the transcript: with a new stranger, and when it was read again
 * room       the open room; `lastRoom` is also that of a chat that is over, which can be blocked and reported
 * lines      the transcript: {key, who: "stranger" | "you", text, at, state} and {key, who: "note", code, partner, at}.
 *            `state` of an own line is sending, sent or unsent; then `code` says why
 * cursor     everything up to here has been heard
 * unread     messages since the last `seen`
 * link       whether the broker can be reached
 * silent     seconds since the last sign of life of the stranger, if known
 * problem    the code of a refusal to enter, with `retryAfterMs`, or to be heard; or `unknown_handle`, if the broker has forgotten us
 * judged     `blocked` or `reported`, once done
 */
export const initial = Object.freeze({
  place: "outside",
  chat: 0,
  room: null,
  lastRoom: null,
  partner: null,
  position: null,
  cursor: 0,
  lines: [],
  unread: 0,
  link: true,
  silent: 0,
  problem: null,
  retryAfterMs: 0,
  judged: null,
});

/** Return whether the broker may have something to say: in the queue, or in a room. */
export const isThere = (state) => state.place === "waiting" || state.place === "chatting";

/** Return what a reload needs of `state`, beside the handle; the stranger's words are read again from the log. */
export function savedOf({ place, room, lastRoom, partner, cursor, lines, judged }) {
  return { place, room, lastRoom, partner, cursor, judged, own: lines.filter(isKept).slice(-OWN_LINES_SAVED) };
}

/** Return the state after `happening`, an object whose `kind` is one of `STEPS`. */
export function fold(state, happening) {
  return STEPS[happening.kind](state, happening);
}

const OWN_LINES_SAVED = 500;
const isOwn = (line) => line.who === "you";
const isKept = (line) => isOwn(line) && line.code !== "message_too_large"; // what is too large might be so for a browser as well

const STEPS = {
  entering: (state) => ({ ...state, place: "entering", problem: null, room: null, position: null, silent: 0 }),
  entered: (state, { status, room_id, partner, position, cursor, isNew }) => {
    if (status === "matched") return found(state, { room_id, partner, cursor });
    if (state.place === "chatting" && state.cursor > cursor) return state; // a stream has told of a stranger since
    return waiting({ ...state, cursor: isNew ? cursor : Math.max(state.cursor, cursor) }, position);
  },
  refused: (state, { code, retry_after_ms }) => ({
    ...state,
    place: state.lastRoom ? "over" : "outside",
    problem: code,
    retryAfterMs: retry_after_ms,
  }),
  hindered: (state, { code }) => ({ ...state, problem: code }),
  heard: (state, page) => {
    let next = page.events.reduce(afterEvent, page.missed ? note(state, "missed") : state);
    next = { ...next, cursor: Math.max(next.cursor, page.cursor || 0) };
    if (isThere(next)) next.problem = null;
    if (next.place === "chatting" && page.partner_idle_seconds !== undefined) next.silent = page.partner_idle_seconds;
    const isLast = page.events.length === 0 && page.cursor <= state.cursor;
    return isLast && page.status ? afterStatus(next, page) : next;
  },
  typed: (state, { message_id, text }) => append(state, { key: message_id, who: "you", text, state: "sending" }),
  sending: (state, { message_id }) => changed(state, message_id, { state: "sending", code: undefined }),
  sent: (state, { message_id, timestamp }) => changed(state, message_id, { state: "sent", at: timestamp }),
  unsent: (state, { message_id, code }) => changed(state, message_id, { state: "unsent", code }),
  left: (state) => (state.place === "chatting" ? ended(state, "you_left") : outside(state)),
  blocked: (state, whom) => judged(state, "blocked", whom),
  reported: (state, whom) => judged(state, "reported", whom),
  forgotten: (state) => ({ ...ended(state, "unknown_handle"), lastRoom: null, problem: "unknown_handle" }),
  started_over: (state) => ({ ...initial, chat: state.chat + 1 }),
  link: (state, { up }) => ({ ...state, link: up }),
  seen: (state) => (state.unread ? { ...state, unread: 0 } : state),
  restored: (state, { saved: { own, ...rest } }) => ({ ...state, ...rest, chat: state.chat + 1, lines: own }),
  resumed: (state, told) => resumed(state, told),
};

const append = (state, line) => ({ ...state, lines: [...state.lines, line] });
const note = (state, code, at) =>
  append(state, { key: `n${state.chat}.${state.lines.length}`, who: "note", code, partner: state.partner, at });
const changed = (state, key, change) => ({
  ...state,
  lines: state.lines.map((line) => (line.key === key ? { ...line, ...change } : line)),
});
const outside = (state) => ({ ...state, place: state.lastRoom ? "over" : "outside", room: null, position: null });

function waiting(state, position = null) {
  return { ...state, place: "waiting", room: null, position, silent: 0, problem: null };
}

function found(state, { room_id, partner, cursor, timestamp }) {
  if (state.room === room_id) return state;
  const fresh = { ...waiting(state), place: "chatting", chat: state.chat + 1, room: room_id, lastRoom: room_id };
  return note({ ...fresh, partner, cursor, lines: [], unread: 0, judged: null }, "found", timestamp);
}

function ended(state, code, at) {
  if (state.place === "over") return state;
  return note({ ...state, place: "over", room: null, position: null, silent: 0 }, code, at);
}

function judged(state, verdict, { room, partner }) {
  if (room !== state.lastRoom) return { ...note({ ...state, partner }, verdict), partner: state.partner }; // an earlier one
  const over = state.place === "chatting" ? { ...state, place: "over", room: null, silent: 0 } : state;
  return note({ ...over, judged: verdict }, verdict);
}

function afterEvent(state, { method, params }) {
  if (params.cursor <= state.cursor) return state; // heard already
  const next = { ...state, cursor: params.cursor };
  if (method === "chatroom.found") return found(next, params);
  if (params.room_id !== state.room) return next; // of a room that we have left
  if (method === "message.received") {
    const line = { key: `c${params.cursor}`, who: "stranger", text: params.message, at: params.timestamp };
    return append({ ...next, unread: state.unread + 1, silent: 0 }, line);
  }
  if (method !== "partner.disconnected") return next;
  if (params.requeued) return waiting(note(next, "requeued", params.timestamp));
  return ended(next, PARTNER_ENDINGS[params.reason] || "partner_gone", params.timestamp);
}

const PARTNER_ENDINGS = { left: "partner_left", next: "partner_next" };

/** Return `state` after a page without events, whose status can't be explained by any that is still to come. */
function afterStatus(state, { status, idle_reason }) {
  if (status === "idle" && isThere(state)) return ended(state, idle_reason || "you_timed_out");
  if (status === "waiting" && state.place === "chatting") return waiting(note(state, "elsewhere"));
  return state;
}

/** Return the state that the log tells: the last room's events, own lines among them, and where we are now. */
function resumed(state, { events, cursor, status, idle_reason, room_id, partner, position, missed }) {
  const start = { ...initial, chat: state.chat, cursor: -1, place: "waiting" };
  let next = events.reduce(afterEvent, start);
  if (status === "chatting" && next.room !== room_id) next = { ...next, place: "chatting", room: room_id, partner };
  if (status === "chatting") next.lastRoom = room_id;
  if (missed) next = note(next, "missed", "");
  next = { ...next, cursor, unread: 0, link: state.link, judged: next.lastRoom === state.lastRoom ? state.judged : null };
  const own = state.lastRoom && state.lastRoom === next.lastRoom ? state.lines.filter(isOwn) : [];
  next = { ...next, chat: state.chat + 1, lines: inOrder([...next.lines, ...own]) };
  if (status === "idle") {
    const was = next.lastRoom || state.place === "waiting";
    return was ? ended(next, idle_reason || "you_timed_out") : outside(next);
  }
  return status === "waiting" ? waiting(next, position) : next;
}

/** Return lines by their time; one without a time has not been said yet, and is last. */
function inOrder(lines) {
  const keyed = lines.map((line, index) => ({ line, index, at: line.at ?? "~" }));
  keyed.sort((a, b) => (a.at === b.at ? a.index - b.index : a.at < b.at ? -1 : 1));
  return keyed.map(({ line }) => line);
}
