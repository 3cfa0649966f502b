/** mcp-remote, the bridge for hosts that only start programs: MCP over stdio on one side, the broker on the other. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { Client as Client2 } from "@modelcontextprotocol/client";
import { StdioClientTransport as Stdio2 } from "@modelcontextprotocol/client/stdio";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as Stdio1 } from "@modelcontextprotocol/sdk/client/stdio.js";

import { Broker } from "./support/broker.mjs";
import { TEXTS, converse } from "./support/conversation.mjs";
import { named } from "./support/heard.mjs";
import { CLIENT_INFO, Person, gathering } from "./support/people.mjs";
import { environment, scriptOf } from "./support/scripts.mjs";
import { EVENTS_EXTENSION, TOOLS } from "./support/wire.mjs";

const REMOTE = scriptOf("mcp-remote");
const MODERN = {
  capabilities: { extensions: { [EVENTS_EXTENSION]: {} } },
  versionNegotiation: { mode: { pin: "2026-07-28" } },
};
const CLIENTS = {
  "the 1.x client": () => ({ client: new Client1(CLIENT_INFO), Stdio: Stdio1 }),
  "the 2.x client": () => ({ client: new Client2(CLIENT_INFO), Stdio: Stdio2 }),
  "the 2.x client at 2026-07-28": () => ({ client: new Client2(CLIENT_INFO, MODERN), Stdio: Stdio2 }),
};

const messages = (events) => events.map(({ params }) => params.message).filter((text) => text !== undefined);
const inbox = (person) => `chat://inbox/${person.handle}`;

async function textsPushed(person, room_id, count) {
  return messages(await person.heard.several(count, named("message.received", { room_id })));
}

/**
 * How what is pushed gets through: `begin` asks for it, then there are so many `streams` of a `kind`,
 * and `texts` are the messages that a person hears of in a room.
 */
const WAYS = {
  // Each mcp-remote has two sessions: one to see whether the address answers, and the client's.
  "a session's own stream": { kind: "get", streams: 4, begin: async () => {}, texts: textsPushed },
  "a listen stream that the client opens": {
    kind: "listen",
    streams: 1,
    begin: (person) => person.client.listen({ [EVENTS_EXTENSION]: { handles: [person.handle] } }),
    texts: textsPushed,
  },
  // The client subscribes as in 2025, and mcp-remote opens a listen stream for it, without our extension.
  "a subscription to the inbox": {
    kind: "listen",
    streams: 1,
    begin: (person) => person.client.subscribeResource({ uri: inbox(person) }),
    texts: async (person, room_id, count) => {
      await person.heard.several(count + 1, named("notifications/resources/updated", { uri: inbox(person) }));
      const { contents } = await person.client.readResource({ uri: inbox(person) });
      const { events } = JSON.parse(contents[0].text);
      return messages(events.filter(({ params }) => params.room_id === room_id));
    },
  },
};

describe("mcp-remote", () => {
  let broker;
  let home;

  before(async () => {
    home = await mkdtemp(path.join(tmpdir(), "mcp-remote-"));
    broker = await Broker.start("--rematch-after-ms", "0"); // the two of a test meet twice
  });
  after(async () => {
    await broker?.kill();
    await rm(home, { recursive: true });
  });

  /** Connects a client to an mcp-remote of its own. */
  async function connect(which, protocol) {
    const { client, Stdio } = CLIENTS[which]();
    const args = [REMOTE, broker.url.href, "--transport", "http-only", "--protocol", protocol, "--silent"];
    await client.connect(new Stdio({ command: process.execPath, args, env: environment(home) }));
    return new Person(broker, client, () => client.close());
  }

  for (const [which, protocol, way] of [
    ["the 1.x client", "legacy", "a session's own stream"],
    ["the 1.x client", "auto", "a subscription to the inbox"],
    ["the 2.x client", "legacy", "a session's own stream"],
    ["the 2.x client", "auto", "a subscription to the inbox"],
    ["the 2.x client at 2026-07-28", "legacy", "a listen stream that the client opens"],
    ["the 2.x client at 2026-07-28", "auto", "a listen stream that the client opens"],
  ]) {
    it(`with --protocol ${protocol} carries a conversation of ${which}, and pushes it by ${way}`, async (t) => {
      const { kind, streams, begin, texts } = WAYS[way];
      await broker.streams(kind, 0); // those of the last test have ended
      const there = gathering(t, broker);
      const [ann, bob] = await Promise.all([1, 2].map(() => there.joined(connect(which, protocol))));
      const { tools } = await ann.client.listTools();
      assert.deepEqual(tools.map(({ name }) => name).sort(), TOOLS);
      await converse(ann, bob);

      await ann.enter({ handle: ann.handle });
      await begin(ann);
      await broker.streams(kind, streams);
      const { room_id } = await bob.enter({ handle: bob.handle });
      for (const message of TEXTS) await bob.call("send_message", { handle: bob.handle, room_id, message });
      assert.deepEqual(await texts(ann, room_id, TEXTS.length), TEXTS);
    });
  }

  it("leaves a broker that ends in time with exit code 0, and has printed no secret", () => broker.stop());
});
