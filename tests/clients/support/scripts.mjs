/** Clients that are programs: each is run by the Node that runs the tests, with a home of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** Where the program `name` of an installed package is. */
export function scriptOf(name) {
  return fileURLToPath(new URL(`../node_modules/.bin/${name}`, import.meta.url));
}

/** The environment of a program that keeps its settings in `home`. */
export function environment(home) {
  return { ...process.env, HOME: home, NODE_NO_WARNINGS: "1" };
}

/** Runs `script` to its end; resolves with the exit code and what was printed. */
export async function runScript(script, args, home) {
  const child = spawn(process.execPath, [script, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: environment(home),
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}
