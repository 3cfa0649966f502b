// The way to the broker through a host: JSON-RPC 2.0 by `postMessage`.
// https://github.com/modelcontextprotocol/ext-apps, specification/2026-01-26/apps.mdx (SEP-1865).

import { answerOf, Refusal } from "./answers.js";

const APP_VERSION = "2026-01-26";
const ANSWERED_WITHIN_MS = 45_000; // a wait takes 25 s; a host may also drop a call without a word
const ENTER_TOOL = "chat_enter";
const METHOD_NOT_FOUND = -32601;
const NOT_ALLOWED = /\b(?:den(?:y|ied)|declined|rejected|not (?:allowed|permitted|approved)|permission|consent)\b/i;

/** A host's error: the call did not reach the broker, or its answer was lost. */
class HostError extends Error {
  constructor(message, code) {
    super(message);
    this.isRefusal = code === METHOD_NOT_FOUND || NOT_ALLOWED.test(this.message);
  }
}

/** The connection with a host; a transport of `Session`. */
export class Bridge {
  #host;
  #pending = new Map();
  #lastId = 0;
  #handlers;
  #can = {};
  #context = {};

  /** `handlers` has functions by the method of what a host sends; the answer to a request is what its function gives. */
  constructor(host, handlers) {
    this.#host = host;
    this.#handlers = handlers;
    addEventListener("message", ({ source, data }) => {
      if (source === host && data?.jsonrpc === "2.0") this.#receive(data);
    });
  }

  /** Shake hands, before which some hosts show no window; return the host's context, empty if it does not answer. */
  async connect(appInfo) {
    const appCapabilities = { availableDisplayModes: ["inline", "fullscreen"] };
    const params = { appInfo, appCapabilities, protocolVersion: APP_VERSION };
    const { hostCapabilities, hostContext } = await this.#request("ui/initialize", params).catch(() => ({}));
    this.#can = hostCapabilities || {};
    this.#context = hostContext || {};
    this.#post({ method: "ui/notifications/initialized", params: {} });
    return this.#context;
  }

  /** Take over the changed part of the host's context; return the whole. */
  changeContext(changed) {
    this.#context = { ...this.#context, ...changed };
    return this.#context;
  }

  /** Call a tool; throw a `Refusal` also if the host's user did not allow it. */
  async call(name, args) {
    try {
      const onLate = name === ENTER_TOOL && !args.handle ? (result) => this.#takeOut(result) : null;
      const payload = payloadOf(await this.#request("tools/call", { name, arguments: args }, onLate));
      if (name === ENTER_TOOL && !payload.handle) throw new HostError("no handle"); // calls without one are the model's
      return payload;
    } catch (error) {
      if (error instanceof HostError && error.isRefusal) throw new Refusal({ code: "host_refused" });
      throw error;
    }
  }

  /** Tell the host how much room the window takes. */
  sizeChanged(width, height) {
    this.#post({ method: "ui/notifications/size-changed", params: { width, height } });
  }

  get canBeFullscreen() {
    return [this.#context.availableDisplayModes].flat().includes("fullscreen");
  }

  /** Ask for a display mode; return that which the host has chosen. */
  async requestDisplayMode(mode) {
    return (await this.#request("ui/request-display-mode", { mode })).mode;
  }

  get canOpenLinks() {
    return Boolean(this.#can.openLinks);
  }

  openLink(url) {
    return this.#request("ui/open-link", { url });
  }

  get canTellModel() {
    return Boolean(this.#can.message || this.#can.updateModelContext);
  }

  /** Show `text` to the model, at once as a message of the user, or with the user's next one; return whether at once. */
  async tellModel(text) {
    const content = [{ type: "text", text }];
    if (!this.#can.message) {
      await this.#request("ui/update-model-context", { content });
      return false;
    }
    const { isError } = await this.#request("ui/message", { role: "user", content });
    if (isError) throw new HostError("the message was not taken");
    return true;
  }

  /** Leave as the one of an entry that was answered too late: else the person, entering again, would meet it. */
  #takeOut(result) {
    try {
      const { handle, room_id } = payloadOf(result);
      this.call(...(room_id ? ["leave_chat", { room_id, handle }] : ["leave_queue", { handle }])).catch(() => {});
    } catch {
      // it was refused: there is no one to take out
    }
  }

  /** Return the result; one that comes too late goes to `onLate`. */
  #request(method, params, onLate) {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const settle = (act) => (value) => {
        clearTimeout(tooLate);
        this.#pending.delete(id);
        act(value);
      };
      const waiting = { resolve: settle(resolve), reject: settle(reject) };
      const tooLate = setTimeout(() => {
        waiting.reject(new HostError("no answer"));
        if (onLate) this.#pending.set(id, { resolve: settle(onLate), reject: settle(() => {}) });
      }, ANSWERED_WITHIN_MS);
      this.#pending.set(id, waiting);
      this.#post({ id, method, params });
    });
  }

  #post(message) {
    this.#host.postMessage({ jsonrpc: "2.0", ...message }, "*"); // a window can't know its host's origin
  }

  #receive(message) {
    if (message.method === undefined) this.#settle(message);
    else if (message.id === undefined) this.#handlers[message.method]?.(message.params || {});
    else this.#answer(message);
  }

  #settle({ id, result, error }) {
    const waiting = this.#pending.get(id);
    if (error) waiting?.reject(new HostError(error.message, error.code));
    else waiting?.resolve(result || {});
  }

  async #answer({ id, method, params = {} }) {
    const handler = method === "ping" ? () => {} : this.#handlers[method];
    if (handler) this.#post({ id, result: (await handler(params)) || {} });
    else this.#post({ id, error: { code: METHOD_NOT_FOUND, message: "Method not found" } });
  }
}

/** Return the payload of a result; throw a `HostError` if it has words of the host's in the place of the broker's. */
function payloadOf(result) {
  try {
    return answerOf(result);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new HostError(result.content?.[0]?.text || "no result");
  }
}
