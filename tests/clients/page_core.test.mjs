/** The core of the faces for people: the fold, and the session over a transport and a clock of the test's own. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Refusal, answerOf } from "../../mcp_facade/web/assets/answers.js";
import { fold, initial, savedOf } from "../../mcp_facade/web/assets/fold.js";
import { quotation } from "../../mcp_facade/web/assets/quotation.js";
import { Session } from "../../mcp_facade/web/assets/session.js";
import { statusText } from "../../mcp_facade/web/assets/words.js";

const ROOM = "r_1";
const at = (cursor) => `2026-11-29T10:00:00.${String(cursor).padStart(3, "0")}Z`;
const found = (cursor, partner = "Ann", room_id = ROOM) => ({
  method: "chatroom.found",
  params: { room_id, partner, cursor, timestamp: at(cursor) },
});
const heard = (cursor, message, room_id = ROOM) => ({
  method: "message.received",
  params: { room_id, message, cursor, timestamp: at(cursor), sender: "stranger" },
});
const gone = (cursor, more = { reason: "left" }) => ({
  method: "partner.disconnected",
  params: { room_id: ROOM, cursor, timestamp: at(cursor), ...more },
});
const page = (events, more = {}) => ({ kind: "heard", events, cursor: events.at(-1)?.params.cursor ?? 0, ...more });
const folded = (...happenings) => happenings.reduce(fold, initial);
const waiting = { kind: "entered", status: "waiting", position: 1, cursor: 1 };
const matched = { kind: "entered", status: "matched", room_id: ROOM, partner: "Ann", cursor: 5 };
const texts = ({ lines }) => lines.map(({ text, code }) => text ?? code);

describe("the fold", () => {
  it("says nothing twice, whatever brings it", () => {
    const state = folded(waiting, page([found(5), heard(6, "a")]), page([heard(6, "a")]), page([found(5), heard(7, "b")]));
    assert.deepEqual(texts(state), ["found", "a", "b"]);
    assert.deepEqual([state.place, state.cursor, state.unread], ["chatting", 7, 2]);
  });

  it("takes a match from a stream or from the result, whichever comes first", () => {
    for (const happenings of [
      [waiting, page([found(5), heard(6, "a")]), { ...waiting, cursor: 2 }],
      [{ kind: "entering" }, page([found(5), heard(6, "a")]), matched],
      [{ kind: "entering" }, matched, page([found(5), heard(6, "a")])],
    ]) {
      const state = folded(...happenings);
      assert.deepEqual([state.place, ...texts(state)], ["chatting", "found", "a"]);
    }
  });

  it("hears nothing of a room that was left", () => {
    const moving = folded(matched, { kind: "entering" }, page([heard(6, "late"), gone(7)]));
    assert.deepEqual([moving.place, ...texts(moving)], ["entering", "found"]);
    const next = fold(moving, page([found(9, "Cat", "r_2"), heard(10, "hi", "r_2")]));
    assert.deepEqual([next.partner, ...texts(next)], ["Cat", "found", "hi"]);
    assert.notEqual(next.chat, moving.chat);
  });

  it("waits on when the stranger never came", () => {
    const state = folded(matched, page([gone(6, { reason: "timeout", requeued: true })]));
    assert.deepEqual([state.place, state.room, ...texts(state)], ["waiting", null, "found", "requeued"]);
  });

  it("knows by the status what no event tells, once there are no more events", () => {
    const idle = { status: "idle", idle_reason: "missed_match" };
    assert.equal(folded(waiting, page([], { ...idle, cursor: 9 })).place, "waiting"); // more is to be read
    const state = folded(waiting, page([], { ...idle, cursor: 1 }));
    assert.deepEqual([state.place, ...texts(state)], ["over", "missed_match"]);
    assert.equal(folded(matched, page([], { status: "idle", idle_reason: "you_timed_out" })).place, "over");
  });

  it("tells of a hole in what is kept", () => {
    assert.deepEqual(texts(folded(matched, page([heard(60, "b")], { missed: true }))), ["found", "missed", "b"]);
  });

  it("tells when there is no sign of life for long, until there is one", () => {
    const silent = folded(matched, page([], { status: "chatting", partner_idle_seconds: 125 }));
    assert.equal(statusText(silent), "No sign of life from Ann for 2 minutes.");
    assert.equal(statusText(fold(silent, page([heard(6, "back")]))), "");
  });

  it("keeps no line for a reload that may be too large for a browser as well", () => {
    const typed = (message_id) => ({ kind: "typed", message_id, text: "hi" });
    const unsent = { kind: "unsent", message_id: "m1", code: "message_too_large" };
    assert.deepEqual(savedOf(folded(matched, typed("m1"), typed("m2"), unsent)).own.map(({ key }) => key), ["m2"]);
  });

  it("puts own lines among the others when the log is read again, and unsaid ones last", () => {
    const before = folded(
      matched,
      { kind: "typed", message_id: "m1", text: "mine" },
      { kind: "sent", message_id: "m1", timestamp: at(7) },
      { kind: "typed", message_id: "m2", text: "unsaid" },
    );
    const saved = JSON.parse(JSON.stringify(savedOf(before)));
    const told = { events: [found(5), heard(6, "a"), heard(8, "b")], cursor: 8, status: "chatting", room_id: ROOM, partner: "Ann" };
    const state = folded({ kind: "restored", saved }, { kind: "resumed", ...told });
    assert.deepEqual(texts(state), ["found", "a", "mine", "b", "unsaid"]);
    const other = { ...told, events: [found(9, "Cat", "r_2")], room_id: "r_2" };
    assert.deepEqual(texts(folded({ kind: "restored", saved }, { kind: "resumed", ...other })), ["found"]);
    assert.deepEqual(texts(folded({ kind: "restored", saved }, { kind: "resumed", ...told, status: "idle" })).at(-1), "you_timed_out");
  });
});

/** Time that the test moves. */
class Clock {
  #ms = 0;
  #timers = [];

  now = () => this.#ms;

  wait = (ms, signal) =>
    new Promise((done) => {
      if (signal?.aborted) return done();
      this.#timers.push({ at: this.#ms + ms, done });
      signal?.addEventListener("abort", () => done());
    });

  async advance(ms) {
    await settled();
    for (const end = this.#ms + ms; ; ) {
      const [next] = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at);
      if (!next) return void (this.#ms = end);
      this.#ms = next.at;
      this.#timers.splice(this.#timers.indexOf(next), 1);
      next.done();
      await settled();
    }
  }
}

const settled = () => new Promise((done) => setImmediate(done));

/** A broker that answers as the test says: `answers[name]` is a list of results, errors, or functions of the arguments. */
class Transport {
  calls = [];
  answers = {};

  async call(name, args) {
    this.calls.push({ name, ...args });
    const next = this.answers[name]?.shift();
    if (next === undefined) return new Promise(() => {});
    const result = typeof next === "function" ? await next(args) : next;
    if (result instanceof Error) throw result;
    return result;
  }

  named = (name) => this.calls.filter((call) => call.name === name);
}

function started(transport = new Transport(), more = {}) {
  const clock = new Clock();
  let ids = 0;
  return { clock, transport, session: new Session(transport, { clock, newId: () => `m${++ids}`, ...more }) };
}

const HERE = { handle: "cb_1", status: "matched", room_id: ROOM, partner: "Ann", cursor: 5 };
const down = () => new Error("no network");
const refused = (code, more = {}) => new Refusal({ code, error: code, ...more });

async function talking() {
  const there = started();
  there.transport.answers.chat_enter = [HERE];
  await there.session.enter({ display_name: "Bob" });
  await settled();
  return there;
}

describe("the words", () => {
  it("tells a place in the queue only while it is sure", () => {
    assert.equal(statusText(folded({ ...waiting, position: 3 })), "Looking for a stranger…");
    assert.equal(statusText(folded(waiting)), "Looking for a stranger… You are the next.");
  });

  it("asks to go on writing only where there is somebody to write to", () => {
    assert.match(statusText(folded(matched, { kind: "link", up: false })), /go on writing/);
    assert.equal(statusText(folded(waiting, { kind: "link", up: false })), "Reconnecting…");
  });

  it("says how long a rate limit lasts", () => {
    const refused = (retry_after_ms) => folded({ kind: "refused", code: "rate_limited", retry_after_ms });
    assert.equal(statusText(refused(8_000)), "That was too fast. Try again in a moment.");
    assert.equal(statusText(refused(200_000)), "That was too fast. Try again in 3 minutes.");
  });
});

describe("the session", () => {
  it("has one waiting call at a time, and goes on from the same cursor after 1, 2, 4 ... 15 seconds", async () => {
    const { transport, session, clock } = started();
    transport.answers.chat_enter = [HERE];
    transport.answers.wait_for_events = [down(), down(), down(), down(), down(), down(), { events: [heard(6, "a")], cursor: 6 }];
    await session.enter({});
    await settled();
    const waits = () => transport.named("wait_for_events").length;
    for (const [ms, count] of [[999, 1], [1, 2], [1_999, 2], [1, 3], [4_000, 4], [8_000, 5], [14_999, 5], [1, 6], [15_000, 8]]) {
      await clock.advance(ms);
      assert.equal(waits(), count);
    }
    assert.deepEqual(transport.named("wait_for_events").map(({ cursor }) => cursor), [5, 5, 5, 5, 5, 5, 5, 6]);
    assert.deepEqual(texts(session.state), ["found", "a"]);
  });

  it("tells that it reconnects after two seconds, and that it is back", async () => {
    const { transport, session, clock } = started();
    transport.answers.chat_enter = [HERE];
    transport.answers.wait_for_events = [down(), down(), { events: [], cursor: 5 }];
    await session.enter({});
    await clock.advance(1_999);
    assert.equal(session.state.link, true);
    await clock.advance(1);
    assert.equal(session.state.link, false);
    await clock.advance(1_000);
    assert.equal(session.state.link, true);
  });

  it("asks without waiting after a failure, so that it knows at once that the broker is back", async () => {
    const { transport, session, clock } = started();
    transport.answers.chat_enter = [HERE];
    transport.answers.wait_for_events = [down(), { events: [], cursor: 5 }];
    await session.enter({});
    await clock.advance(1_000);
    assert.deepEqual(transport.named("wait_for_events").map(({ wait_seconds }) => wait_seconds), [25, 0, 25]);
  });

  it("sends lines in order, one after the other, and waits out a rate limit", async () => {
    const { transport, session, clock } = await talking();
    const said = { success: true, timestamp: at(7) };
    transport.answers.send_message = [refused("rate_limited", { retry_after_ms: 700 }), said, said];
    session.say("one");
    session.say("two");
    await clock.advance(699);
    assert.deepEqual(transport.named("send_message").map(({ message }) => message), ["one"]);
    await clock.advance(1);
    assert.deepEqual(transport.named("send_message").map(({ message_id }) => message_id), ["m1", "m1", "m2"]);
    assert.deepEqual(session.state.lines.map(({ state }) => state), [undefined, "sent", "sent"]);
  });

  it("tries a line three times, says that it was not sent, and tries again under the same id", async () => {
    const { transport, session, clock } = await talking();
    transport.answers.send_message = [down(), down(), down(), { success: true, timestamp: at(7) }];
    session.say("one");
    await clock.advance(3_000);
    assert.deepEqual(session.state.lines.at(-1).state, "unsent");
    session.sayAgain("m1");
    await settled();
    assert.deepEqual(session.state.lines.at(-1).state, "sent");
    assert.deepEqual(transport.named("send_message").map(({ message_id }) => message_id), ["m1", "m1", "m1", "m1"]);
  });

  it("sends nothing that it has told was not sent", async () => {
    const { transport, session, clock } = await talking();
    transport.answers.send_message = [down(), { success: true, timestamp: at(7) }];
    transport.answers.leave_chat = [{ success: true }];
    session.say("one");
    await settled();
    session.leave();
    await clock.advance(60_000);
    assert.deepEqual(session.state.lines.find(({ key }) => key === "m1").state, "unsent");
    assert.equal(transport.named("send_message").length, 1);
  });

  it("keeps lines while the broker is away, and sends them once it is back", async () => {
    const { transport, session, clock } = started();
    transport.answers.chat_enter = [HERE];
    transport.answers.wait_for_events = [...Array(6).fill(down()), { events: [], cursor: 5 }];
    transport.answers.send_message = Array(4).fill(down());
    await session.enter({});
    await settled();
    session.say("one");
    await clock.advance(40_000);
    assert.equal(session.state.lines.at(-1).state, "sending");
    transport.answers.send_message = [{ success: true, timestamp: at(7) }];
    await clock.advance(5_000);
    assert.equal(session.state.lines.at(-1).state, "sent");
  });

  it("leaves at once, and tells the broker as soon as it can", async () => {
    const { transport, session, clock } = await talking();
    transport.answers.leave_chat = [down(), { success: true }];
    session.leave();
    assert.equal(session.state.place, "over");
    await clock.advance(1_000);
    assert.equal(transport.named("leave_chat").length, 2);
  });

  it("leaves a stranger who was found while it left the queue", async () => {
    const { transport, session } = started();
    transport.answers.chat_enter = [{ handle: "cb_1", status: "waiting", position: 1, cursor: 1 }];
    transport.answers.leave_queue = [refused("already_chatting", { room_id: ROOM, partner: "Ann", cursor: 5 })];
    transport.answers.leave_chat = [{ success: true }];
    await session.enter({});
    await session.leave();
    assert.deepEqual(transport.named("leave_chat").map(({ room_id }) => room_id), [ROOM]);
    assert.equal(session.state.place, "outside");
  });

  it("leaves the queue if it was left before the broker had answered", async () => {
    const { transport, session } = started();
    let answer;
    transport.answers.chat_enter = [() => new Promise((done) => (answer = done))];
    transport.answers.leave_queue = [{ success: true }];
    const entering = session.enter({});
    await settled();
    session.leave();
    answer({ handle: "cb_1", status: "waiting", position: 1, cursor: 1 });
    await entering;
    assert.deepEqual(transport.named("leave_queue").map(({ handle }) => handle), ["cb_1"]);
    assert.equal(session.state.place, "outside");
  });

  it("does one thing after the other: what was begun before undoes nothing", async () => {
    const { transport, session } = started();
    let answer;
    transport.answers.chat_enter = [() => new Promise((done) => (answer = done)), { ...HERE, handle: "cb_2" }];
    transport.answers.leave_queue = [{ success: true }];
    session.enter({});
    await settled();
    session.leave();
    const again = session.enter({});
    await settled();
    assert.equal(transport.named("chat_enter").length, 1);
    answer({ handle: "cb_1", status: "waiting", position: 1, cursor: 1 });
    await again;
    assert.deepEqual(transport.calls.slice(0, 3).map(({ name }) => name), ["chat_enter", "leave_queue", "chat_enter"]);
    assert.equal(session.state.place, "chatting");
  });

  it("looks for another if the chat ended while it went on to the next", async () => {
    const { transport, session } = await talking();
    transport.answers.next_partner = [refused("room_not_found")];
    transport.answers.chat_enter = [{ handle: "cb_1", status: "waiting", position: 1, cursor: 7 }];
    await session.next();
    assert.deepEqual([session.state.place, transport.calls.at(-2).handle], ["waiting", "cb_1"]);
  });

  it("enters again as the same, and as another if the broker has forgotten that one", async () => {
    const { transport, session } = await talking();
    transport.answers.leave_chat = [{ success: true }];
    session.leave();
    transport.answers.chat_enter = [refused("unknown_handle"), { ...HERE, handle: "cb_2", room_id: "r_2", cursor: 9 }];
    await session.enter();
    assert.deepEqual(transport.named("chat_enter").map(({ handle }) => handle), [undefined, "cb_1", undefined]);
    assert.equal(session.state.place, "chatting");
  });

  it("hears from the cursor of a new handle on, whatever it had heard before: the log may be another", async () => {
    const { transport, session } = await talking();
    transport.answers.leave_chat = [{ success: true }];
    session.leave();
    transport.answers.chat_enter = [refused("unknown_handle"), { handle: "cb_2", status: "waiting", position: 1, cursor: 2 }];
    await session.enter();
    assert.deepEqual([session.state.place, session.state.cursor], ["waiting", 2]);
  });

  it("does not take a status from before what the person wants now", async () => {
    const { transport, session } = await talking();
    let answer;
    transport.answers.wait_for_events = [];
    transport.answers.next_partner = [() => new Promise((done) => (answer = done))];
    const moving = session.next();
    await settled();
    assert.equal(session.state.place, "entering");
    answer({ handle: "cb_1", status: "waiting", position: 1, cursor: 7 });
    await moving;
    assert.deepEqual([session.state.place, session.state.cursor], ["waiting", 7]);
  });

  /** One whose stranger has gone, and who enters again; `entered` and `heard` answer that, and the read after it. */
  async function enteringAgain(transport) {
    const answers = {};
    const later = (name) => () => new Promise((done) => (answers[name] = done));
    const left = { events: [gone(6)], cursor: 6, status: "idle", idle_reason: "partner_left" };
    transport.answers.chat_enter = [HERE, later("entered")];
    transport.answers.wait_for_events = [left, later("heard"), later("heard again")];
    const there = started(transport);
    await there.session.enter({});
    await settled();
    assert.equal(there.session.state.place, "over");
    there.session.enter();
    await settled();
    return { ...there, answers };
  }

  it("does not take a status from before it had entered again", async () => {
    const transport = new Transport();
    transport.listen = async (handle, hears, signal) => {
      hears.opened();
      return new Promise((done, broke) => signal.addEventListener("abort", () => broke(signal.reason)));
    };
    const { session, answers } = await enteringAgain(transport);
    answers.entered({ handle: "cb_1", status: "waiting", position: 1, cursor: 7 });
    await settled();
    answers.heard({ events: [], cursor: 6, status: "idle", idle_reason: "partner_left", timed_out: false });
    await settled();
    assert.equal(session.state.place, "waiting");
  });

  it("does not wait for events while it enters, when no call of it would last", async () => {
    const { transport, session, clock, answers } = await enteringAgain(new Transport());
    await clock.advance(1_000);
    assert.deepEqual([session.state.place, transport.named("wait_for_events").length], ["entering", 1]);
    answers.entered({ handle: "cb_1", status: "waiting", position: 1, cursor: 7 });
    await clock.advance(1_000);
    assert.equal(transport.named("wait_for_events").at(-1).cursor, 7);
  });

  it("begins from the cursor of a new log, however far it had heard the old one", async () => {
    const { transport, session } = await talking();
    transport.answers.leave_chat = [{ success: true }];
    session.leave();
    const entered = { handle: "cb_2", status: "waiting", position: 1, cursor: 2 };
    transport.answers.chat_enter = [refused("unknown_handle"), entered];
    await session.enter();
    assert.deepEqual([session.state.place, session.state.cursor], ["waiting", 2]);
  });

  it("says that the broker has forgotten it, and forgets the handle", async () => {
    let kept = null;
    const store = { load: () => kept, save: (value) => (kept = value), clear: () => (kept = null) };
    const { transport, session } = started(new Transport(), { store });
    transport.answers.chat_enter = [HERE];
    transport.answers.wait_for_events = [refused("unknown_handle")];
    await session.enter({});
    await settled();
    assert.deepEqual([session.state.place, session.state.problem, kept], ["over", "unknown_handle", null]);
  });

  it("leaves a stranger who was found while it left a queue that it had only just entered", async () => {
    const { transport, session } = started();
    let answer;
    transport.answers.chat_enter = [() => new Promise((done) => (answer = done))];
    transport.answers.leave_queue = [refused("already_chatting", { room_id: ROOM, partner: "Ann", cursor: 5 })];
    transport.answers.leave_chat = [{ success: true }];
    const entering = session.enter({});
    await settled();
    session.leave();
    answer({ handle: "cb_1", status: "waiting", position: 1, cursor: 1 });
    await entering;
    assert.deepEqual(transport.named("leave_chat").map(({ room_id }) => room_id), [ROOM]);
  });

  it("blocks the stranger who was meant, also if another was found meanwhile", async () => {
    const { transport, session } = await talking();
    const { whom } = session;
    transport.answers.next_partner = [{ handle: "cb_1", status: "matched", room_id: "r_2", partner: "Cat", cursor: 9 }];
    transport.answers.block_partner = [{ success: true }];
    await session.next();
    await session.block(whom);
    assert.deepEqual(transport.named("block_partner").map(({ room_id }) => room_id), [ROOM]);
    const { place, partner, judged, lines } = session.state;
    assert.deepEqual([place, partner, judged, lines.at(-1).partner], ["chatting", "Cat", null, "Ann"]);
  });

  it("goes on looking when the last stranger is blocked meanwhile", async () => {
    const { transport, session } = await talking();
    let answer;
    transport.answers.next_partner = [() => new Promise((done) => (answer = done))];
    transport.answers.block_partner = [{ success: true }];
    const moving = session.next();
    await settled();
    await session.block(session.whom);
    answer({ handle: "cb_1", status: "waiting", position: 1, cursor: 7 });
    await moving;
    assert.deepEqual([session.state.place, session.state.judged], ["waiting", "blocked"]);
    assert.equal(transport.named("leave_queue").length, 0);
  });

  it("takes nothing from a reload back that the person has done since", async () => {
    const saved = { handle: "cb_1", profile: {}, state: savedOf(folded(matched)) };
    const store = { load: () => saved, save: () => {}, clear: () => {} };
    const { transport, session } = started(new Transport(), { store });
    let answer;
    transport.answers.get_status = [() => new Promise((done) => (answer = done))];
    transport.answers.wait_for_events = [{ events: [found(5)], cursor: 5 }, { events: [], cursor: 5, status: "chatting" }];
    const resuming = session.resume();
    await settled();
    session.leave();
    answer({ status: "chatting", room_id: ROOM, partner: "Ann", cursor: 4 });
    await resuming;
    assert.equal(session.state.place, "over");
  });

  it("says steadily that it is refused, until it hears again", async () => {
    const { transport, session, clock } = started();
    transport.answers.chat_enter = [HERE];
    const no = refused("forbidden");
    transport.answers.wait_for_events = [no, no, no, { events: [], cursor: 5, status: "chatting" }];
    await session.enter({});
    await settled();
    for (const ms of [0, 1_000, 2_000]) {
      await clock.advance(ms);
      assert.match(statusText(session.state), /^This server refuses calls/);
    }
    await clock.advance(4_000);
    assert.equal(statusText(session.state), "");
  });
});

describe("an answer", () => {
  it("is read from its text where a host has dropped the rest", () => {
    assert.deepEqual(answerOf({ content: [{ type: "text", text: '{"success":true}' }] }), { success: true });
    assert.throws(() => answerOf({ isError: true, content: [{ text: '{"code":"chat_ended","error":"x"}' }] }), Refusal);
  });
});

describe("the quotation for an assistant", () => {
  const quoted = (lines) => JSON.parse(quotation({ lines, partner: "Ann" }).split("\n\n").slice(2).join("\n\n")).conversation;

  it("has the newest of what was said, the beginning of a line that is too long, and nothing that was not sent", () => {
    const long = { who: "stranger", text: '"\u{1f4a5}'.repeat(4_000) };
    const [cut, ...none] = quoted([{ who: "you", text: "first" }, long]);
    assert.ok(none.length === 0 && cut.text.length > 1_000 && long.text.startsWith(cut.text.slice(0, -1)));
    assert.ok(quotation({ lines: [long], partner: "Ann" }).length < 7_000);
    const lines = [{ who: "you", text: "said", state: "sent" }, { who: "you", text: "unsaid", state: "unsent" }];
    assert.deepEqual(quoted(lines), [{ from: "me", text: "said" }]);
  });
});
