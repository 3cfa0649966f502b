/** What a client hears, in order; each expected item is awaited, never slept for. */
import assert from "node:assert/strict";

const HEARD_MS_MAX = 10_000;

export class Heard {
  #items = [];
  #waiting = new Set();

  add(item) {
    this.#items.push(item);
    for (const look of [...this.#waiting]) look();
  }

  /** Everything heard so far for which `matches` holds. */
  all(matches = () => true) {
    return this.#items.filter(matches);
  }

  /** Resolves with the first `count` items for which `matches` holds, as soon as they have been heard. */
  async several(count, matches) {
    const found = () => this.all(matches).slice(0, count);
    if (found().length === count) return found();
    return new Promise((resolve, reject) => {
      const look = () => {
        if (found().length < count) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(found());
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(
          new assert.AssertionError({
            message: `heard ${found().length} of ${count} in ${HEARD_MS_MAX} ms; all: ${JSON.stringify(this.#items)}`,
          }),
        );
      }, HEARD_MS_MAX);
      this.#waiting.add(look);
    });
  }

  /** Resolves with the first notification of a method whose params include `params`. */
  async notification(method, params = {}) {
    const [notification] = await this.several(1, named(method, params));
    return notification;
  }
}

/** Matches notifications of one method whose params have at least these values. */
export function named(method, params = {}) {
  return (heard) =>
    heard.method === method && Object.entries(params).every(([key, value]) => heard.params?.[key] === value);
}
