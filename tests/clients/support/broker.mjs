/** The real broker as a subprocess, as its users start it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const START_MS_MAX = 20_000;
const STOP_MS_MAX = 5_000;
const STREAMS_MS_MAX = 10_000;
const POLL_MS = 25;

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** The console script that stands beside the interpreter named by `PYTHON`. */
function command() {
  const python = process.env.PYTHON;
  assert.ok(python, "PYTHON has to name the interpreter that mcp-chat-broker is installed for: use `make test`");
  return path.join(path.dirname(python), "chat-broker");
}

export class Broker {
  #child;
  #exited;
  #output = "";
  #secrets = new Set();

  /** Starts a broker with an empty log on a free port; resolves once `/readyz` answers 200. */
  static async start(...flags) {
    const broker = new Broker();
    broker.port = await freePort();
    broker.origin = `http://127.0.0.1:${broker.port}`;
    broker.url = new URL("/mcp", broker.origin);
    await broker.#spawn(["serve", "--host", "127.0.0.1", "--port", String(broker.port), ...flags]);
    return broker;
  }

  async #spawn(args) {
    this.#child = spawn(command(), args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#exited = once(this.#child, "close");
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => (this.#output += text));
    }
    const deadline = performance.now() + START_MS_MAX;
    while (!(await this.#ready())) {
      assert.equal(this.#child.exitCode, null, `the broker ended before it was ready:\n${this.#output}`);
      if (performance.now() > deadline) {
        this.#child.kill("SIGKILL");
        assert.fail(`the broker was not ready after ${START_MS_MAX} ms:\n${this.#output}`);
      }
      await delay(POLL_MS); // a port that is not open yet has no event to wait for
    }
  }

  async #ready() {
    try {
      const response = await fetch(new URL("/readyz", this.origin));
      await response.body?.cancel();
      return response.status === 200;
    } catch {
      return false;
    }
  }

  /** Resolves once `count` streams of `kind` (`get` or `listen`) are open: a stream behind another program shows nowhere else. */
  async streams(kind, count) {
    const wanted = `chat_broker_streams{kind="${kind}"} ${count}.0\n`;
    const deadline = performance.now() + STREAMS_MS_MAX;
    for (;;) {
      const metrics = await (await fetch(new URL("/metrics", this.origin))).text();
      if (metrics.includes(wanted)) return;
      assert.ok(performance.now() < deadline, `there were not ${count} ${kind} streams within ${STREAMS_MS_MAX} ms`);
      await delay(POLL_MS);
    }
  }

  /** Remembers a handle or a session id, for `stop` to look for in what the broker printed. */
  keepSecret(secret) {
    this.#secrets.add(secret);
    return this;
  }

  /** Asks the broker to stop, as a service manager does; true once it has ended. */
  terminate() {
    return this.#child.kill("SIGTERM");
  }

  /** Ends what `stop` did not, whatever became of the tests. */
  async kill() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill("SIGKILL");
    await this.#exited;
  }

  /** Ends the broker: in time, with exit code 0, and without ever having printed a secret. */
  async stop() {
    if (this.#child.exitCode === null) this.terminate();
    const killer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS_MAX);
    const [code, signal] = await this.#exited;
    clearTimeout(killer);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `the broker did not end well:\n${this.#output}`);
    const printed = [...this.#secrets].filter((secret) => this.#output.includes(secret));
    assert.deepEqual(printed, [], "handles and session ids are never logged");
  }
}
