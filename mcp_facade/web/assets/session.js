// One person's chat over a transport: what the person can do. `Hearing` does the rest.
//
// A transport has `call(name, args)`, which returns a tool's payload or throws (a `Refusal` if the broker answered), and
// perhaps
//   `listen(handle, hears, signal)`: a stream. It calls `hears.opened()`, then `hears.event({method, params})` for each
//      notification and `hears.alive()` for each sign of life. It resolves to `false` if there can be no stream now, to
//      `true` once it has ended, and rejects if it broke or `signal` was aborted.
//   `polling()`: {waitSeconds, pauseMs} of the next `wait_for_events` where there is no stream; else 25 s, without a pause.
// A clock has `now()` in ms, and `wait(ms, signal)`, which resolves after that time, or once `signal` is aborted.
// A store has `load()`, `save(value)` and `clear()`.

import { Chat } from "./chat.js";
import { Hearing } from "./hearing.js";
import { Link } from "./link.js";
import { Outbox } from "./outbox.js";

const ENTER = "chat_enter";
const JUDGE_TRIES = 3;
const ENDED = ["room_not_found", "chat_ended"];

export class Session {
  #chat;
  #link;
  #outbox;
  #hearing;
  #newId;
  #moving = Promise.resolve(); // what was begun last in the queue: one thing at a time, or an old one undoes a new one

  /** `newId()` returns a new id of a message; `onChange(state, before)` is called after each change. */
  constructor(transport, { clock, newId, store, onChange = () => {} }) {
    this.#chat = new Chat(store);
    this.#newId = newId;
    this.#link = new Link(transport, clock, (up) => this.#chat.dispatch({ kind: "link", up }));
    this.#hearing = new Hearing(transport, clock, this.#link, this.#chat, () => this.#forgotten());
    this.#outbox = new Outbox(this.#link, this.#chat, () => this.#hearing.check());
    this.#chat.listeners.push(onChange, () => this.#hearing.update());
  }

  get state() {
    return this.#chat.state;
  }

  /** The name and interests given last. */
  get profile() {
    return this.#chat.profile;
  }

  /** Look for a stranger. With a handle of an earlier chat, it is that connection which enters, so blocks hold. */
  async enter(profile = this.profile) {
    const epoch = ++this.#chat.epoch;
    this.#chat.profile = profile;
    this.#chat.dispatch({ kind: "entering" });
    await this.#move(() => this.#find(epoch, () => this.#enter(epoch)));
  }

  /** Leave this stranger, and look for another. */
  async next() {
    const { room } = this.state;
    if (!room) return;
    const epoch = ++this.#chat.epoch;
    this.#outbox.giveUp("chat_ended");
    this.#chat.dispatch({ kind: "entering" });
    const move = async () => {
      try {
        return await this.#attempt(epoch, "next_partner", { room_id: room, handle: this.#chat.handle });
      } catch (error) {
        if (!ENDED.includes(error.code)) throw error;
        return this.#enter(epoch);
      }
    };
    await this.#move(() => this.#find(epoch, move));
  }

  /** Leave the room or the queue: at once here, and at the broker as soon as it can be reached. */
  leave() {
    const { room } = this.state;
    const epoch = ++this.#chat.epoch;
    this.#outbox.giveUp("chat_ended");
    this.#chat.dispatch({ kind: "left" });
    return this.#move(() => this.#leave(epoch, this.#chat.handle, room));
  }

  /** Say `text`: it is a line at once, and is sent when its turn comes. Return whether there is anybody to say it to. */
  say(text) {
    const { room } = this.state;
    if (!room || !text.trim()) return false;
    const message_id = this.#newId();
    this.#chat.dispatch({ kind: "typed", message_id, text });
    this.#outbox.add({ room_id: room, message: text, message_id });
    return true;
  }

  /** Try again to say a line that was not sent; the broker never says one twice. */
  sayAgain(message_id) {
    const line = this.state.lines.find(({ key }) => key === message_id);
    if (!line || line.state !== "unsent" || !this.state.room) return;
    this.#chat.dispatch({ kind: "sending", message_id });
    this.#outbox.add({ room_id: this.state.room, message: line.text, message_id });
  }

  /** The stranger of this chat, or of the last one: {room, partner}. */
  get whom() {
    return { room: this.state.lastRoom, partner: this.state.partner };
  }

  /** Never meet `whom` again; it ends a chat with them. Throws a `Refusal`, or the fault that kept it from being done. */
  block(whom) {
    return this.#judge(whom, "block_partner", {}, "blocked");
  }

  /** Report `whom` to the operator, and block; throws as `block`. */
  report(whom, category, note) {
    return this.#judge(whom, "report_partner", note ? { category, note } : { category }, "reported");
  }

  /** Go back to the beginning, as another person. */
  startOver() {
    this.#chat.forget();
    this.#chat.dispatch({ kind: "started_over" });
  }

  /** Go on with what the store holds from before a reload; return whether there was anything. */
  async resume() {
    this.#chat.isResuming = true;
    if (!this.#chat.restore()) return (this.#chat.isResuming = false);
    const epoch = ++this.#chat.epoch;
    try {
      const told = await this.#readAgain(epoch);
      this.#chat.isResuming = false;
      if (epoch === this.#chat.epoch) this.#resumed(told);
    } catch (error) {
      this.#chat.isResuming = false;
      this.#refused(error, epoch);
    }
    this.#hearing.update(); // it was kept from running, also where the person has left meanwhile, or gone on
    return true;
  }

  /** Note that the person has seen everything. */
  seen() {
    this.#chat.dispatch({ kind: "seen" });
  }

  /** Try again now: the network is back, or the person is. */
  wake() {
    this.#link.wake();
    this.#hearing.check();
  }

  #move(work) {
    this.#link.wake();
    this.#moving = this.#moving.then(work);
    return this.#moving;
  }

  async #enter(epoch) {
    const { handle, profile } = this.#chat;
    try {
      return await this.#attempt(epoch, ENTER, handle ? { ...profile, handle } : profile);
    } catch (error) {
      if (!handle || error.code !== "unknown_handle") throw error;
      return this.#attempt(epoch, ENTER, profile); // nothing is lost: there is no chat
    }
  }

  async #find(epoch, entering) {
    try {
      const result = await entering();
      if (epoch !== this.#chat.epoch) return await this.#leave(this.#chat.epoch, result.handle, result.room_id);
      const isNew = result.handle !== this.#chat.handle; // then cursors of before mean nothing: the log may be another
      this.#chat.handle = result.handle;
      this.#chat.dispatch({ kind: "entered", ...result, isNew });
    } catch (error) {
      if (error.code !== "already_chatting" || epoch !== this.#chat.epoch) return this.#refused(error, epoch);
      this.#chat.dispatch({ kind: "entered", ...error.payload, status: "matched" });
    }
  }

  #attempt(epoch, name, args) {
    return this.#link.attempt(name, args, { isLate: () => epoch !== this.#chat.epoch });
  }

  #refused({ code = "unavailable", retry_after_ms = 0 }, epoch) {
    if (epoch !== this.#chat.epoch) return;
    if (code === "unknown_handle") this.#forgotten();
    else this.#chat.dispatch({ kind: "refused", code, retry_after_ms });
  }

  async #leave(epoch, handle, room_id) {
    if (!handle) return;
    try {
      await this.#link.attempt(...(room_id ? ["leave_chat", { room_id, handle }] : ["leave_queue", { handle }]));
    } catch (error) {
      // A stranger was found while we left the queue: leave that one too, unless the person is back by now.
      const found = error.code === "already_chatting" && epoch === this.#chat.epoch;
      if (found) await this.#leave(epoch, handle, error.payload.room_id);
    }
  }

  async #judge({ room, partner }, name, args, kind) {
    const { handle } = this.#chat;
    await this.#link.attempt(name, { room_id: room, handle, ...args }, { tries: JUDGE_TRIES });
    if (handle !== this.#chat.handle) return;
    if (this.state.room === room) {
      ++this.#chat.epoch;
      this.#outbox.giveUp("chat_ended");
    }
    this.#chat.dispatch({ kind, room, partner });
  }

  /** Return where the broker has us, and every event of the last room. */
  async #readAgain(epoch) {
    const { handle } = this.#chat;
    const there = await this.#attempt(epoch, "get_status", { handle });
    const events = [];
    for (let { cursor } = there, missed = false; ; ) {
      const page = await this.#attempt(epoch, "wait_for_events", { cursor, wait_seconds: 0, handle });
      events.push(...page.events);
      missed ||= page.missed === true;
      const isLast = page.events.length === 0 && page.cursor === cursor;
      cursor = page.cursor;
      if (isLast) return { ...there, ...page, events, cursor, missed };
    }
  }

  /** Take where the broker has us, and send the lines that were on their way when the page was reloaded. */
  #resumed(told) {
    this.#chat.dispatch({ kind: "resumed", ...told });
    const rest = this.state.lines.filter(({ state }) => state === "sending");
    for (const { key, text } of rest) this.#outbox.add({ room_id: this.state.lastRoom, message: text, message_id: key });
  }

  #forgotten() {
    this.#outbox.giveUp("unknown_handle");
    this.#chat.forget();
    this.#chat.dispatch({ kind: "forgotten" });
  }
}
