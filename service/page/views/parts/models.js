// The models that can be trained, and those that were trained here.
import { all } from "../../lib/api.js";
import { useEvent, useLoaded } from "../../lib/hooks.js";
import { html } from "../../lib/ui.js";

/** Returns `{base, tuned, error, loading, again}`. A tuned model has a `parent`. */
export function useModels() {
  const { data = [], error, loading, again } = useLoaded(() => all("/models", { limit: 1000 }, 10_000));
  useEvent("job", (job) => job.fine_tuned_model && again());  // a new model, or another state of its deployment
  return { base: data.filter((one) => !one.parent), tuned: data.filter((one) => one.parent), error, loading, again };
}

/** The day on which a model is shut down, in words; empty without one. */
export function ending(model, now = Date.now()) {
  if (!model?.shutdown_date) return "";
  const days = Math.ceil((Date.parse(model.shutdown_date) - now) / 86_400_000);
  if (days < 0) return `since ${model.shutdown_date}`;
  return `${model.shutdown_date}, in ${days} day${days === 1 ? "" : "s"}`;
}

/** Options of a select, with the end dates. */
export function ModelOptions({ models }) {
  const rows = (some) => some.map((one) => html`<option key=${one.id} value=${one.id}>${one.id}${one.shutdown_date ? ` (until ${one.shutdown_date})` : ""}</option>`);
  return html`
    <optgroup label="Base models">${rows(models.base)}</optgroup>
    ${models.tuned.length > 0 && html`<optgroup label="Tuned here">${rows(models.tuned)}</optgroup>`}
  `;
}
