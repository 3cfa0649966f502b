// The broker by `fetch`, from a page of its own: MCP 2026-07-28, with `subscriptions/listen` as the stream.

import { answerOf, Refusal } from "./answers.js";
import { inTurn, isCrowded, withSlot } from "./slots.js";

const EVENTS = "io.github.mcp-chat-broker/events";
const VERSION = "2026-07-28";
const LOBBY_URI = "chat://lobby";
const META = {
  "io.modelcontextprotocol/protocolVersion": VERSION,
  "io.modelcontextprotocol/clientInfo": { name: "chat-broker-page", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": { extensions: { [EVENTS]: {} } },
};
const ANSWER_MS = 20_000;
const OPENED_MS = 5_000; // a proxy that buffers holds a stream back
const NO_STREAM_MS = 60_000;
const REFUSING = { 403: "forbidden", 413: "message_too_large", 421: "forbidden" };
const INTERNAL_ERROR = -32603;

export class ByFetch {
  #url;
  #lastId = 0;
  #noStreamUntil = 0;

  constructor(url = "/mcp") {
    this.#url = url;
  }

  /** Call a tool. */
  call(name, args) {
    const ask = (given) => this.#ask("tools/call", { name, arguments: given }, name, given.wait_seconds);
    const answer = args.wait_seconds ? inTurn(() => ask(args), () => ask({ ...args, wait_seconds: 0 })) : ask(args);
    return answer.then(answerOf);
  }

  /** Return the lobby: {waiting, chatting, matching, rules_url, operator_contact}. */
  async lobby() {
    const { contents } = await this.#ask("resources/read", { uri: LOBBY_URI }, LOBBY_URI);
    return JSON.parse(contents[0].text);
  }

  polling() {
    if (!isCrowded()) return { waitSeconds: 25, pauseMs: 0 };
    return document.hidden ? { waitSeconds: 1, pauseMs: 0 } : { waitSeconds: 0, pauseMs: 2_000 };
  }

  /** Hold a stream for `handle`; see `session.js`. */
  listen(handle, hears, signal) {
    if (Date.now() < this.#noStreamUntil) return Promise.resolve(false);
    return withSlot(() => this.#stream(handle, hears, signal));
  }

  async #stream(handle, hears, signal) {
    const late = new AbortController();
    const opening = setTimeout(() => late.abort(), OPENED_MS);
    try {
      const params = { notifications: { [EVENTS]: { handles: [handle] } } };
      const response = await this.#post("subscriptions/listen", params, null, AbortSignal.any([signal, late.signal]));
      if (!isStream(response)) return this.#refuseStreams();
      for await (const message of messagesIn(response, () => hears.alive())) {
        clearTimeout(opening);
        if (message === null) continue;
        if (message.id !== undefined) return true;
        if (message.method === "notifications/subscriptions/acknowledged") hears.opened();
        else hears.event(message);
      }
      throw new Error("the stream broke off");
    } catch (error) {
      if (late.signal.aborted && !signal.aborted) return this.#refuseStreams();
      throw error;
    } finally {
      clearTimeout(opening);
    }
  }

  #refuseStreams() {
    this.#noStreamUntil = Date.now() + NO_STREAM_MS;
    return false;
  }

  /** Return the result of a request. */
  async #ask(method, params, name, waitSeconds = 0) {
    const response = await this.#post(method, params, name, AbortSignal.timeout(ANSWER_MS + waitSeconds * 1_000));
    const code = REFUSING[response.status];
    if (code) throw new Refusal({ code });
    let answer = null;
    if (!isStream(response)) answer = await response.json();
    else for await (const message of messagesIn(response)) if (message && message.id !== undefined) answer = message;
    if (answer === null) throw new Error("there was no answer");
    if (answer.error && answer.error.code !== INTERNAL_ERROR) throw new Refusal({ code: "protocol" });
    if (answer.error) throw new Error(answer.error.message);
    return answer.result;
  }

  #post(method, params, name, signal) {
    return fetch(this.#url, {
      method: "POST",
      signal,
      cache: "no-store",
      credentials: "omit",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
        "mcp-method": method,
        ...(name ? { "mcp-name": name } : {}),
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: ++this.#lastId, method, params: { ...params, _meta: META } }),
    });
  }
}

const isStream = (response) => response.ok && (response.headers.get("content-type") || "").startsWith("text/event-stream");

/** Yield the JSON-RPC messages of a stream, and `null` for each part without one; call `onPart` for each part. */
async function* messagesIn(response, onPart = () => {}) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    onPart();
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    const data = lines.filter((line) => line.startsWith("data:"));
    if (data.length === 0) yield null;
    for (const line of data) yield JSON.parse(line.slice(5));
  }
}
