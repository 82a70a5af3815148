// Where a dataset comes from: a file that is dropped or chosen, or pasted questions and answers.
import { missing } from "../../lib/scopes.js";
import { html, useRef, useState } from "../../lib/ui.js";
import { isBuilt, pastedName, refusal, sendFile } from "./file_upload.js";

/** `data`: `{ training, validation, notes }`, file objects of the API. `onData`: gets the changed ones. */
export function DatasetForm({ data, onData }) {
  const [system, setSystem] = useState("");
  const [pasted, setPasted] = useState("");
  const [split, setSplit] = useState("");
  const upload = useUpload();
  const why = missing("write");
  const options = { system: system.trim(), validation_split: split };
  const take = async (file, only) => {
    const system = only === "validation" || !isBuilt(file.name) ? "" : options.system;
    const sent = await upload.send(file, { options: { system } });
    if (sent) onData(only === "validation" ? { ...data, validation: sent.training } : { ...sent, file });
  };
  const build = async () => {
    const sent = await upload.send(data.file, { options, build: true });
    if (sent) onData(sent);
  };
  const paste = async () => {
    const file = new File([pasted], pastedName(pasted), { type: "text/plain" });
    const sent = await upload.send(file, { options });
    if (sent) onData(sent);
  };
  return html`
    ${why && html`<p class="soft">${why}</p>`}
    <div class="beside"><label>System message for pairs and tables <input value=${system} placeholder="You name birds." onInput=${(event) => setSystem(event.target.value)} /></label></div>
    <div class="beside">
      <section class="card">
        <${Drop} label="Training file" hint=".jsonl up to 8 GB, or .csv, .tsv, .txt, .json up to 8 MB" disabled=${!!why || upload.busy} onFile=${(file) => take(file, "training")} />
        <${Drop} label="Validation file" hint="optional" disabled=${!!why || upload.busy || !data.training} onFile=${(file) => take(file, "validation")} />
      </section>
      <section class="card">
        <label>Or paste questions and answers
          <textarea rows="6" value=${pasted} onInput=${(event) => setPasted(event.target.value)} placeholder=${"Q: A small blue bird?\nA: Indigo bunting.\n\nQ: …\nA: …"} /></label>
        <label>Share kept for validation <input type="number" min="0" max="0.9" step="0.05" value=${split} placeholder="0" onInput=${(event) => setSplit(event.target.value)} /></label>
        <button disabled=${!!why || upload.busy || !pasted.trim()} onClick=${paste}>Make a dataset</button>
      </section>
    </div>
    ${upload.busy && html`<p class="row"><progress value=${upload.part} aria-label="Sent" /> ${upload.part < 1 ? `${Math.floor(upload.part * 100)} % sent` : "sent; being checked"} <button onClick=${upload.stop}>Stop</button></p>`}
    ${upload.error && html`<p class="box bad" role="alert">${upload.error}</p>`}
    ${data.notes.map((note) => html`<p class="box wait">${note}</p>`)}
    <p role="status">${data.training && html`<${Chosen} word="Training" file=${data.training} />`} ${data.validation && html`<${Chosen} word="Validation" file=${data.validation} />`}</p>
    ${data.file && data.training?.status === "error" && html`<p class="row"><button disabled=${upload.busy} onClick=${build}>Turn it into a dataset</button>
      <span class="soft">where its lines are questions and answers of another shape (Alpaca, ShareGPT, pairs)</span></p>`}
  `;
}

function Chosen({ word, file }) {
  return html`<span>${word}: <a href=${`#/datasets/${file.id}`}>${file.filename}</a> <code>${file.id}</code> </span>`;
}

function Drop({ label, hint, disabled, onFile }) {
  const [over, setOver] = useState(false);
  const drag = (inside) => (event) => {
    event.preventDefault();
    setOver(inside && !disabled);
  };
  const drop = (event) => {
    drag(false)(event);
    if (!disabled && event.dataTransfer.files[0]) onFile(event.dataTransfer.files[0]);
  };
  return html`
    <label class=${`drop ${over ? "over" : ""}`} onDragOver=${drag(true)} onDragLeave=${drag(false)} onDrop=${drop}>${label}
      <input type="file" accept=".jsonl,.csv,.tsv,.txt,.md,.json" disabled=${disabled} onChange=${(event) => event.target.files[0] && onFile(event.target.files[0])} />
      <span class="soft">${hint}</span>
    </label>
  `;
}

/** Sends one file at a time: `{ busy, part, error, send, stop }`. */
function useUpload() {
  const [state, setState] = useState({ busy: false, part: 0, error: null });
  const stopper = useRef(null);
  const send = async (file, how) => {
    const refused = refusal(file.name, file.size);
    if (refused) return setState({ busy: false, part: 0, error: refused });
    stopper.current = new AbortController();
    setState({ busy: true, part: 0, error: null });
    try {
      const told = (part) => setState({ busy: true, part, error: null });
      const sent = await sendFile(file, { ...how, told, signal: stopper.current.signal });
      setState({ busy: false, part: 1, error: null });
      return sent;
    } catch (error) {
      setState({ busy: false, part: 0, error: stopper.current.signal.aborted ? "Stopped. If all of it had arrived, it is among the datasets." : error.message });
    }
  };
  return { ...state, send, stop: () => stopper.current?.abort() };
}
