/** mcporter: its command line, where each call is a process and a session of its own, and its library. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { createRuntime, createServerProxy } from "mcporter";

import { Broker } from "./support/broker.mjs";
import { converse } from "./support/conversation.mjs";
import { Member } from "./support/people.mjs";
import { runScript, scriptOf } from "./support/scripts.mjs";
import { TOOLS } from "./support/wire.mjs";

const MCPORTER = scriptOf("mcporter");

const camelCase = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());

describe("mcporter", () => {
  let broker;
  let home;
  let config;

  before(async () => {
    home = await mkdtemp(path.join(tmpdir(), "mcporter-"));
    broker = await Broker.start();
    config = path.join(home, "mcporter.json");
    await writeFile(config, JSON.stringify({ mcpServers: { chat: { url: broker.url.href } }, imports: [] }));
  });
  after(async () => {
    await broker?.kill();
    await rm(home, { recursive: true });
  });

  const run = (...args) => runScript(MCPORTER, ["--config", config, ...args], home);

  async function json(...args) {
    const { code, stdout, stderr } = await run(...args);
    assert.equal(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
    return JSON.parse(stdout);
  }

  /** Calls tools as someone in a shell does: `name=value` for each argument, in which a list is its words. */
  class Typist extends Member {
    constructor(...options) {
      super(broker);
      this.options = options;
    }

    call(tool, args = {}) {
      const typed = Object.entries(args).map(([name, value]) => `${name}=${value}`);
      return json("call", `chat.${tool}`, ...typed, "--output", "json", ...this.options);
    }
  }

  /** Two of them, who depart when the test ends. */
  function typists(t, ...options) {
    const two = [new Typist(...options), new Typist(...options)];
    t.after(async () => {
      for (const typist of two) await typist.depart();
    });
    return two;
  }

  it("lists all tools and reads the lobby", async () => {
    const { status, tools } = await json("list", "chat", "--json");
    assert.equal(status, "ok");
    assert.deepEqual(tools.map(({ name }) => name).sort(), TOOLS);
    const { code, stdout } = await run("resource", "chat", "chat://lobby");
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse(stdout), { waiting: 0, chatting: 0, rooms_open: 0, matching: "first-come" });
  });

  it("carries a conversation in which a typed number is sent as a number, a message too", async (t) => {
    const [ann, bob] = typists(t);
    await converse(ann, bob, ["hello, stranger", "42"]);
  });

  it("carries a conversation in which everything typed is sent as text", async (t) => {
    const [ann, bob] = typists(t, "--no-coerce");
    await converse(ann, bob, ["42", "[1, 2]"]);
  });

  it("reports a refusal as one, and exits with a code that says so", async () => {
    const { code, stdout } = await run("call", 'chat.get_status(handle: "nobody-has-this-handle")', "--output", "json");
    assert.equal(code, 1);
    assert.equal(JSON.parse(stdout).code, "unknown_handle");
  });

  /** A program that calls tools as methods, with a session of its own. */
  class Program extends Member {
    static async start(t) {
      const program = new Program(broker);
      const runtime = await createRuntime({ servers: [{ name: "chat", command: { kind: "http", url: broker.url } }] });
      t.after(() => runtime.close());
      program.chat = createServerProxy(runtime, "chat");
      return program;
    }

    async call(tool, args = {}) {
      const result = await this.chat[camelCase(tool)](args);
      assert.ok(!result.raw.isError, `${tool} was refused: ${result.text()}`);
      return result.json();
    }
  }

  it("carries a conversation of two programs that call tools as methods", async (t) => {
    await converse(await Program.start(t), await Program.start(t));
  });

  it("leaves a broker that ends in time with exit code 0, and has printed no secret", () => broker.stop());
});
