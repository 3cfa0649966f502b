/** The official conformance suite: each scenario that applies to the broker, on each wire that it is for. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";

import { APPLIES, DOES_NOT_APPLY, UNTESTABLE, WIRES } from "./scenarios.mjs";
import { Broker } from "./support/broker.mjs";

const SUITE = fileURLToPath(new URL("node_modules/.bin/conformance", import.meta.url));
const LISTED = /^ +- (\S+) \[([^\]]*)\]$/gm;
const SYNTHETIC = new Set(["wire-schema-valid"]); // the suite adds it to every scenario

/** Runs the suite's command line; its exit code is not an error here, for its checks are judged one by one. */
function suite(...args) {
  return new Promise((resolve) => {
    execFile(process.execPath, [SUITE, ...args], (error, stdout, stderr) => resolve(stdout + stderr));
  });
}

/** The server scenarios that the installed suite has: `{name, wires}`. */
async function known() {
  const listed = await suite("list", "--server");
  return [...listed.matchAll(LISTED)].map(([, name, wires]) => ({ name, wires: wires.split(",") }));
}

const scenarios = await known();

describe("the conformance suite", () => {
  it("has no server scenario that is neither run here nor listed with its reason, and none is both", () => {
    const names = scenarios.map(({ name }) => name);
    assert.ok(names.length > 0, "the suite lists its scenarios");
    assert.deepEqual([...APPLIES, ...Object.keys(DOES_NOT_APPLY)].sort(), names.sort());
  });

  it("runs every scenario that applies on one wire at least", () => {
    const run = scenarios.filter(
      ({ name, wires }) => APPLIES.includes(name) && WIRES.some((wire) => wires.includes(wire)),
    );
    assert.deepEqual(run.map(({ name }) => name).sort(), [...APPLIES].sort());
  });
});

for (const wire of WIRES) {
  describe(`at ${wire} the broker passes`, () => {
    let broker;
    let results;

    before(async () => {
      results = await mkdtemp(path.join(tmpdir(), "conformance-"));
      broker = await Broker.start();
    });
    after(async () => {
      await broker?.kill();
      await rm(results, { recursive: true });
    });

    async function checks(scenario) {
      const output = path.join(results, scenario);
      const url = broker.url.href;
      const printed = await suite("server", "--url", url, "--scenario", scenario, "--spec-version", wire, "-o", output);
      const [directory] = await readdir(output).catch(() => []);
      assert.ok(directory, `the suite saved no result:\n${printed}`);
      return JSON.parse(await readFile(path.join(output, directory, "checks.json"), "utf8"));
    }

    for (const { name, wires } of scenarios) {
      if (!APPLIES.includes(name) || !wires.includes(wire)) continue;
      it(name, async () => {
        const made = await checks(name);
        const untestable = UNTESTABLE[name] ?? {};
        const wrong = made.filter(({ status }) => status === "FAILURE" || status === "WARNING");
        assert.deepEqual(
          wrong
            .filter(({ id }) => !(id in untestable))
            .map(({ id, status, errorMessage }) => ({ id, status, errorMessage })),
          [],
        );
        assert.deepEqual(
          Object.keys(untestable).filter((id) => !wrong.some((check) => check.id === id)),
          [],
          "a check that passes is not listed as untestable any more",
        );
        assert.ok(
          made.some(({ id, status }) => status === "SUCCESS" && !SYNTHETIC.has(id)),
          "something was checked",
        );
      });
    }

    it("leaves a broker that ends in time with exit code 0, and has printed no secret", () => broker.stop());
  });
}
