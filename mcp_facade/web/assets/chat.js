// What is known of one person's chat: the state, the handle, and what has to outlive a reload.

import { fold, initial, isThere, savedOf } from "./fold.js";

const NOTHING = { load: () => null, save: () => {}, clear: () => {} };

/** Holds the state; everything that changes it goes through `dispatch`, and `listeners` are told. */
export class Chat {
  state = initial;
  handle = null;
  profile = {};
  /** Changes with each wish of the person: an answer to what was asked before does not tell the place any more. */
  epoch = 0;
  isResuming = false;
  listeners = [];
  #store;

  constructor(store = NOTHING) {
    this.#store = store;
  }

  /** Return whether the broker has to be listened to. */
  get isWanted() {
    const isMoving = this.state.place === "entering" && this.handle !== null;
    return !this.isResuming && (isThere(this.state) || isMoving);
  }

  dispatch(happening) {
    const before = this.state;
    this.state = fold(before, happening);
    if (this.state === before) return;
    if (this.handle) this.#store.save({ handle: this.handle, profile: this.profile, state: savedOf(this.state) });
    for (const listener of this.listeners) listener(this.state, before);
  }

  /** Forget the handle; what comes next is said as another. */
  forget() {
    ++this.epoch;
    this.handle = null;
    this.#store.clear();
  }

  /** Take what `store` holds from before a reload; return whether there is anything. */
  restore() {
    const saved = this.#store.load();
    if (!saved || !saved.handle) return false;
    [this.handle, this.profile] = [saved.handle, saved.profile];
    this.dispatch({ kind: "restored", saved: saved.state });
    return true;
  }
}
