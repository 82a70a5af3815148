// #/datasets: the files of the project that jobs train on.
import { del, get } from "../lib/api.js";
import { bytes } from "../lib/format.js";
import { useAction, useLoaded, useTitle } from "../lib/hooks.js";
import { missing } from "../lib/scopes.js";
import { html, useState } from "../lib/ui.js";
import { Badge, ErrorBox, Time } from "../parts/basic.js";
import { useWhenChecked } from "./parts/when_checked.js";

const STATUS = { processed: ["✓", "good", "checked"], error: ["✕", "bad", "has errors"], uploaded: ["…", "wait", "being checked"] };
const PAGE = 100;

export default function Datasets() {
  useTitle("Datasets");
  const [older, setOlder] = useState([]);
  const { data, error, again } = useLoaded(() => get("/files", { purpose: "fine-tune", limit: PAGE }).finally(() => setOlder([])));
  const pages = data ? [data, ...older] : [];
  const files = pages.flatMap((page) => page.data);
  const [next, busy, refused] = useAction(async () => {
    const page = await get("/files", { purpose: "fine-tune", limit: PAGE, after: files.at(-1).id });
    setOlder((some) => [...some, page]);
  });
  useWhenChecked(files.find((file) => file.status === "uploaded")?.id ?? null, again);
  const problem = error ?? refused;
  return html`
    <h1 tabindex="-1">Datasets</h1>
    <p class="row"><a class="button first" href="#/new">New dataset and job</a> <button onClick=${again}>Read the list again</button></p>
    <${ErrorBox} error=${problem} />
    ${data && !files.length && html`<p class="soft">No dataset was sent yet. What a program or the terminal uploads with a key of this project stands here, too.</p>`}
    ${files.length > 0 && html`
      <table class="cards">
        <caption class="hidden">Datasets, the newest first</caption>
        <thead><tr><th scope="col">File</th><th scope="col">Check</th><th scope="col" class="num">Size</th><th scope="col">Sent</th><th scope="col">Actions</th></tr></thead>
        <tbody>${files.map((file) => html`<${Row} key=${file.id} file=${file} again=${again} />`)}</tbody>
      </table>`}
    ${pages.at(-1)?.has_more && html`<p><button disabled=${busy} onClick=${next}>Show older ones</button></p>`}
  `;
}

function Row({ file, again }) {
  const [sign, tone, word] = STATUS[file.status] ?? ["", "", file.status];
  const [asked, setAsked] = useState(false);
  const [remove, busy, error] = useAction(() => del(`/files/${file.id}`).then(again));
  const why = missing("write");
  return html`
    <tr data-row>
      <th scope="row"><a href=${`#/datasets/${file.id}`}>${file.filename}</a> <code>${file.id}</code></th>
      <td data-label="Check"><${Badge} kind=${tone} sign=${sign} word=${word} />${file.status_details && html`<br /><span class="soft">${file.status_details}</span>`}</td>
      <td data-label="Size" class="num">${bytes(file.bytes)}</td>
      <td data-label="Sent"><${Time} at=${file.created_at} /></td>
      <td data-label="Actions"><div class="row">
        ${file.status !== "error" && html`<a class="button" href=${`#/new?training=${file.id}`}>Train on it</a>`}
        ${asked
          ? html`<button class="danger" disabled=${busy} onClick=${remove}>Delete it now</button><button onClick=${() => setAsked(false)}>Keep it</button>`
          : html`<button disabled=${!!why} title=${why} onClick=${() => setAsked(true)}>Delete</button>`}
        ${error && html`<span class="badge note bad" role="alert">✕ ${error.message}</span>`}
      </div></td>
    </tr>
  `;
}
