// The field at the bottom, which is never disabled.

import { el, isOfInputMethod } from "./dom.js";

export class Composer {
  /** `onSay(text)` returns whether it was taken; what was not stays in the field. */
  constructor(onSay) {
    this.#onSay = onSay;
    this.field = el("textarea", {
      rows: "1",
      placeholder: "Say something",
      "aria-label": "Message",
      enterkeyhint: "send",
      autocomplete: "off",
      onkeydown: (event) => this.#pressed(event),
      oninput: () => this.#grow(),
    });
    const send = el("button", { type: "button", class: "send", onclick: () => this.#say() }, "Send");
    this.element = el("div", { class: "composer" }, this.field, send); // no form: a sandbox may forbid to submit one
  }

  #onSay;

  focus() {
    this.field.focus();
  }

  #pressed(event) {
    if (event.key !== "Enter" || event.shiftKey || isOfInputMethod(event)) return;
    event.preventDefault();
    this.#say();
  }

  #say() {
    if (this.#onSay(this.field.value)) this.field.value = "";
    this.#grow();
    this.focus();
  }

  #grow() {
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight + 2}px`;
  }
}
