// The models that can be trained, and those that were trained here.
import { all } from "../../lib/api.js";
import { count, number } from "../../lib/format.js";
import { useEvent, useLoaded } from "../../lib/hooks.js";
import { html, useState } from "../../lib/ui.js";

/** So many models of a group a select has: thousands take it a second to open. */
const MOST = 100;

/** Returns `{base, tuned, isWhole, error, again}`. A tuned model has a `parent`. The first page is there before the others. */
export function useModels() {
  const [begun, setBegun] = useState([]);
  const { data, error, again } = useLoaded(() => all("/models", { limit: 1000 }, 10_000, setBegun));
  const models = data ?? begun;
  useEvent("job", (job) => job.fine_tuned_model && again());  // a new model, or another state of its deployment
  return { base: models.filter((one) => !one.parent), tuned: models.filter((one) => one.parent), isWhole: Boolean(data), error, again };
}

/** The day on which a model is shut down, in words; empty without one. */
export function ending(model, now = Date.now()) {
  if (!model?.shutdown_date) return "";
  const days = Math.ceil((Date.parse(model.shutdown_date) - now) / 86_400_000);
  if (days < 0) return `since ${model.shutdown_date}`;
  return `${model.shutdown_date}, in ${days} day${days === 1 ? "" : "s"}`;
}

/** Those of the models whose name contains a text. */
export function withName(models, text = "") {
  const wanted = text.trim().toLowerCase();
  return models.filter(({ id }) => id.toLowerCase().includes(wanted));
}

export const groupsOf = ({ base, tuned }) => ({ "Base models": base, "Tuned here": tuned });

/** A select of models in groups, with their end dates; `groups`: words → models.
 *
 * Of more than MOST models it has the first that a search above it finds in each group. The chosen one is always there.
 */
export function ModelSelect({ label, groups, value, onChange, children, ...more }) {
  const [text, setText] = useState("");
  const models = Object.values(groups).flat();
  const shown = Object.entries(groups).map(([name, some]) => [name, withName(some, text).slice(0, MOST)]).filter(([, some]) => some.length);
  const listed = shown.flatMap(([, some]) => some);
  const option = ({ id, shutdown_date: ends }) => html`<option key=${id} value=${id}>${id || "none"}${ends ? ` (until ${ends})` : ""}</option>`;
  return html`<div>
    ${models.length > MOST && html`<label>Find a ${label.toLowerCase()} by name <input type="search" value=${text} onInput=${(event) => setText(event.target.value)} /></label>
      <span class="soft" role="status">${number(listed.length)} of ${count(models.length, "model")} are listed below.</span>`}
    <label>${label} <select value=${value} onChange=${onChange} ...${more}>
      ${!listed.some(({ id }) => id === value) && option(models.find(({ id }) => id === value) ?? { id: value })}
      ${shown.map(([name, some]) => html`<optgroup key=${name} label=${name}>${some.map(option)}</optgroup>`)}
    </select>${children}</label>
  </div>`;
}
