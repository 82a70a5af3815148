// What the browser keeps for the page. Some forbid it: then reading it raises, and nothing is kept.

/** Returns `{get, set}` of "localStorage" or "sessionStorage". `set(name, null)` removes. */
export function storage(kind) {
  const guarded = (work) => {
    try {
      return work(globalThis[kind]);
    } catch {
      return null;
    }
  };
  return {
    get: (name) => guarded((kept) => kept.getItem(name)),
    set: (name, text) => guarded((kept) => (text === null ? kept.removeItem(name) : kept.setItem(name, text))),
  };
}

/** Wishes of a person, for all tabs. */
export const wishes = storage("localStorage");
