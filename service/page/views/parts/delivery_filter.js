// Which deliveries of an endpoint are meant: in the address, for the API, and for what the stream brings. Pure.
export const STATES = ["pending", "delivered", "failed"];

/** Seconds since 1970 of a `datetime-local` text; undefined where there is none. */
export function secondsOf(text) {
  const moment = Date.parse(text ?? "");
  return Number.isNaN(moment) ? undefined : Math.floor(moment / 1000);
}

/** Query of `GET …/deliveries`. `query`: `state`, `type`, `job`, `since`, `until` (times as datetime-local). */
export function apiQuery(query, more = {}) {
  const asked = {
    state: query.state,
    event_type: query.type,
    job: query.job?.trim(),
    created_after: secondsOf(query.since),
    created_before: secondsOf(query.until),
    ...more,
  };
  return String(new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== undefined && value !== "")));
}

/** Whether a delivery that the stream brings belongs into the list. As in the API, `since` is within and `until` is not. */
export function isWanted(delivery, endpoint, query) {
  const [since, until] = [secondsOf(query.since), secondsOf(query.until)];
  return (
    delivery.webhook_endpoint_id === endpoint &&
    (!query.state || delivery.state === query.state) &&
    (!query.type || delivery.event_type === query.type) &&
    (!query.job?.trim() || delivery.job_id === query.job.trim()) &&
    (since === undefined || delivery.created_at >= since) &&
    (until === undefined || delivery.created_at < until)
  );
}

/** Returns the list with a delivery as it is now: changed in its place, new ones first, those that fit no more removed. */
export function withDelivery(rows, delivery, endpoint, query) {
  const wanted = isWanted(delivery, endpoint, query);
  const at = rows.findIndex((one) => one.id === delivery.id);
  if (at < 0) return wanted ? [delivery, ...rows].sort((a, b) => b.created_at - a.created_at) : rows;
  return wanted ? rows.with(at, delivery) : rows.toSpliced(at, 1);
}

/** Whether `POST …/recover` sends exactly what the filter finds: all that failed since a time. */
export const isRecovery = (query) => query.state === "failed" && !query.type && !query.job?.trim() && !query.until;
