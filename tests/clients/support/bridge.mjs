/**
 * A proxy between a client and the broker that does to the arguments of tools what many hosts do: each one becomes a
 * string, each one left out is given as nothing, and there are keys that no model wrote. All else passes unchanged.
 */
import { once } from "node:events";
import http from "node:http";
import { pipeline } from "node:stream/promises";
import { text } from "node:stream/consumers";

import { request } from "./wire.mjs";

/** What workflow hosts add to the arguments of a tool. */
const INJECTED = {
  toolCallId: "call_0f3a",
  sessionId: "5b1c6a",
  action: "sendMessage",
  chatInput: "find me a stranger",
};

const camelCase = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
const words = (list) => list.join(", ");

/** The habits of hosts: how a list is written, what stands for an argument left out, and how the arguments are named. */
export const HABITS = {
  "lists as JSON, nothing as an empty string": { list: JSON.stringify, nothing: "", key: (name) => name },
  "lists as words, nothing as null": { list: words, nothing: null, key: (name) => name },
  "lists as JSON, nothing as null, names in camelCase": { list: JSON.stringify, nothing: null, key: camelCase },
  "lists as words, nothing as an empty string, names in camelCase": { list: words, nothing: "", key: camelCase },
};

/** Stands where a broker does in the tests' helpers: it has a `url`, and keeps the secrets for its broker. */
export class Bridge {
  /** The arguments of each call as the broker got them. */
  sent = [];
  #server = http.createServer((incoming, outgoing) => {
    this.#forward(incoming, outgoing).catch(() => outgoing.destroy());
  });

  constructor(broker, habit, tools) {
    this.broker = broker;
    this.habit = habit;
    this.properties = new Map(tools.map(({ name, inputSchema }) => [name, Object.keys(inputSchema.properties)]));
  }

  /** Starts a bridge to `broker`, whose `tools/list` tells which arguments a call leaves out. */
  static async start(broker, habit) {
    const { result } = await request(broker, "tools/list", {});
    const bridge = new Bridge(broker, habit, result.tools);
    await once(bridge.#server.listen(0, "127.0.0.1"), "listening");
    bridge.url = new URL("/mcp", `http://127.0.0.1:${bridge.#server.address().port}`);
    return bridge;
  }

  keepSecret(secret) {
    this.broker.keepSecret(secret);
    return this;
  }

  async close() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  /** The arguments of one call of `tool`, as a host of this habit sends them. */
  #stringified(tool, args) {
    const { list, nothing, key } = this.habit;
    const written = (value) => (Array.isArray(value) ? list(value) : String(value));
    const all = this.properties.get(tool).map((name) => [key(name), name in args ? written(args[name]) : nothing]);
    return { ...Object.fromEntries(all), ...INJECTED };
  }

  #rewritten(body) {
    const message = body && JSON.parse(body);
    if (message?.method !== "tools/call") return body;
    const { name, arguments: args = {} } = message.params;
    const stringified = this.#stringified(name, args);
    this.sent.push(stringified);
    return JSON.stringify({ ...message, params: { ...message.params, arguments: stringified } });
  }

  async #forward(incoming, outgoing) {
    const body = this.#rewritten(await text(incoming));
    const { host, connection, "content-length": _, "transfer-encoding": __, ...headers } = incoming.headers;
    if (body) headers["content-length"] = Buffer.byteLength(body);
    const forwarded = http.request(new URL(incoming.url, this.broker.origin), { method: incoming.method, headers });
    outgoing.once("close", () => forwarded.destroy()); // a client that hangs up on a stream ends it at the broker too
    const answered = once(forwarded, "response");
    forwarded.end(body);
    const [answer] = await answered;
    outgoing.writeHead(answer.statusCode, answer.headers).flushHeaders();
    await pipeline(answer, outgoing);
  }
}
