// The transcript: a list to which lines are appended, and which follows its end only while that is in sight.

import { el, setText } from "./dom.js";
import { noteText, problemText } from "./words.js";

const AT_END_PX = 48;
const HOPELESS = ["message_too_large", "message_empty"]; // said again, it would be refused again
const SPEAKERS = { stranger: "Stranger: ", you: "You: " }; // for screen readers, who hear no colours

export class Transcript {
  #onAgain;
  #hasNames;
  #chat = null;
  #room = null;
  #items = new Map();
  #fresh = 0;
  #isFollowing = true;
  #height = 0;

  /**
   * `onAgain(key)` is called to send an own line again, `onSeen()` when the reader comes to the end. `hasNames`: each
   * line begins with the name of its speaker, in sight.
   */
  constructor({ onAgain, onSeen = () => {}, hasNames = false }) {
    this.#onAgain = onAgain;
    this.#hasNames = hasNames;
    this.list = el("ol"); // a list may not be a log itself (ARIA in HTML)
    const live = { "aria-live": "polite", "aria-relevant": "additions", "aria-label": "Conversation" };
    this.log = el("div", { role: "log", tabindex: "0", ...live, onscroll: () => this.#scrolled(onSeen) }, this.list);
    this.jump = el("button", { type: "button", class: "jump", hidden: true, onclick: () => this.toEnd() });
    this.element = el("div", { class: "transcript" }, this.log, this.jump);
    new ResizeObserver(() => this.#resized()).observe(this.log);
  }

  get isAtEnd() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < AT_END_PX;
  }

  /** Show the lines of `state`. */
  show(state) {
    if (state.chat !== this.#chat) this.#clear(state.chat);
    if (state.room !== this.#room) this.#showRoom(state);
    const added = state.lines.filter((line) => this.#showLine(line, state));
    if (added.length === 0) return;
    if (this.#isFollowing || added.some(({ who }) => who === "you")) this.toEnd();
    else this.#count(this.#fresh + added.length);
  }

  toEnd() {
    this.#isFollowing = true;
    this.log.scrollTop = this.log.scrollHeight;
    this.#count(0);
  }

  #clear(chat) {
    this.#chat = chat;
    this.#isFollowing = true;
    this.#items.clear();
    this.list.replaceChildren();
    this.#count(0);
  }

  /** Have no line offer what can be done in an open room alone. */
  #showRoom(state) {
    this.#room = state.room;
    for (const item of this.#items.values()) if (item.line.state === "unsent") this.#showState(item, item.line, state);
  }

  /** Append a line, or show what has changed of it; return whether it is new. */
  #showLine(line, state) {
    const known = this.#items.get(line.key);
    if (known && known.line === line) return false;
    const item = known || this.#append(line, state);
    item.line = line;
    if (line.who === "you") this.#showState(item, line, state);
    return !known;
  }

  #append(line, { partner }) {
    const isNote = line.who === "note"; // a note is ours, whichever way the name in it is written
    const text = el("span", { class: "text", dir: isNote ? null : "auto" }, isNote ? noteText(line) : line.text);
    const item = { element: el("li", { class: line.who }), state: el("span", { class: "state" }) };
    if (line.who !== "note") item.element.append(this.#speaker(line.who, partner));
    item.element.append(text);
    if (line.who === "you") item.element.append(item.state);
    this.#items.set(line.key, item);
    this.list.append(item.element);
    return item;
  }

  #speaker(who, partner) {
    if (!this.#hasNames) return el("span", { class: "hidden" }, SPEAKERS[who]);
    return el("bdi", { class: "speaker" }, who === "you" ? "you" : partner);
  }

  #showState({ element, state: shown }, line, { room }) {
    element.dataset.state = line.state;
    if (line.state !== "unsent") return shown.replaceChildren(line.state === "sending" ? " …" : "");
    const again = el("button", { type: "button", onclick: () => this.#onAgain(line.key) }, "try again");
    const why = line.code === "unreachable" ? "" : `: ${problemText(line.code)}`;
    shown.replaceChildren(` not sent${why}`, ...(room && !HOPELESS.includes(line.code) ? [" · ", again] : []));
  }

  /** Keep the end in sight when a keyboard or a line below takes some of the height. */
  #resized() {
    this.#height = this.log.clientHeight;
    if (this.#isFollowing) this.toEnd();
  }

  #scrolled(onSeen) {
    if (this.log.clientHeight !== this.#height) return; // it was not the reader who scrolled
    this.#isFollowing = this.isAtEnd;
    if (!this.#isFollowing) return;
    this.#count(0);
    onSeen();
  }

  #count(fresh) {
    this.#fresh = fresh;
    if (fresh === 0 && document.activeElement === this.jump) this.log.focus({ preventScroll: true });
    this.jump.hidden = fresh === 0;
    setText(this.jump, `${fresh} new ↓`);
  }
}
