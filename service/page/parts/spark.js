// A small curve in a row, with its last value in words beside it.
import { spark } from "../lib/curve.js";
import { measure } from "../lib/format.js";
import { html } from "../lib/ui.js";

export function Spark({ values }) {
  const last = values.findLast((value) => value !== null && value !== undefined);
  const points = spark(values);
  return html`<span class="spark">${measure(last)} ${points && html`<svg width="60" height="16" aria-hidden="true"><polyline points=${points} fill="none" stroke="currentColor" stroke-width="1.300" /></svg>`}</span>`;
}
