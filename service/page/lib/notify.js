// Tells of a job's end: a number before the window's title while it is hidden, and a notification if that is allowed.
import { hasEnded, stateOf } from "./job.js";
import { link } from "./router.js";
import { wishes } from "./storage.js";
import { on } from "./stream.js";
import { effect, signal } from "./ui.js";

const STORED = "tunehook.notify";
const begun = Date.now() / 1000;
const told = new Set();
const missed = signal(0);

export const isPossible = "Notification" in globalThis && globalThis.isSecureContext;
export const isOn = signal(isPossible && Notification.permission === "granted" && wishes.get(STORED) === "on");

/** Asks for the permission, or gives it up. Call it in a click. */
export async function toggle() {
  const wanted = !isOn.value && (await Notification.requestPermission()) === "granted";
  wishes.set(STORED, wanted ? "on" : "off");
  isOn.value = wanted;
}

export function start() {
  on("job", (job) => {
    if (!hasEnded(job) || told.has(job.id) || (job.finished_at ?? 0) < begun - 5) return;
    told.add(job.id);
    if (document.hidden) missed.value += 1;
    if (isOn.value) show(job);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) missed.value = 0; });
  effect(() => {
    const bare = document.title.replace(/^\(\d+\) /, "");
    document.title = missed.value ? `(${missed.value}) ${bare}` : bare;
  });
}

/** One for all windows: the same tag replaces itself. */
function show(job) {
  const text = job.fine_tuned_model ?? job.error?.message ?? job.id;
  const shown = new Notification(`Job ${stateOf(job).word}`, { body: text, tag: job.id });
  shown.onclick = () => {
    focus();
    location.hash = link(`/jobs/${job.id}`);
    shown.close();
  };
}
