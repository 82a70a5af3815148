// The API key: asked once per tab, kept in the tab's own storage, sent as `Authorization` alone.
import { storage } from "./storage.js";
import { batch, signal } from "./ui.js";

const STORED = "tunehook.key";
/** A browser that keeps nothing asks again after a reload. */
const kept = storage("sessionStorage");
export const KEY_FORM = /^th_[a-z0-9]{6,32}_[\w-]{43}$/;

export const key = signal(kept.get(STORED));
/** Why the last key was given up, in words; empty for none. */
export const refusal = signal("");

/** Grows when all begins anew: what is known and what was typed belong to the project of one key. */
export const session = signal(0);

/** `isOfSameProject`: what is shown stays, with what was typed into it. */
export function useKey(text, isOfSameProject = false) {
  kept.set(STORED, text);
  batch(() => {
    if (text !== key.peek() && !isOfSameProject) session.value += 1;
    refusal.value = "";
    key.value = text;
  });
}

/** Gives up a key that the API refused. What is shown stays until the next key tells its project. */
export function refuseKey(why) {
  kept.set(STORED, null);
  batch(() => {
    refusal.value = why;
    key.value = null;
  });
}

export function forgetKey(why = "") {
  batch(() => {
    refuseKey(why);
    session.value += 1;
  });
}

/** The public part of a key: its id. */
export function idOf(text) {
  return text.split("_")[1] ?? "";
}

/** Returns what `#key=th_…&to=/jobs/ftjob-1` says, or null. Pure. */
export function keyInFragment(hash) {
  if (!hash.startsWith("#key=")) return null;
  const found = new URLSearchParams(hash.slice(1));
  const to = found.get("to") ?? "";
  return { key: found.get("key") ?? "", to: to.startsWith("/") ? to : "/jobs" };
}

/** Takes a key out of the address: it stays in no history and no bar. Returns whether there was one. */
export function takeFromAddress(hash, shown) {
  const found = keyInFragment(hash);
  if (!found) return false;
  history.replaceState(null, "", `#${found.to}`);
  if (KEY_FORM.test(found.key)) useKey(found.key);
  else forgetKey("The address has a key that is cut or misspelt: copy the address again, or enter the key.");
  shown(found.to);
  return true;
}
