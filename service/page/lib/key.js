// The API key: asked once per tab, kept in the tab's own storage, sent as `Authorization` alone.
import { signal } from "./ui.js";

const STORED = "tunehook.key";
export const KEY_FORM = /^th_[a-z0-9]{6,32}_[\w-]{43}$/;

export const key = signal(read());
/** Why the last key was given up, in words; empty for none. */
export const refusal = signal("");

function read() {
  try {
    return sessionStorage.getItem(STORED);
  } catch {
    return null;
  }
}

export function useKey(text) {
  try {
    sessionStorage.setItem(STORED, text);
  } catch { /* a browser without storage asks again after a reload */ }
  refusal.value = "";
  key.value = text;
}

export function forgetKey(why = "") {
  try {
    sessionStorage.removeItem(STORED);
  } catch { /* as above */ }
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
  shown(found.to);
  return true;
}
