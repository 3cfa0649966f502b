// What belongs to this tab: a place that outlives a reload, ids, and a clock.

const SAVED = "chat-broker";
const TAB = "chat-broker-tab";
const NO_STORE = { load: () => null, save: () => {}, clear: () => {} };
const LOCK_WITHIN_MS = 1_500; // a reloaded page's lock is free once the old page is gone

export const clock = {
  now: () => performance.now(),
  wait: (ms, signal) =>
    new Promise((done) => {
      if (signal?.aborted) return done();
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", end);
        done();
      };
      const timer = setTimeout(end, ms);
      signal?.addEventListener("abort", end);
    }),
};

/** Return a new random id; `crypto.randomUUID` is not there on plain http. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Return the store of this tab. A duplicated tab has a copy of the other's, which is of no use to it: it begins anew.
 * Where the windows of a host share one store (`isShared`), it is the first one's, and the others have none.
 */
export async function openStore({ isShared = false } = {}) {
  const storage = sessionStorageOrNone();
  const id = storage.getItem(TAB);
  if (id === null || !(await holdAlone(id))) {
    if (isShared && id !== null) return NO_STORE;
    storage.removeItem(SAVED);
    const fresh = newId();
    storage.setItem(TAB, fresh);
    await holdAlone(fresh);
  }
  return {
    load: () => JSON.parse(storage.getItem(SAVED)),
    save: (value) => saveIn(storage, value),
    clear: () => storage.removeItem(SAVED),
  };
}

function saveIn(storage, value) {
  try {
    storage.setItem(SAVED, JSON.stringify(value));
  } catch {
    // it is more than a browser keeps: a reload has what was kept before
  }
}

/** Hold the lock of that id until the page is gone; return `false` if another tab holds it. */
function holdAlone(id) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((done) => {
    const held = () => {
      done(true);
      return new Promise(() => {});
    };
    const signal = AbortSignal.timeout(LOCK_WITHIN_MS);
    navigator.locks.request(`${TAB}-${id}`, { signal }, held).catch(() => done(false));
  });
}

function sessionStorageOrNone() {
  try {
    sessionStorage.setItem(`${TAB}-probe`, "");
    sessionStorage.removeItem(`${TAB}-probe`);
    return sessionStorage;
  } catch {
    return { getItem: () => null, setItem: () => {}, removeItem: () => {} };
  }
}

/** Return what is remembered under `name` for all tabs, if the browser lets a page remember anything. */
export function remembered(name) {
  try {
    return localStorage.getItem(`chat-broker-${name}`);
  } catch {
    return null;
  }
}

/** Remember `value` under `name`. */
export function remember(name, value) {
  try {
    localStorage.setItem(`chat-broker-${name}`, value);
  } catch {
    // it is not remembered
  }
}
