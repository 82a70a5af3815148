// Sends a file as the API takes it: JSONL as it is, other kinds to be built, above 512 MB in parts.
import { ApiError, address, call, errorOf } from "../../lib/api.js";
import { key } from "../../lib/key.js";

const MIB = 1024 * 1024;
export const LARGEST = 8 * 1024 * MIB;
const IN_ONE = 512 * MIB;
const PART = 64 * MIB;
/** What `POST /v1/datasets` builds; spreadsheets and Parquet are for `tunehook build`. */
const BUILT = /\.(csv|tsv|txt|md|json)$/i;
const BUILT_BYTES = 8 * MIB;

/** Whether the file has to be turned into JSONL first. */
export const isBuilt = (name) => BUILT.test(name);

/** Returns in words why the file cannot be taken, or null. */
export function refusal(name, size) {
  if (size === 0) return "The file is empty.";
  if (/\.(xlsx?|parquet|ods)$/i.test(name)) return `Spreadsheets and Parquet are built on your machine: tunehook build ${name} -o train.jsonl`;
  if (isBuilt(name) && size > BUILT_BYTES) return `Files of this kind are built here up to 8 MB. Larger ones: tunehook build ${name} -o train.jsonl`;
  return size > LARGEST ? "The largest file that is taken has 8 GB." : null;
}

/** Gives pasted text the name by which the API tells its kind. */
export function pastedName(text) {
  const start = text.trimStart();
  if (start.startsWith("[")) return "pasted.json";
  return start.startsWith("{") ? "pasted.jsonl" : "pasted.txt";
}

/**
 * Sends a file; returns `{ training, validation, notes }`, two file objects (or null) and what building said.
 *
 * The file is never read into memory: the browser sends it, or slices of it, from the disk. `told(part)`: how much was
 * sent, 0 to 1. `options`: fields of `POST /v1/datasets`; with any, or with `build`, JSONL is built too. `inOne`, `part`:
 * bytes above which a file goes in parts, and of a part.
 */
export async function sendFile(file, { told = () => {}, signal, options = {}, build = false, inOne = IN_ONE, part = PART } = {}) {
  const sent = (bytes) => told(Math.min(1, bytes / file.size));
  if (build || isBuilt(file.name) || Object.values(options).some(Boolean)) {
    const made = await sendForm("/datasets", formOf({ ...options, file }), sent, signal);
    return { training: made.training_file, validation: made.validation_file, notes: notesOf(made) };
  }
  const training = file.size <= inOne
    ? await sendForm("/files", formOf({ purpose: "fine-tune", file }), sent, signal)
    : await inParts(file, part, sent, signal);
  return { training, validation: null, notes: [] };
}

async function inParts(file, size, sent, signal) {
  const asked = { filename: file.name, purpose: "fine-tune", bytes: file.size, mime_type: "application/jsonl" };
  const upload = await call("POST", "/uploads", { body: asked, signal });
  try {
    const part_ids = [];
    for (let from = 0; from < file.size; from += size) {
      const form = formOf({ data: file.slice(from, from + size) });
      const part = await sendForm(`/uploads/${upload.id}/parts`, form, (bytes) => sent(from + bytes), signal);
      part_ids.push(part.id);
    }
    return (await call("POST", `/uploads/${upload.id}/complete`, { body: { part_ids }, signal })).file;
  } catch (error) {
    await call("POST", `/uploads/${upload.id}/cancel`).catch(() => {});
    throw error;
  }
}

/** Posts a form and tells how many bytes were sent, which fetch cannot. */
function sendForm(path, form, sent, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const used = key.value;
    request.open("POST", address(path));
    request.setRequestHeader("authorization", `Bearer ${used}`);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded }) => sent(loaded);
    request.onload = () => {
      const { status, response } = request;
      if (status >= 200 && status < 300) resolve(response);
      else reject(errorOf(status, response, used));
    };
    request.onerror = () => reject(new ApiError(0, { message: "The connection was lost while the file was sent." }));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

function formOf(fields) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined && value !== "") form.append(name, value, ...(value instanceof File ? [value.name] : []));
  }
  return form;
}

function notesOf(made) {
  const dropped = made.dropped_count ? [`${made.dropped_count} rows were left out.`] : [];
  const unused = made.unused_columns?.length ? [`Columns not used: ${made.unused_columns.join(", ")}.`] : [];
  return [...made.notes, ...dropped, ...unused];
}
