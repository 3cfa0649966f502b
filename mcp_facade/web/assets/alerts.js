// What calls a person back to the tab: its title, its icon, and a sound if that is wanted.

import { el, setText } from "./dom.js";
import { remember, remembered } from "./tab.js";

const TITLE = "Stranger chat";
const SOUND = "sound";
const BEEP_HZ = 660;
const BEEP_S = 0.15;

const icon = (dot) =>
  "data:image/svg+xml," +
  encodeURIComponent(
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><path fill='#2563a8' d='M2 2h12v9H7l-3 3v-3H2z'/>" +
      (dot ? "<circle cx='12' cy='4' r='4' fill='#d33'/></svg>" : "</svg>"),
  );

export class Alerts {
  #icon = el("link", { rel: "icon", href: icon(false) });
  #audio = null;
  #isOn = remembered(SOUND) === "on";

  constructor() {
    document.head.append(this.#icon);
    this.button = el("button", { type: "button", class: "quiet", onclick: () => this.#toggle() });
    this.#showSound();
  }

  /** Show what is unread of `state`, and sound if there is more than in `before`. */
  show(state, before) {
    const name = state.place === "chatting" ? `${state.partner} – ${TITLE}` : TITLE;
    setText(document.querySelector("title"), state.unread ? `(${state.unread}) ${name}` : name);
    if ((state.unread > 0) !== (before.unread > 0)) this.#icon.href = icon(state.unread > 0);
    const isFound = state.room !== null && state.room !== before.room;
    if (isFound || (state.unread > before.unread && state.room === before.room)) this.#beep();
  }

  #toggle() {
    this.#isOn = !this.#isOn;
    remember(SOUND, this.#isOn ? "on" : "off");
    this.#showSound();
    this.#beep();
  }

  #showSound() {
    setText(this.button, this.#isOn ? "Sound is on" : "Sound is off");
  }

  #beep() {
    if (!this.#isOn) return;
    this.#audio ??= new AudioContext();
    const [tone, gain, now] = [this.#audio.createOscillator(), this.#audio.createGain(), this.#audio.currentTime];
    tone.frequency.value = BEEP_HZ;
    gain.gain.setValueAtTime(0.1, now);
    gain.gain.exponentialRampToValueAtTime(0.001, now + BEEP_S);
    tone.connect(gain).connect(this.#audio.destination);
    tone.start();
    tone.stop(now + BEEP_S);
  }
}
