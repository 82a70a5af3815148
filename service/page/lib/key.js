// The API key: asked once per tab, kept in the tab's own storage, sent as `Authorization` alone.
import { storage } from "./storage.js";
import { signal } from "./ui.js";

const STORED = "tunehook.key";
/** A browser that keeps nothing asks again after a reload. */
const kept = storage("sessionStorage");
export const KEY_FORM = /^th_[a-z0-9]{6,32}_[\w-]{43}$/;

export const key = signal(kept.get(STORED));
/** Why the last key was given up, in words; empty for none. */
export const refusal = signal("");

export function useKey(text) {
  kept.set(STORED, text);
  refusal.value = "";
  key.value = text;
}

export function forgetKey(why = "") {
  kept.set(STORED, null);
  refusal.value = why;
  key.value = null;
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
