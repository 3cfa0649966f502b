// The first screen: a name, who is here, the rules, and one button.

import { el, isOfInputMethod, setText } from "./dom.js";
import { problemText } from "./words.js";

const LOBBY_EVERY_MS = 5_000;
const NAME_CHARS_MAX = 40;
const INTERESTS_MAX = 10;
const RULES = [
  "A stranger is a person or a program, and you don't learn who.",
  "Whoever runs this server can read what is said: keep private things to yourself.",
  "You can leave at any time, and block or report a stranger, also after the chat.",
];

export class Start {
  #clock;
  #transport;
  #interests = [];
  #isWatching = false;

  /** `onEnter({display_name, interests})` is called to look for a stranger. */
  constructor(transport, { clock, onEnter }) {
    this.#transport = transport;
    this.#clock = clock;
    this.name = el("input", { id: "name", maxlength: `${NAME_CHARS_MAX}`, autocomplete: "nickname", placeholder: "Anonymous" });
    this.counts = el("p", { class: "counts" });
    this.problem = el("p", { role: "alert", class: "problem" });
    this.links = el("p", { class: "links" });
    this.chips = this.#interestField();
    const enter = (event) => {
      event.preventDefault();
      this.#addInterest();
      onEnter(this.#profile());
    };
    this.element = el(
      "section",
      { class: "start", "aria-labelledby": "start-title" },
      el("h1", { id: "start-title" }, "Talk to a stranger"),
      this.counts,
      el(
        "form",
        { onsubmit: enter },
        el("label", { for: "name" }, "Your name (optional)"),
        this.name,
        this.chips,
        this.problem,
        el("button", { class: "go" }, "Find a stranger"),
      ),
      el("ul", { class: "rules" }, ...RULES.map((rule) => el("li", {}, rule))),
      this.links,
    );
  }

  /** Show or hide the screen; while it is in sight, who is here is kept up to date. */
  show(state) {
    this.element.hidden = state.place !== "outside";
    setText(this.problem, state.problem ? problemText(state.problem, state.retryAfterMs) : "");
    if (!this.element.hidden && !this.#isWatching) this.#watchLobby();
  }

  async #watchLobby() {
    this.#isWatching = true;
    while (!this.element.hidden) {
      if (!document.hidden) await this.#transport.lobby().then((lobby) => this.#showLobby(lobby), () => {});
      await this.#clock.wait(LOBBY_EVERY_MS);
    }
    this.#isWatching = false;
  }

  #showLobby({ waiting, chatting, matching, rules_url, operator_contact }) {
    setText(this.counts, `${waiting} waiting, ${chatting} chatting`);
    this.chips.hidden = matching !== "interests";
    const links = [];
    if (rules_url) links.push(el("a", { href: rules_url, target: "_blank", rel: "noopener" }, "Rules of this server"));
    if (operator_contact) links.push(contactLink(operator_contact));
    const isSame = links.map(({ href }) => href).join() === Array.from(this.links.children, ({ href }) => href).join();
    if (!isSame) this.links.replaceChildren(...links);
  }

  #profile() {
    const display_name = this.name.value.trim();
    return { ...(display_name ? { display_name } : {}), ...(this.#interests.length ? { interests: this.#interests } : {}) };
  }

  #interestField() {
    this.interest = el("input", {
      id: "interest",
      autocomplete: "off",
      onkeydown: (event) => {
        if ((event.key !== "Enter" && event.key !== ",") || isOfInputMethod(event) || !this.interest.value.trim()) return;
        event.preventDefault();
        this.#addInterest();
      },
    });
    this.chosen = el("ul", { class: "chips", "aria-label": "Your interests" });
    this.full = el("p", { role: "status" });
    const add = el("button", { type: "button", onclick: () => this.#addInterest() }, "Add");
    const label = el("label", { for: "interest" }, "Interests (optional)");
    return el("div", { class: "interests", hidden: true }, label, el("div", { class: "row" }, this.interest, add), this.full, this.chosen);
  }

  #addInterest() {
    const typed = this.interest.value.split(",").map((one) => one.trim());
    const all = [...new Set([...this.#interests, ...typed])].filter(Boolean);
    this.#interests = all.slice(0, INTERESTS_MAX);
    this.interest.value = all.slice(INTERESTS_MAX).join(", ");
    setText(this.full, this.interest.value ? `That makes more than ${INTERESTS_MAX}: remove one first, or leave the rest out.` : "");
    this.#showChosen();
  }

  #showChosen() {
    const chip = (interest) => {
      const remove = () => {
        this.#interests = this.#interests.filter((other) => other !== interest);
        this.#showChosen();
        this.interest.focus();
      };
      return el("li", {}, el("button", { type: "button", "aria-label": `Remove ${interest}`, onclick: remove }, interest, " ×"));
    };
    this.chosen.replaceChildren(...this.#interests.map(chip));
  }
}

function contactLink(contact) {
  const isMail = contact.includes("@") && !contact.includes("/");
  const href = isMail && !contact.startsWith("mailto:") ? `mailto:${contact}` : contact;
  return el("a", { href, target: "_blank", rel: "noopener" }, "Contact the operator");
}
