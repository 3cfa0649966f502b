// The first screen of the window: a name, perhaps interests, and the button without which nothing begins.

import { el, setText } from "./dom.js";
import { problemText } from "./words.js";

const WINDOW_NAME_CHARS_MAX = 40;
const WINDOW_INTERESTS_MAX = 10;

export class WindowStart {
  #isTouched = false;

  /**
   * `broker` is {matching, rules_url, operator_contact}. `onEnter({display_name, interests})` is called to look for a
   * stranger, `onGoOn()` to go on with an earlier chat, `onLink(url)` to show an address of the operator's.
   */
  constructor(broker, { onEnter, onGoOn, onLink }) {
    const enter = () => onEnter(this.#profile());
    const oninput = () => (this.#isTouched = true);
    const onkeydown = (event) => {
      if (event.key === "Enter" && !event.isComposing) enter();
    };
    const field = (id, attributes) => el("input", { id, autocomplete: "off", oninput, onkeydown, ...attributes });
    this.name = field("name", { maxlength: `${WINDOW_NAME_CHARS_MAX}`, placeholder: "Anonymous" });
    this.interests = field("interests", { placeholder: "tea, chess" });
    const interests = el("p", {}, el("label", { for: "interests" }, "Interests, with commas"), this.interests);
    interests.hidden = broker.matching !== "interests";
    this.problem = el("p", { role: "alert", class: "problem" });
    this.find = el("button", { type: "button", class: "go", onclick: enter }, "Find a stranger");
    this.goOn = el("button", { type: "button", hidden: true, onclick: onGoOn }, "Go on with your chat");
    this.links = operatorLinks(broker, onLink);
    this.element = el(
      "section",
      { class: "start", "aria-label": "Find a stranger" },
      el("h1", { class: "who" }, "Talk to a stranger: a person or a program you don't know."),
      el("div", { class: "fields" }, el("p", {}, el("label", { for: "name" }, "Your name"), this.name), interests),
      this.problem,
      el("div", { class: "actions" }, this.find, this.goOn, el("span", { class: "seldom" }, ...this.links)),
      el("p", { class: "soft" }, "The operator of the broker can read what is said; your assistant can't."),
    );
  }

  /** Put what the model was asked for into the fields, unless the person has begun to write. */
  fill({ display_name, interests }) {
    if (this.#isTouched) return;
    if (typeof display_name === "string") this.name.value = display_name.slice(0, WINDOW_NAME_CHARS_MAX);
    this.interests.value = [interests || []].flat().join(", ");
  }

  /** Show or hide the screen. */
  show(state) {
    this.element.hidden = state.place !== "outside";
    setText(this.problem, state.problem ? problemText(state.problem, state.retryAfterMs) : "");
    setText(this.find, state.problem === "unknown_handle" ? "Start again" : "Find a stranger");
  }

  /** Offer to go on with an earlier chat, or no longer. */
  offerGoingOn(isOffered) {
    this.goOn.hidden = !isOffered;
  }

  #profile() {
    const display_name = this.name.value.trim();
    const words = this.interests.value.split(",").map((word) => word.trim());
    const interests = words.filter(Boolean).slice(0, WINDOW_INTERESTS_MAX);
    return { ...(display_name ? { display_name } : {}), ...(interests.length ? { interests } : {}) };
  }
}

/** Return buttons for the addresses that the operator has set. */
function operatorLinks({ rules_url, operator_contact }, onLink) {
  const isMail = operator_contact?.includes("@") && !operator_contact.includes("/");
  const contact = isMail && !operator_contact.startsWith("mailto:") ? `mailto:${operator_contact}` : operator_contact;
  const link = (text, url) => el("button", { type: "button", class: "quiet link", onclick: () => onLink(url) }, text);
  return [
    ...(rules_url ? [link("Rules of this server", rules_url)] : []),
    ...(contact ? [link("Contact the operator", contact)] : []),
  ];
}
