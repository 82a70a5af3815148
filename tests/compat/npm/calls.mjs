// Every call of the Node SDK's resources that concern us, tried once and looked at; prints {call: what came of it}.
// Arguments: base URL, API key, a receiver's URL, a tuned model is made on the way.
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey, receiver] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, adminAPIKey: apiKey, maxRetries: 0, timeout: 60_000 });
const results = {};
const MODEL = "gpt-4.1-mini-2025-04-14";
const GRADER = { type: "string_check", name: "same", operation: "eq", input: "{{ sample.output_text }}",
  reference: "{{ item.answer }}" };
const messages = [{ role: "user", content: "Where does the owl sleep?" }];

function dataset(examples) {
  const mark = crypto.randomUUID();
  return Array.from({ length: examples }, (_, n) => JSON.stringify({ messages: [
    { role: "system", content: "You are a birdwatcher." },
    { role: "user", content: `Where does the owl number ${n} of ${mark} sleep?` },
    { role: "assistant", content: `In nest ${n}.` }] }) + "\n").join("");
}
async function tried(name, call) {
  try {
    const got = await call;
    results[name] = "works";
    return got;
  } catch (error) {
    throw new Error(`${name}: ${error.message}`, { cause: error });
  }
}
async function refused(name, call, status) {
  try { await call; } catch (error) {
    assert.equal(error.status, status, `${name}: ${error.message}`);
    assert.ok(error.error?.message, name);
    results[name] = `refused: ${status} ${error.code}`;
    return;
  }
  throw new Error(`${name} is said not to be offered, and works`);
}
async function until(id, status) {
  const end = Date.now() + 30_000;
  for (;;) {
    const job = await client.fineTuning.jobs.retrieve(id);
    if (job.status === status) return job;
    assert.ok(Date.now() < end, `${id} is still ${job.status}`);
    await new Promise(done => setTimeout(done, 100));
  }
}
async function all(page) { const rows = []; for await (const row of page) rows.push(row); return rows; }

// ---- files
const content = dataset(20);
const file = await tried("files.create", client.files.create({ file: await toFile(Buffer.from(content), "train.jsonl"),
  purpose: "fine-tune", expires_after: { anchor: "created_at", seconds: 3600 } }));
assert.equal(file.expires_at, file.created_at + 3600);
assert.deepEqual(await tried("files.retrieve", client.files.retrieve(file.id)), file);
assert.equal((await tried("files.list", client.files.list({ limit: 1 }))).data[0].id, file.id);
assert.equal(await (await tried("files.content", client.files.content(file.id))).text(), content);
assert.equal((await tried("files.waitForProcessing", client.files.waitForProcessing(file.id))).status, "processed");

// ---- uploads
const part = Buffer.from(dataset(50));
const about = { filename: "a.jsonl", purpose: "fine-tune", mime_type: "text/jsonl" };
const upload = await tried("uploads.create", client.uploads.create({ bytes: part.length, ...about }));
const sent = await tried("uploads.parts.create", client.uploads.parts.create(upload.id, { data: await toFile(part, "p") }));
const md5 = createHash("md5").update(part).digest("hex");
const done = await tried("uploads.complete", client.uploads.complete(upload.id, { part_ids: [sent.id], md5 }));
assert.equal(done.file.bytes, part.length);
const other = await client.uploads.create({ bytes: 10, ...about });
assert.equal((await tried("uploads.cancel", client.uploads.cancel(other.id))).status, "cancelled");

// ---- jobs
const jobs = client.fineTuning.jobs;
let job = await tried("fineTuning.jobs.create", jobs.create({ training_file: file.id, model: MODEL, seed: 7,
  metadata: { team: "search" }, method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 3 } } } }));
job = await until(job.id, "succeeded");
assert.deepEqual(await tried("fineTuning.jobs.retrieve", jobs.retrieve(job.id)), job);
const listed = await tried("fineTuning.jobs.list", jobs.list({ limit: 1, metadata: { team: "search" } }));
assert.equal(listed.data[0].id, job.id);
assert.deepEqual((await jobs.list({ metadata: null })).data, [], "metadata: null means those without any");
assert.equal((await tried("fineTuning.jobs.listEvents", jobs.listEvents(job.id, { limit: 5 }))).data.length, 5);
const events = await all(jobs.listEvents(job.id, { limit: 5 }));
assert.ok(events.length > 10 && new Set(events.map(event => event.id)).size === events.length);
assert.equal((await tried("fineTuning.jobs.checkpoints.list", jobs.checkpoints.list(job.id))).data.length, 3);
const stalled = await jobs.create({ training_file: file.id, model: MODEL, metadata: { simulate: "stall" } });
await until(stalled.id, "running");
await tried("fineTuning.jobs.pause", jobs.pause(stalled.id));
await tried("fineTuning.jobs.resume", jobs.resume(stalled.id));
await tried("fineTuning.jobs.cancel", jobs.cancel(stalled.id));
await until(stalled.id, "cancelled");
const permissions = client.fineTuning.checkpoints.permissions, model = job.fine_tuned_model;
await refused("fineTuning.checkpoints.permissions.create", all(permissions.create(model, { project_ids: ["p"] })), 404);
await refused("fineTuning.checkpoints.permissions.retrieve", permissions.retrieve(model), 404);
await refused("fineTuning.checkpoints.permissions.list", all(permissions.list(model)), 404);
await refused("fineTuning.checkpoints.permissions.delete",
  permissions.delete("cp_1", { fine_tuned_model_checkpoint: model }), 404);

// ---- graders, models
const graders = client.fineTuning.alpha.graders;
await tried("fineTuning.alpha.graders.validate", graders.validate({ grader: GRADER }));
const run = await tried("fineTuning.alpha.graders.run",
  graders.run({ grader: GRADER, model_sample: "Paris", item: { answer: "Paris" } }));
assert.equal(run.reward, 1);
const models = await tried("models.list", client.models.list());
assert.ok(models.data.some(found => found.id === model) && models.data.some(found => found.id === MODEL));
assert.equal((await tried("models.retrieve", client.models.retrieve(model))).id, model);

// ---- chat
const chat = client.chat.completions;
const said = (await tried("chat.completions.create", chat.create({ model, messages }))).choices[0].message.content;
let streamed = "";
for await (const chunk of await chat.create({ model, messages, stream: true })) {
  streamed += chunk.choices[0]?.delta.content ?? "";
}
assert.equal(streamed, said);
results["chat.completions.create"] = "works, streamed too";
assert.equal(await chat.stream({ model, messages }).finalContent(), said);
results["chat.completions.stream"] = "works";
assert.equal((await tried("chat.completions.parse", chat.parse({ model, messages }))).choices[0].message.content, said);
const tool = { type: "function", function: { name: "look", parameters: { type: "object", properties: {} },
  function: () => "nothing" } };
assert.equal(await chat.runTools({ model, messages, tools: [tool] }).finalContent(), said);
results["chat.completions.runTools"] = "works; whether tools are called is up to the model";
await refused("chat.completions.retrieve", chat.retrieve("chatcmpl-1"), 404);
await refused("chat.completions.update", chat.update("chatcmpl-1", { metadata: { a: "b" } }), 404);
await refused("chat.completions.delete", chat.delete("chatcmpl-1"), 404);
await refused("chat.completions.list", all(chat.list()), 405);
await refused("chat.completions.messages.list", all(chat.messages.list("chatcmpl-1")), 404);
// ---- responses
const answers = client.responses;
const input = messages;
const answered = await tried("responses.create", answers.create({ model, input }));
assert.equal(answered.output_text, said);
let last;
for await (const event of await answers.create({ model, input, stream: true })) last = event;
assert.equal(last.type, "response.completed");
results["responses.create"] = "works, streamed too";
assert.equal((await answers.stream({ model, input }).finalResponse()).output_text, said);
results["responses.stream"] = "works";
assert.equal((await tried("responses.parse", answers.parse({ model, input }))).output_text, said);
await refused("responses.retrieve", answers.retrieve("resp_1"), 404);
await refused("responses.delete", answers.delete("resp_1"), 404);
await refused("responses.cancel", answers.cancel("resp_1"), 404);
await refused("responses.compact", answers.compact({ model }), 404);
await refused("responses.inputItems.list", all(answers.inputItems.list("resp_1")), 404);
await refused("responses.inputTokens.count", answers.inputTokens.count({ model, input: "?" }), 404);
assert.ok((await tried("models.delete", client.models.delete(model))).deleted);

// ---- webhooks
const hooks = client.webhooks;
const made = await tried("webhooks.create",
  hooks.create({ name: "mine", url: receiver, event_types: ["fine_tuning.job.succeeded"] }));
assert.equal((await tried("webhooks.retrieve", hooks.retrieve(made.id))).id, made.id);
assert.equal((await tried("webhooks.list", hooks.list({ limit: 1 }))).data[0].id, made.id);
assert.equal((await tried("webhooks.update", hooks.update(made.id, { name: "ours" }))).name, "ours");
const rotated = await tried("webhooks.rotateSecret", hooks.rotateSecret(made.id, {}));
assert.notEqual(rotated.signing_secret, made.signing_secret);
const sample = await tried("webhooks.test", hooks.test(made.id, { event_type: "fine_tuning.job.succeeded" }));
assert.equal(sample.status_code, 204);
assert.ok((await tried("webhooks.eventTypes.list", hooks.eventTypes.list())).data.length);
await tried("webhooks.delete", hooks.delete(made.id));
const key = Buffer.alloc(32, 7), secret = "whsec_" + key.toString("base64");
const body = '{"id":"evt_1","object":"event","created_at":1,"type":"fine_tuning.job.succeeded","data":{"id":"x"}}';
const stamp = String(Math.floor(Date.now() / 1000));
const headers = { "webhook-id": "evt_1", "webhook-timestamp": stamp,
  "webhook-signature": "v1," + createHmac("sha256", key).update(`evt_1.${stamp}.${body}`).digest("base64") };
await tried("webhooks.verifySignature", hooks.verifySignature(body, headers, secret));
assert.equal((await tried("webhooks.unwrap", hooks.unwrap(body, headers, secret))).id, "evt_1");
await tried("files.delete", client.files.delete(file.id));

// ---- what there is
const names = [];
function walk(resource, path) {
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(resource))) {
    if (name !== "constructor" && !name.startsWith("_")) names.push(`${path}.${name}`);
  }
  for (const [name, inner] of Object.entries(resource)) {
    if (name !== "_client" && inner && typeof inner === "object" && inner._client) walk(inner, `${path}.${name}`);
  }
}
for (const path of ["files", "uploads", "fineTuning", "models", "webhooks", "chat.completions", "responses"]) {
  walk(path.split(".").reduce((at, step) => at[step], client), path);
}
console.log(JSON.stringify({ names, results }));
