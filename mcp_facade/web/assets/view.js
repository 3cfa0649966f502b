// A conversation on a page: the stranger's name, what one can do, the transcript, how it stands, and the field.

import { Composer } from "./composer.js";
import { blockDialog, reportDialog } from "./dialogs.js";
import { el, setText } from "./dom.js";
import { Transcript } from "./transcript.js";
import { statusText } from "./words.js";

const ASK_AGAIN_MS = 3_000;
const LEAVE = "Press Esc again to leave.";
const NEXT = "Press Next again to leave and meet someone else.";

/** Keep a key that is held down from being a second press. */
const pressOnce = (event) => event.repeat && event.preventDefault();

export class View {
  #session;
  #clock;
  #asked = null;
  #state = null;

  /**
   * `tools` are more buttons, `layout(view, tools)` returns the element of it all, and `options` are those of the
   * transcript and the dialogs. `onSeen()` is called when the reader has come to the end of the transcript.
   */
  constructor(session, { clock, tools = [], layout = pageLayout, onSeen = () => {}, ...options }) {
    this.#session = session;
    this.#clock = clock;
    this.transcript = new Transcript({ onAgain: (key) => session.sayAgain(key), onSeen, ...options });
    this.composer = new Composer((text) => this.#say(text));
    const forDialogs = { ...options, onLost: () => this.#focus() };
    this.dialogs = { block: blockDialog(session, forDialogs), report: reportDialog(session, forDialogs) };
    this.name = el("bdi");
    this.buttons = this.#buttons();
    this.status = el("p", { role: "status", class: "status" });
    this.banner = el("p", { role: "alert", class: "banner" });
    this.element = layout(this, tools);
  }

  /** Show `state`. */
  show(state) {
    this.#state = state;
    const { place, lastRoom, judged } = state;
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    const isOver = place === "over" || place === "outside";
    setText(this.name, place === "chatting" || (isOver && lastRoom) ? state.partner : "Stranger chat");
    setText(this.status, statusText(state));
    const { next, leave, block, report, another, over } = this.buttons;
    next.hidden = place !== "chatting";
    leave.hidden = isOver;
    setText(leave, place === "chatting" ? "Leave" : "Cancel");
    another.hidden = over.hidden = !isOver;
    setText(another, state.problem === "unknown_handle" ? "Start again" : "Find another stranger");
    block.hidden = !lastRoom || judged !== null;
    report.hidden = !lastRoom || judged === "reported";
    if (this.#asked && isOver) this.#ask(null, "");
    this.transcript.show(state);
    if (focused && (!focused.isConnected || focused.closest("[hidden]"))) this.#focus();
  }

  /** Put the focus where one goes on, when what had it is gone. */
  #focus() {
    if (this.buttons.another.hidden) this.composer.focus();
    else this.buttons.another.focus();
  }

  /** Do what Esc does: ask first, then leave. */
  escape() {
    if (this.#state.place === "over" || this.#state.place === "outside") return;
    if (this.#asked !== LEAVE) return this.#ask(LEAVE);
    this.#ask(null);
    this.#session.leave();
  }

  #next() {
    if (this.#asked !== NEXT) return this.#ask(NEXT);
    this.#ask(null);
    this.#session.next();
    this.composer.focus();
  }

  async #ask(question) {
    this.#asked = question;
    setText(this.banner, question || "");
    this.buttons.next.classList.toggle("asked", question === NEXT);
    if (question === null) return;
    await this.#clock.wait(ASK_AGAIN_MS);
    if (this.#asked === question) this.#ask(null);
  }

  #say(text) {
    const isSaid = this.#session.say(text);
    if (!isSaid && text.trim()) setText(this.banner, "There is no stranger to say it to yet: it stays in the field.");
    else if (!this.#asked) setText(this.banner, "");
    return isSaid;
  }

  #buttons() {
    const button = (text, onclick, more = {}) => el("button", { type: "button", onclick, ...more }, text);
    return {
      next: button("Next", () => this.#next(), { onkeydown: pressOnce }),
      leave: button("Leave", () => this.#session.leave()),
      block: button("Block", () => this.dialogs.block.open(), { class: "quiet" }),
      report: button("Report", () => this.dialogs.report.open(), { class: "quiet" }),
      another: button("Find another stranger", () => this.#another(), { class: "go" }),
      over: button("Begin anew", () => this.#session.startOver()),
    };
  }

  #another() {
    this.#session.enter();
    this.composer.focus();
  }
}

function pageLayout({ name, transcript, status, banner, composer, buttons, dialogs }, tools) {
  const { next, leave, block, report, another, over } = buttons;
  return el(
    "section",
    { class: "talk", "aria-label": "Chat" },
    el("header", {}, el("h1", {}, name), el("div", { class: "main" }, next, leave)),
    el("div", { class: "aside" }, el("span", {}, "A person or a program that you don't know"), ...tools, block, report),
    transcript.element,
    el("div", { class: "after" }, another, over),
    status,
    banner,
    composer.element,
    ...Object.values(dialogs).map(({ element }) => element),
  );
}
