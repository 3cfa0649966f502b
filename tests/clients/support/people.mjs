/** People who chat through the official clients: of both generations, in both eras. */
import assert from "node:assert/strict";

import { Client as Client2, StreamableHTTPClientTransport as Transport2 } from "@modelcontextprotocol/client";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as Transport1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { Heard } from "./heard.mjs";
import { EVENTS_EXTENSION, callTool } from "./wire.mjs";

export const CLIENT_INFO = { name: "clients-nobody-here-wrote", version: "1.0.0" };
const RECONNECTION_DELAY_MS = 10;

/** The two generations of the official client; either opens a 2025-11-25 session unless it is told otherwise. */
export const GENERATIONS = {
  "1.x": { Client: Client1, Transport: Transport1 },
  "2.x": { Client: Client2, Transport: Transport2 },
};

/** A member of the broker; how it calls a tool is the subclass's `call(tool, args)`. */
export class Member {
  constructor(broker) {
    this.broker = broker;
  }

  /** Enters the queue, and keeps what the answer says of this connection. */
  async enter(args = {}) {
    const entered = await this.call("enter_queue", args);
    this.handle = entered.handle;
    this.connectionId = entered.connection_id;
    this.broker.keepSecret(this.handle);
    return entered;
  }

  /** Leaves the queue or the room, whichever it is in, so that the next test starts with nobody there. */
  async depart() {
    if (!this.handle) return;
    const status = await callTool(this.broker, "get_status", { handle: this.handle });
    const { room_id, status: place } = status.structuredContent;
    if (place === "waiting") await callTool(this.broker, "leave_queue", { handle: this.handle });
    if (place === "chatting") await callTool(this.broker, "leave_chat", { handle: this.handle, room_id });
  }
}

export class Person extends Member {
  heard = new Heard();

  constructor(broker, client, close) {
    super(broker);
    this.client = client;
    this.close = close;
    client.fallbackNotificationHandler = async (notification) => this.heard.add(notification);
  }

  async #result(tool, args) {
    const result = await this.client.callTool({ name: tool, arguments: args });
    assert.equal(result.content.length, 1, "a result has one block of text");
    return result;
  }

  /** Calls a tool that has to succeed; resolves with its structured content. */
  async call(tool, args = {}) {
    const result = await this.#result(tool, args);
    assert.ok(!result.isError, `${tool} was refused: ${result.content[0].text}`);
    assert.deepEqual(JSON.parse(result.content[0].text), result.structuredContent, "the text is the same JSON");
    return result.structuredContent;
  }

  /** Calls a tool that has to refuse, in a way that the client takes for a refusal; resolves with `{error, code, ...}`. */
  async refusal(tool, args = {}) {
    const result = await this.#result(tool, args);
    assert.equal(result.isError, true, `${tool} was not refused: ${result.content[0].text}`);
    return JSON.parse(result.content[0].text);
  }
}

/** A session's GET stream, in a test's hands: it sees it open, cuts it, and lets it open again. */
class Line {
  opened = new Heard();
  #cut;
  #whole = Promise.resolve();
  #mend = () => {};

  fetch = async (url, init = {}) => {
    if (init.method !== "GET") return fetch(url, init);
    await this.#whole;
    const cut = new AbortController();
    const signal = AbortSignal.any([cut.signal, ...(init.signal ? [init.signal] : [])]);
    const response = await fetch(url, { ...init, signal });
    this.#cut = cut;
    this.opened.add({ status: response.status, lastEventId: new Headers(init.headers).get("last-event-id") });
    return response;
  };

  /** Breaks the stream; the client's attempts to reopen it wait until `mend`. */
  cut() {
    this.#whole = new Promise((resolve) => (this.#mend = resolve));
    this.#cut.abort(new Error("the line was cut"));
  }

  mend() {
    this.#mend();
  }

  /** Resolves with what the n-th opening of the stream asked for and was answered. */
  async opening(n) {
    const openings = await this.opened.several(n, () => true);
    return openings[n - 1];
  }
}

/** Connects a client of one generation, its 2025-11-25 session and its GET stream. */
export async function connectSession(broker, { generation = "1.x" } = {}) {
  const { Client, Transport } = GENERATIONS[generation];
  const line = new Line();
  const client = new Client(CLIENT_INFO);
  const transport = new Transport(broker.url, {
    fetch: line.fetch,
    reconnectionOptions: {
      initialReconnectionDelay: RECONNECTION_DELAY_MS,
      maxReconnectionDelay: RECONNECTION_DELAY_MS,
      reconnectionDelayGrowFactor: 1,
      maxRetries: 3,
    },
  });
  const person = new Person(broker, client, async () => {
    await transport.terminateSession().catch(() => {}); // a broker that has stopped needs no DELETE
    await client.close();
  });
  person.line = line;
  person.transport = transport;
  await client.connect(transport);
  broker.keepSecret(transport.sessionId);
  const { status } = await line.opening(1);
  assert.equal(status, 200, "the GET stream opens");
  await client.listTools(); // from here on the client checks each result against the tool's output schema
  return person;
}

/** Connects the 2.x client at 2026-07-28, which knows no session; `mode` as its version negotiation. */
export async function connectModern(broker, { events = true, mode = { pin: "2026-07-28" } } = {}) {
  const capabilities = events ? { extensions: { [EVENTS_EXTENSION]: {} } } : {};
  const client = new Client2(CLIENT_INFO, { capabilities, versionNegotiation: { mode } });
  const person = new Person(broker, client, () => client.close());
  await client.connect(new Transport2(broker.url));
  await client.listTools();
  return person;
}

/** Does one thing in a session of its own, as hosts do that open one for every call. */
export async function inOneSession(broker, options, act) {
  const person = await connectSession(broker, options);
  try {
    return await act(person);
  } finally {
    await person.close();
  }
}

/** Everyone whom one test connects, sessions with `options`; all of them depart and hang up when it ends. */
export function gathering(t, broker, options = {}) {
  const people = [];
  t.after(async () => {
    for (const person of people) await person.depart();
    for (const person of people) await person.close();
  });
  const joined = async (connecting) => {
    const person = await connecting;
    people.push(person);
    return person;
  };
  return {
    joined,
    session: () => joined(connectSession(broker, options)),
    modern: (wishes) => joined(connectModern(broker, wishes)),
  };
}

/** Pairs two people, the first of whom waits; resolves with the room and both answers. */
export async function pair(first, second, names = ["Ann", "Bob"]) {
  const waiting = await first.enter({ display_name: names[0] });
  assert.equal(waiting.status, "waiting");
  const matched = await second.enter({ display_name: names[1] });
  assert.equal(matched.status, "matched");
  return { room_id: matched.room_id, waiting, matched };
}
