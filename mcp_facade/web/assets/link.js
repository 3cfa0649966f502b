// Calls that may fail: tried again, after 1, 2, 4 ... 15 seconds, or as late as a rate limit says.

import { Refusal } from "./answers.js";

const RECONNECT_MAX_MS = 15_000;
const PATIENCE_MS = 15_000; // a rate limit that lasts longer is told
const NO_ANSWERS = ["unavailable", "host_refused"];
const DOWN_AFTER_MS = 2_000;

export const delayMs = (failures) => Math.min(1_000 * 2 ** failures, RECONNECT_MAX_MS);

/** Return whether trying the same again would bring the same. */
export function isFinal(error) {
  if (!(error instanceof Refusal) || error.code === "unavailable") return false;
  return error.code !== "rate_limited" || error.retry_after_ms > PATIENCE_MS;
}

/** The way to the broker: what is known of it goes to `onChange(isUp)`, once a failure has lasted two seconds. */
export class Link {
  #transport;
  #clock;
  #onChange;
  #wake = new AbortController();
  #broken = null;

  constructor(transport, clock, onChange) {
    this.#transport = transport;
    this.#clock = clock;
    this.#onChange = onChange;
  }

  get isBroken() {
    return this.#broken !== null;
  }

  /** Call once. */
  async call(name, args) {
    try {
      const result = await this.#transport.call(name, args);
      this.#reached();
      return result;
    } catch (error) {
      if (error instanceof Refusal && !NO_ANSWERS.includes(error.code)) this.#reached();
      throw error;
    }
  }

  /** Call until there is an answer that is final, at most `tries` times, or until `isLate()`; throw otherwise. */
  async attempt(name, args, { tries = Infinity, isLate = () => false } = {}) {
    for (let failures = 0; ; ) {
      try {
        return await this.call(name, args);
      } catch (error) {
        if (isLate() || isFinal(error)) throw error;
        if (error.code === "rate_limited") await this.#clock.wait(error.retry_after_ms);
        else if (++failures >= tries) throw error;
        else {
          this.failed();
          await this.pause(delayMs(failures - 1));
          if (isLate()) throw error;
        }
      }
    }
  }

  /** Wait `ms`, or until `wake`. */
  pause(ms) {
    return this.#clock.wait(ms, this.#wake.signal);
  }

  /** End every pause. */
  wake() {
    const wake = this.#wake;
    this.#wake = new AbortController();
    wake.abort();
  }

  /** Note a failure. */
  failed() {
    if (this.isBroken) return;
    const broken = (this.#broken = {});
    this.#clock.wait(DOWN_AFTER_MS).then(() => {
      if (this.#broken === broken) this.#onChange(false);
    });
  }

  #reached() {
    if (!this.isBroken) return;
    this.#broken = null;
    this.#onChange(true);
    this.wake();
  }
}
