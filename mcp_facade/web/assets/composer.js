// The field at the bottom, which is never disabled.

import { el } from "./dom.js";

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
    const submit = (event) => {
      event.preventDefault();
      this.#say();
    };
    this.element = el("form", { class: "composer", onsubmit: submit }, this.field, el("button", { class: "send" }, "Send"));
  }

  #onSay;

  focus() {
    this.field.focus();
  }

  #pressed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
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
