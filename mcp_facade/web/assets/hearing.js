// The loop that hears what the broker has to say, from the cursor on: by a stream, or by one `wait_for_events` at a time.

import { delayMs, isFinal } from "./link.js";

const STREAM_SILENT_MS = 40_000; // the broker gives a sign of life every 15 s
const LOOK_EVERY_MS = 15_000; // a stream does not tell how long the stranger has been silent
const ENTERING_MS = 250;
const POLLING = { waitSeconds: 25, pauseMs: 0 };

export class Hearing {
  #transport;
  #clock;
  #link;
  #chat;
  #isRunning = false;
  #failures = 0;
  #stream = null;

  /** `onForgotten` is called when the broker does not know the handle any more. */
  constructor(transport, clock, link, chat, onForgotten) {
    this.#transport = transport;
    this.#clock = clock;
    this.#link = link;
    this.#chat = chat;
    this.onForgotten = onForgotten;
  }

  /** Run the loop while it is wanted. */
  update() {
    if (!this.#chat.isWanted) this.#stream?.abort();
    else if (!this.#isRunning) this.#run();
  }

  /** Find out whether the broker can still be reached, although a stream seems to be open. */
  check() {
    const stream = this.#stream;
    if (stream) this.#look().catch((error) => stream.abort(error));
  }

  async #run() {
    this.#isRunning = true;
    while (this.#chat.isWanted) {
      const { handle } = this.#chat;
      try {
        if (await this.#listen()) throw new Error("the stream has ended");
        if (this.#chat.isWanted) await this.#poll();
        this.#failures = 0;
      } catch (error) {
        if (error.code === "unknown_handle") this.#forgotten(handle);
        else if (error.code === "rate_limited") await this.#clock.wait(error.retry_after_ms);
        else if (this.#chat.isWanted) {
          if (isFinal(error)) this.#chat.dispatch({ kind: "hindered", code: error.code });
          else this.#link.failed();
          await this.#link.pause(delayMs(this.#failures++));
        }
      }
    }
    this.#isRunning = false;
  }

  #forgotten(handle) {
    if (handle === this.#chat.handle) this.onForgotten();
  }

  async #poll() {
    if (this.#chat.state.place === "entering") return this.#clock.wait(ENTERING_MS); // a wait would end at once
    const { waitSeconds, pauseMs } = this.#transport.polling?.() || POLLING;
    await this.#hear(this.#failures ? 0 : waitSeconds); // an answer at once tells that the broker is back
    if (pauseMs && this.#chat.isWanted) await this.#link.pause(pauseMs);
  }

  /** Ask once for what came after the cursor; return whether there may be more. */
  async #hear(wait_seconds) {
    const { epoch, handle, state } = this.#chat;
    const page = await this.#link.call("wait_for_events", { cursor: state.cursor, wait_seconds, handle });
    if (handle !== this.#chat.handle) return false;
    const isOld = epoch !== this.#chat.epoch || state.place !== this.#chat.state.place;
    if (isOld) page.status = undefined; // it is from before what the person wants now, or from before it was done
    this.#chat.dispatch({ kind: "heard", ...page });
    return page.events.length > 0 || page.cursor > state.cursor;
  }

  /** Hear everything up to now. */
  async #look() {
    while (this.#chat.isWanted && (await this.#hear(0)));
  }

  /** Hold one stream; return `false` if there can be none now, `true` once it has ended. */
  async #listen() {
    if (!this.#transport.listen) return false;
    const stream = (this.#stream = new AbortController());
    const hears = this.#hears((error) => stream.abort(error));
    const watching = this.#watch(stream, hears);
    try {
      return await this.#transport.listen(this.#chat.handle, hears, stream.signal);
    } catch (error) {
      throw stream.signal.reason || error;
    } finally {
      stream.abort();
      this.#stream = null;
      await watching;
    }
  }

  /** Return what a stream calls. It repeats nothing, so what came before is read first, and what comes meanwhile held. */
  #hears(fail) {
    let held = [];
    let looked = 0;
    const tell = (event) => this.#chat.dispatch({ kind: "heard", events: [event] });
    const hears = {
      aliveMs: this.#clock.now(),
      opened: async () => {
        this.#failures = 0;
        looked = this.#clock.now();
        await this.#look().catch(fail);
        held.forEach(tell);
        held = null;
      },
      event: (event) => (held ? held.push(event) : tell(event)),
      alive: () => {
        hears.aliveMs = this.#clock.now();
        if (held || hears.aliveMs - looked < LOOK_EVERY_MS) return;
        looked = hears.aliveMs;
        this.#look().catch(fail);
      },
    };
    return hears;
  }

  async #watch(stream, hears) {
    for (;;) {
      await this.#clock.wait(LOOK_EVERY_MS, stream.signal);
      if (stream.signal.aborted) return;
      if (this.#clock.now() - hears.aliveMs > STREAM_SILENT_MS) stream.abort(new Error("the stream is silent"));
    }
  }
}
