// What deliveries say to a person. Pure.
import { clock } from "./format.js";

/** Sign, word and kind of a delivery. Ten attempts are made. */
export function stateOfDelivery(one) {
  if (one.state === "delivered") return { kind: "good", sign: "✓", word: one.last_status_code ? `delivered, ${one.last_status_code}` : "delivered" };
  if (one.state === "failed") return { kind: "bad", sign: "✕", word: `given up after ${one.attempt_count}` };
  if (!one.attempt_count) return { kind: "run", sign: "○", word: "to be sent" };
  const next = one.next_attempt_at ? `, next ${clock(one.next_attempt_at, undefined, false)}` : "";
  return { kind: "wait", sign: "↻", word: `tried ${one.attempt_count} ×${next}` };
}

/** The state of several deliveries in one: the worst. Null where there is none. */
export function stateOfAll(deliveries) {
  const worst = ["failed", "pending"].map((state) => deliveries.find((one) => one.state === state)).find(Boolean);
  if (worst) return stateOfDelivery(worst);
  if (!deliveries.length) return null;
  return { kind: "good", sign: "✓", word: deliveries.length > 1 ? `${deliveries.length} delivered` : "delivered" };
}

/** An event's type without its frame: "succeeded", "model.ready". */
export function shortType(type) {
  return type.replace(/^fine_tuning\.(job\.)?/, "");
}
