// Messages on their way: one after the other, and each until it is said, refused or has failed.

import { delayMs, isFinal } from "./link.js";

const SEND_TRIES = 3;
const LOOK_AGAIN_MS = 15_000;

export class Outbox {
  #link;
  #chat;
  #waiting = [];
  #isSending = false;

  /** `onFailure` is called when the broker could not be reached. */
  constructor(link, chat, onFailure) {
    this.#link = link;
    this.#chat = chat;
    this.onFailure = onFailure;
  }

  /** Send {room_id, message, message_id} after those that wait. */
  add(message) {
    if (this.#waiting.some(({ message_id }) => message_id === message.message_id)) return;
    this.#waiting.push(message);
    if (!this.#isSending) this.#sendAll();
  }

  /** Send nothing of what waits: it can't be said any more, for the reason `code`. */
  giveUp(code) {
    for (const { message_id } of this.#waiting.splice(0)) this.#chat.dispatch({ kind: "unsent", message_id, code });
  }

  async #sendAll() {
    this.#isSending = true;
    while (this.#waiting.length) {
      const [message] = this.#waiting;
      const happening = await this.#send(message);
      if (this.#waiting[0] !== message) continue; // given up
      this.#waiting.shift();
      this.#chat.dispatch({ ...happening, message_id: message.message_id });
    }
    this.#isSending = false;
  }

  async #send(message) {
    for (let failures = 0; this.#waiting[0] === message; ) {
      try {
        const args = { ...message, handle: this.#chat.handle };
        const { timestamp } = await this.#link.attempt("send_message", args, { tries: 1 });
        return { kind: "sent", timestamp };
      } catch (error) {
        if (isFinal(error)) return { kind: "unsent", code: error.code };
        if (!error.code) this.onFailure();
        if (this.#link.isBroken) await this.#link.pause(LOOK_AGAIN_MS); // it is sent once the broker is back
        else if (++failures >= SEND_TRIES) return { kind: "unsent", code: "unreachable" };
        else await this.#link.pause(delayMs(failures - 1));
      }
    }
  }
}
