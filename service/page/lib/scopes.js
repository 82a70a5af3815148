// What the key of this tab may do, so that an action says why it is not there before anybody presses it.
import { summary } from "./store.js";

/** Returns null where the key has the scope (or it is not known yet: then the API decides), else why not, in words. */
export function missing(scope) {
  const scopes = summary.value?.key.scopes;
  if (!scopes || scopes.includes(scope)) return null;
  return `This key may not do that: it lacks the scope “${scope}”.`;
}
