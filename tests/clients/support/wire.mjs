/** The 2026-07-28 wire by hand: for what the official client has no call for, and for tidying up. */
import assert from "node:assert/strict";

import { EventSourceParserStream } from "eventsource-parser/stream";

import { Heard } from "./heard.mjs";

export const EVENTS_EXTENSION = "io.github.mcp-chat-broker/events";
export const CONNECTION = "io.github.mcp-chat-broker/connection";
export const SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId";
export const TOOLS = [
  "block_partner",
  "chat_enter",
  "enter_queue",
  "get_status",
  "leave_chat",
  "leave_queue",
  "next_partner",
  "open_chat",
  "report_partner",
  "send_message",
  "wait_for_events",
];
const VERSION = "2026-07-28";

let requests = 0;

/** Sends one request of the stateless wire; resolves with the response and the request's id. */
async function post(broker, method, params, { events = true, signal } = {}) {
  const id = `by-hand-${++requests}`;
  const capabilities = events ? { extensions: { [EVENTS_EXTENSION]: {} } } : {};
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": { name: "by-hand", version: "1.0.0" },
    "io.modelcontextprotocol/clientCapabilities": capabilities,
  };
  const name = params.name ?? params.uri;
  const response = await fetch(broker.url, {
    method: "POST",
    headers: {
      Accept: "application/json, text/event-stream",
      "Content-Type": "application/json",
      "MCP-Protocol-Version": VERSION,
      "Mcp-Method": method,
      ...(name ? { "Mcp-Name": name } : {}),
    },
    body: JSON.stringify({ jsonrpc: "2.0", id, method, params: { ...params, _meta } }),
    signal,
  });
  return { id, response };
}

async function* frames(response) {
  const type = response.headers.get("content-type") ?? "";
  if (!type.startsWith("text/event-stream")) {
    yield await response.json();
    return;
  }
  const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  for await (const event of events) if (event.data) yield JSON.parse(event.data);
}

/** Sends a request and resolves with the HTTP status and the JSON-RPC message that answers it. */
export async function request(broker, method, params, options) {
  const { id, response } = await post(broker, method, params, options);
  for await (const frame of frames(response)) {
    if (frame.id === id) return { status: response.status, ...frame };
  }
  return assert.fail(`the stream of ${method} ended without an answer`);
}

/** Calls a tool; resolves with its whole result. */
export async function callTool(broker, name, args) {
  const { result, error } = await request(broker, "tools/call", { name, arguments: args });
  assert.equal(error, undefined);
  return result;
}

/** Opens `subscriptions/listen`; each frame of it is heard, and `close` hangs up. */
export async function listen(broker, filter, options = {}) {
  const hangUp = new AbortController();
  const { id, response } = await post(
    broker,
    "subscriptions/listen",
    { notifications: filter },
    { ...options, signal: hangUp.signal },
  );
  const heard = new Heard();
  const ended = (async () => {
    try {
      for await (const frame of frames(response)) heard.add(frame);
    } catch (error) {
      if (!hangUp.signal.aborted) throw error;
    }
  })();
  return { id, status: response.status, heard, ended, close: () => (hangUp.abort(), ended) };
}
