// What the page knows of jobs, deliveries and the project, as signals: a changed number redraws its own place alone.
import { get } from "./api.js";
import { key, session } from "./key.js";
import { epoch, on } from "./stream.js";
import { effect, signal, useEffect } from "./ui.js";

const jobs = new Map(); // id → signal of the job, or of null before it is known
/** The project at a glance (`GET /v1/summary`), null before it is read. */
export const summary = signal(null);

/** The signal of a job; its value is null until it is known. */
export function jobSignal(id) {
  if (!jobs.has(id)) jobs.set(id, signal(null));
  return jobs.get(id);
}

/** Keeps a job as the API showed it, unless a newer one is known. */
export function putJob(job) {
  const known = jobSignal(job.id);
  const before = known.peek();
  if (before && before.tunehook.revision > job.tunehook.revision) return before;
  // Only the answer for one job has its place in the line: the stream's does not take it away.
  if (before?.tunehook.waiting?.place && before.tunehook.waiting.since === job.tunehook.waiting?.since && !job.tunehook.waiting.place) {
    const { place, slot_expected_at } = before.tunehook.waiting;
    job.tunehook.waiting = { ...job.tunehook.waiting, place, slot_expected_at };
  }
  known.value = job;
  return job;
}

export async function loadJob(id) {
  return putJob(await get(`/fine_tuning/jobs/${id}`));
}

const stages = new Map(); // id → its last known stage
let due = null;
let last = 0;

/** Reads the summary at the next occasion: at most once in two seconds, however much changes. */
export function refreshSummary() {
  if (due !== null || !key.peek()) return;
  due = setTimeout(async () => {
    due = null;
    last = Date.now();
    const used = key.peek();
    try {
      const found = await get("/summary");
      if (used !== key.peek()) return; // the project of another key
      summary.value = found;
      awaitHolds();
    } catch { /* the bar says that the service is away; the next event reads it again */ }
  }, Math.max(50, last + 2000 - Date.now()));
}

let release = null;

/** A hold of an upstream ends by itself, without an event. */
function awaitHolds() {
  clearTimeout(release);
  const ends = summary.peek().upstreams.flatMap((one) => (one.hold?.until ? [one.hold.until] : []));
  if (ends.length) release = setTimeout(refreshSummary, Math.min(2 ** 31 - 1, Math.max(1000, Math.min(...ends) * 1000 - Date.now() + 1000)));
}

/** Begins to listen; once. */
export function start() {
  on("job", (job) => {
    putJob(job);
    const counted = `${job.tunehook.stage} ${job.status}`;
    if (stages.get(job.id) !== counted) refreshSummary();
    stages.set(job.id, counted);
  });
  effect(() => {
    if (!epoch.value) return;
    refreshSummary();
    for (const known of webhooks.values()) known.value = null; // changes were lost: rows in sight ask again
  });
  effect(() => {
    session.value;
    jobs.clear();
    webhooks.clear();
    stages.clear();
    summary.value = null;
    last = 0;
  });
  effect(() => {
    key.value;
    refreshSummary();
  });
}

// ---- webhooks of jobs in the list: asked for once, when a row comes into sight; then they come by the stream

const webhooks = new Map(); // job id → signal of its deliveries, or of null before they are read

function webhooksSignal(id) {
  if (!webhooks.has(id)) webhooks.set(id, signal(null));
  return webhooks.get(id);
}

/** Returns the list with a delivery in its newest form. Pure. */
export function withDelivery(list, one) {
  const at = list.findIndex(({ id }) => id === one.id);
  return at < 0 ? [one, ...list] : list.map((other, index) => (index === at ? { ...other, ...one } : other));
}

on("delivery", (one) => {
  const known = one.job_id && webhooks.get(one.job_id);
  if (known?.peek()) known.value = withDelivery(known.peek(), one);
  told.get(one.job_id)?.push(one);
});

const told = new Map(); // job id → what the stream told while its deliveries were on their way
let asking = 0;
const queue = [];

function askNext() {
  if (asking >= 3 || !queue.length) return;
  asking += 1;
  const id = queue.shift();
  const meanwhile = [];
  told.set(id, meanwhile);
  get(`/fine_tuning/jobs/${id}/deliveries`, { limit: 20 })
    .then(({ data }) => { webhooksSignal(id).value = meanwhile.reduce(withDelivery, data); }, () => {})
    .finally(() => { told.delete(id); asking -= 1; askNext(); });
  askNext();
}

/** The deliveries of a job once its row has been seen, null before. `isWanted`: there can be some. */
export function useWebhooks(id, row, isWanted) {
  const known = webhooksSignal(id);
  useEffect(() => {
    if (!isWanted || !row.current || known.peek()) return undefined;
    const seen = new IntersectionObserver((told) => {
      if (!told.at(-1).isIntersecting) return;
      seen.disconnect();
      queue.push(id);
      askNext();
    });
    seen.observe(row.current);
    return () => seen.disconnect();
  }, [id, isWanted, epoch.value]);
  return known.value;
}
