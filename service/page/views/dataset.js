// #/datasets/<file>: what the check of a dataset found, with the lines.
import { get } from "../lib/api.js";
import { bytes } from "../lib/format.js";
import { useLoaded, useTitle } from "../lib/hooks.js";
import { html } from "../lib/ui.js";
import { Copy, ErrorBox, Time } from "../parts/basic.js";
import { Report } from "./parts/report.js";
import { useWhenChecked } from "./parts/when_checked.js";

export default function Dataset({ params }) {
  const file = useLoaded(() => get(`/files/${params.id}`), [params.id]);
  const status = file.data?.status;
  const isChecked = status !== undefined && status !== "uploaded";
  const report = useLoaded(() => (isChecked ? get(`/files/${params.id}/report`) : Promise.resolve(null)), [params.id, isChecked]);
  useWhenChecked(status === "uploaded" ? params.id : null, file.again);
  const name = file.data?.filename ?? params.id;
  useTitle(name);
  return html`
    <p><a href="#/datasets">‹ Datasets</a></p>
    <h1 tabindex="-1">${name}</h1>
    <${ErrorBox} error=${file.error} />
    ${file.data && html`
      <p class="row"><code>${file.data.id}</code> <${Copy} text=${file.data.id} what="the file's id" />
        <span>${bytes(file.data.bytes)}</span> <span>sent <${Time} at=${file.data.created_at} /></span>
        ${file.data.status === "processed" && html`<a class="button" href=${`#/new?training=${file.data.id}`}>Train on it</a>`}
        ${report.data && html`<${Copy} text=${JSON.stringify(report.data, null, 2)} what="Copy the report as JSON" /> <span class="soft">JSON</span>`}</p>`}
    ${status === "uploaded" && html`<p role="status" class="box wait">Files above 16 MB are checked by a worker. The report appears here when the check is over.</p>`}
    <${ErrorBox} error=${report.error} />
    ${report.data && html`<${Report} report=${report.data} />`}
  `;
}
