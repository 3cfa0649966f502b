/** The command line of the MCP Inspector: each call a process, a connection and, at 2025-11-25, a session of its own. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { Broker } from "./support/broker.mjs";
import { runScript, scriptOf } from "./support/scripts.mjs";
import { TOOLS } from "./support/wire.mjs";

const INSPECTOR = scriptOf("mcp-inspector");

for (const era of ["legacy", "modern"]) {
  describe(`the Inspector's command line in its ${era} era`, () => {
    let broker;
    let home;

    before(async () => {
      home = await mkdtemp(path.join(tmpdir(), "inspector-"));
      broker = await Broker.start();
    });
    after(async () => {
      await broker?.kill();
      await rm(home, { recursive: true });
    });

    /** Runs one method; resolves with the exit code and what was printed. */
    const run = (method, ...options) =>
      runScript(
        INSPECTOR,
        ["--cli", broker.url.href, "--transport", "http", "--protocol-era", era, "--method", method, ...options],
        home,
      );

    async function json(method, ...options) {
      const { code, stdout, stderr } = await run(method, ...options);
      assert.equal(code, 0, `${method}: ${stdout}${stderr}`);
      return JSON.parse(stdout);
    }

    async function call(tool, args) {
      const result = await json("tools/call", "--tool-name", tool, "--tool-args-json", JSON.stringify(args));
      assert.ok(!result.isError, JSON.stringify(result));
      assert.deepEqual(JSON.parse(result.content[0].text), result.structuredContent);
      return result.structuredContent;
    }

    it("lists all tools and finds no fault in their schemas", async () => {
      const { code, stdout, stderr } = await run("tools/list", "--strict");
      assert.equal(code, 0, stderr);
      assert.equal(stderr, "");
      const names = JSON.parse(stdout).tools.map(({ name }) => name);
      assert.deepEqual(names.sort(), TOOLS);
    });

    it("finds the window of open_chat, its type and its policy", async () => {
      const { code, stdout } = await run("tools/call", "--tool-name", "open_chat", "--app-info");
      assert.equal(code, 0);
      const { resourceUri, ...found } = JSON.parse(stdout);
      assert.match(resourceUri, /^ui:\/\/chat-broker\/chat-[0-9a-f]{8}\.html$/);
      assert.deepEqual(found, {
        hasApp: true,
        toolName: "open_chat",
        csp: { connectDomains: [], resourceDomains: [], frameDomains: [], baseUriDomains: [] },
        prefersBorder: true,
        resourceMimeType: "text/html;profile=mcp-app",
      });
    });

    it("lists the lobby, the window's page, the template of the inbox, and the prompt", async () => {
      const { resources } = await json("resources/list");
      assert.deepEqual(
        resources.map(({ name }) => name),
        ["lobby", "chat-window"],
      );
      const { resourceTemplates } = await json("resources/templates/list");
      assert.deepEqual(
        resourceTemplates.map(({ uriTemplate }) => uriTemplate),
        ["chat://inbox/{handle}{?cursor}"],
      );
      const { prompts } = await json("prompts/list");
      assert.deepEqual(
        prompts.map(({ name }) => name),
        ["chat"],
      );
      const { messages } = await json("prompts/get", "--prompt-name", "chat");
      assert.match(messages[0].content.text, /enter_queue/);
    });

    it("meets a stranger, talks and leaves, one process for each call", async () => {
      const ann = await call("enter_queue", { display_name: "Ann" });
      const bob = await call("enter_queue", { display_name: "Bob" });
      broker.keepSecret(ann.handle).keepSecret(bob.handle);
      assert.deepEqual([ann.status, bob.status, bob.partner], ["waiting", "matched", "Ann"]);
      const { room_id } = bob;
      await call("send_message", { handle: bob.handle, room_id, message: "typed in a shell" });
      const { events } = await call("wait_for_events", { handle: ann.handle, cursor: ann.cursor, wait_seconds: 20 });
      assert.deepEqual(
        events.map(({ method, params }) => [method, params.message ?? params.partner]),
        [
          ["chatroom.found", "Bob"],
          ["message.received", "typed in a shell"],
        ],
      );
      const { contents } = await json("resources/read", "--uri", `chat://inbox/${ann.handle}`);
      assert.deepEqual(JSON.parse(contents[0].text).events, events);
      assert.deepEqual(await call("leave_chat", { handle: ann.handle, room_id }), { success: true });
    });

    it("reports a refusal as one, and exits with a code that says so", async () => {
      const args = JSON.stringify({ handle: "nobody-has-this-handle" });
      const { code, stdout, stderr } = await run("tools/call", "--tool-name", "get_status", "--tool-args-json", args);
      assert.equal(code, 5, "the Inspector's code for a tool's own error");
      assert.match(stdout + stderr, /unknown_handle/);
    });

    it("leaves a broker that ends in time with exit code 0, and has printed no secret", () => broker.stop());
  });
}
