// The page's pure modules, as the browser loads them: curves, filters, the list, the story, the stream's state.
import assert from "node:assert/strict";
import { test } from "node:test";

const lib = new URL("../../../service/page/lib/", import.meta.url);
const [curve, filter, format, job, joblist, stream, webhooks] = await Promise.all(
  ["curve", "filter", "format", "job", "joblist", "stream_state", "webhooks"].map((name) => import(new URL(`${name}.js`, lib))),
);

function jobOf({ id = "ftjob-1", stage = "tracked", status = "running", created_at = 100, ...rest } = {}) {
  const { tunehook, ...members } = rest;
  return {
    id, created_at, finished_at: null, status, model: "gpt-4.1-mini-2025-04-14", fine_tuned_model: null, metadata: null, error: null,
    hyperparameters: {}, method: { type: "supervised" }, seed: 1, training_file: "file-1", ...members,
    tunehook: { stage, upstream: "openai", upstream_status: null, waiting: null, upload: null, cancel_requested_at: null, options: null, revision: 1, ...tunehook },
  };
}

test("smoothing of nothing is the curve itself, and begins where the curve begins", () => {
  assert.deepEqual(curve.smooth([3, 1, 2], 0), [3, 1, 2]);
  const smoothed = curve.smooth([4, 4, null, 4], 0.9);
  assert.equal(smoothed[2], null);
  for (const index of [0, 1, 3]) assert.ok(Math.abs(smoothed[index] - 4) < 1e-9);
});

test("new steps go behind, repeated and late ones to their place", () => {
  const columns = { step: [1, 3], train_loss: [2, 1] };
  assert.deepEqual(curve.withRows(columns, [{ step: 4, train_loss: 0.5, total_steps: 9 }]), { step: [1, 3, 4], train_loss: [2, 1, 0.5] });
  const merged = curve.withRows(columns, [{ step: 2, train_loss: 1.5, valid_loss: 1.7 }, { step: 3, train_loss: 0.9 }]);
  assert.deepEqual(merged, { step: [1, 2, 3], train_loss: [2, 1.5, 0.9], valid_loss: [null, 1.7, null] });
  assert.deepEqual(columns, { step: [1, 3], train_loss: [2, 1] }, "the columns are not changed in place");
});

test("ten thousand steps that come one by one are joined in less than a second", () => {
  let columns = { step: Array.from({ length: 10_000 }, (_, step) => step), train_loss: new Array(10_000).fill(1) };
  for (let step = 10_000; step < 10_100; step += 1) columns = curve.withRows(columns, [{ step, train_loss: 1 }]);
  assert.equal(columns.step.length, 10_100);
});

test("curves of several jobs share one axis, with gaps where one has no step", () => {
  const runs = [
    { id: "a", columns: { step: [1, 2], train_loss: [5, 4] } },
    { id: "b", columns: { step: [2, 4], train_loss: [3, 2], valid_loss: [null, null] } },
  ];
  const lines = curve.linesOf(runs, curve.KINDS.loss);
  assert.deepEqual(lines.map(({ id, kind }) => `${id} ${kind.word}`), ["a train", "b train"]);
  assert.deepEqual(curve.aligned(lines), [[1, 2, 4], [5, 4, null], [null, 3, 2]]);
  const shares = curve.linesOf(runs, curve.KINDS.loss, "share");
  assert.deepEqual(shares.map(({ x }) => x), [[50, 100], [50, 100]]);
});

test("a chart has a sentence", () => {
  const columns = { step: [1, 2, 3], train_loss: [2, 0.5, 1], valid_loss: [null, 0.7, null] };
  assert.equal(
    curve.sentence(columns, String),
    "Training loss went from 2 at step 1 to 1 at step 3; its lowest is 0.5 at step 2. Validation loss is 0.7 at step 2.",
  );
  assert.equal(curve.sentence({ step: [] }, String), "Nothing has been measured yet.");
  const rewards = { step: [1, 2], train_mean_reward: [0.25, 0.75], train_loss: [0.1, 0.1] };
  assert.deepEqual(curve.chartsOf({}, rewards), ["reward", "loss"]);
  assert.deepEqual(curve.chartsOf({}), ["loss"]);
  assert.equal(
    curve.sentence(rewards, String, { of: "reward" }),
    "Training reward went from 0.25 at step 1 to 0.75 at step 2; its highest is 0.75 at step 2.",
  );
});

test("CSV has a row for each step and nothing for what was not measured", () => {
  assert.equal(curve.csv({ step: [1, 2], train_loss: [0.5, null] }), "step,train_loss\r\n1,0.5\r\n2,\r\n");
});

test("an event is a row only if it has a step and numbers", () => {
  assert.deepEqual(curve.rowOf({ type: "metrics", data: { step: 3, train_loss: 1, note: "x", valid_loss: null } }), { step: 3, train_loss: 1 });
  for (const event of [{ type: "message", data: {} }, { type: "metrics", data: {} }, { type: "metrics", data: null }]) assert.equal(curve.rowOf(event), null);
});

test("filters are those of the API, and others of the address are left out", () => {
  const query = { stage: "waiting", q: "", "metadata[team]": "search", with: "x" };
  assert.deepEqual(filter.filtersOf(query), { stage: "waiting", "metadata[team]": "search" });
});

test("a job fits, does not, or the API must say", () => {
  const one = jobOf({ metadata: { team: "search" } });
  assert.equal(filter.fits(one, { stage: "tracked", "metadata[team]": "search" }), true);
  for (const wrong of [{ stage: "waiting" }, { status: "failed" }, { model: "x" }, { upstream: "azure" }, { created_after: "101" }, { created_before: "100" }, { "metadata[team]": "other" }]) {
    assert.equal(filter.fits(one, wrong), false);
  }
  assert.equal(filter.fits(one, { created_after: "100", q: "SEARCH" }), true);
  assert.equal(filter.fits(one, { q: "suffix" }), null);
  assert.equal(filter.fits(one, { q: "suffix", status: "failed" }), false);
});

test("the list takes new jobs to the front, drops those that fit no more, and leaves old ones to later pages", () => {
  const list = new joblist.JobList({ stage: "tracked" });
  list.add({ data: [jobOf({ id: "b", created_at: 20 }), jobOf({ id: "a", created_at: 10 })], has_more: true });
  assert.equal(list.take(jobOf({ id: "c", created_at: 30 })), "changed");
  assert.deepEqual(list.ids, ["c", "b", "a"]);
  assert.equal(list.take(jobOf({ id: "old", created_at: 5 })), "same");
  assert.equal(list.take(jobOf({ id: "b", created_at: 20, stage: "settled", status: "succeeded" })), "changed");
  assert.deepEqual(list.ids, ["c", "a"]);
  assert.equal(list.take(jobOf({ id: "w", stage: "waiting" })), "same");
  assert.equal(list.cursor, "a", "the next page begins behind what was read, whatever has come since");
  list.add({ data: [jobOf({ id: "c", created_at: 30 }), jobOf({ id: "z", created_at: 1 })], has_more: false });
  assert.deepEqual(list.ids, ["c", "a", "z"], "no job stands there twice");
});

test("a list that only the API can filter says so", () => {
  assert.equal(new joblist.JobList({ q: "suffix" }).take(jobOf()), "ask");
});

test("every state has a sign, a word and a kind", () => {
  const waiting = { code: "no_slot", reason: "3 of 3 slots are taken" };
  const words = [
    jobOf({ status: "succeeded", stage: "settled" }), jobOf({ status: "failed", stage: "settled" }), jobOf({ status: "cancelled", stage: "settled" }),
    jobOf({ stage: "waiting", status: "queued", tunehook: { waiting } }),
    jobOf({ stage: "waiting", status: "queued", tunehook: { waiting: { ...waiting, code: "awaiting_approval" } } }),
    jobOf({ stage: "uploading", status: "validating_files" }), jobOf(), jobOf({ status: "paused" }),
    jobOf({ tunehook: { cancel_requested_at: 5 } }), jobOf({ status: "something_new" }),
  ].map(job.stateOf);
  assert.deepEqual(words.map(({ word }) => word), [
    "succeeded", "failed", "cancelled", "waiting", "needs approval", "uploading", "training", "paused", "cancelling", "something new",
  ]);
  for (const { sign, kind } of words) assert.ok(sign && ["good", "bad", "run", "wait", "off"].includes(kind));
});

test("the story has its durations, why it waited, and goes on while it goes on", () => {
  const entries = [
    { created_at: 102, message: "Uploaded 10 of 10 bytes", type: "message", data: { bytes_sent: 10, bytes_total: 10 } },
    { created_at: 103, message: "Waiting: no slot", type: "message", data: {} },
    { created_at: 110, message: "Created at the upstream 'openai' as ftjob-2", type: "message", data: {} },
    { created_at: 112, message: "Step 1/9", type: "metrics", data: { step: 1 } },
  ];
  const live = job.storyOf(jobOf(), entries, 130);
  assert.deepEqual(live.map(({ name, seconds, state }) => [name, seconds, state]), [
    ["accepted", 2, "done"], ["uploaded", 1, "done"], ["waiting", 7, "done"], ["created", 2, "done"], ["training", 18, "now"],
  ]);
  const ended = job.storyOf(jobOf({ status: "failed", stage: "settled", finished_at: 120 }), entries, 130);
  assert.deepEqual(ended.at(-1), { name: "failed", at: 120, seconds: null, state: "bad" });
});

test("members that differ between jobs, and no others", () => {
  const rows = job.differences([jobOf({ hyperparameters: { n_epochs: 1 } }), jobOf({ id: "b", hyperparameters: { n_epochs: 2 }, metadata: { run: "x" } })]);
  assert.deepEqual(rows, [{ name: "n_epochs", values: [1, 2] }, { name: "run", values: [null, "x"] }]);
});

test("pauses between connections grow to 15 s and are spread", () => {
  assert.equal(stream.pause(0), 0);
  assert.equal(stream.pause(1, 1), 500);
  assert.equal(stream.pause(1, 0), 250);
  assert.equal(stream.pause(20, 1), 15_000);
});

test("a stream resumes with the logs that it still follows", () => {
  assert.equal(stream.lastIdFor("9-0;ftjob-a=1-0;ftjob-b=2-0", ["ftjob-b"]), "9-0;ftjob-b=2-0");
  assert.equal(stream.lastIdFor("", ["ftjob-b"]), "");
});

test("one stream follows what the tabs want, the newest wishes first, four at most, none that is gone", () => {
  const wishes = new Map([["one", { jobs: ["a", "b", "c"], at: 1 }], ["two", { jobs: ["d", "e", "a"], at: 2 }]]);
  assert.deepEqual(stream.union(wishes), ["a", "b", "d", "e"]);
  assert.deepEqual(stream.union(wishes, new Set(["e"])), ["a", "b", "c", "d"]);
});

test("a list in one window does not take the log of the job in another", () => {
  const wishes = new Map([["job", { jobs: ["j"], at: 1 }], ["list", { jobs: ["a", "b", "c", "d"], at: 2 }]]);
  assert.deepEqual(stream.union(wishes), ["a", "b", "c", "j"]);
});

test("a line is cut since it was last heard, until an event comes", () => {
  const line = new stream.Line();
  line.opened(1000);
  line.alive(2000);
  assert.equal(line.isSilent(40_000), false);
  assert.equal(line.isSilent(48_000), true);
  line.closed(50_000, 1);
  line.closed(60_000, 1);
  assert.deepEqual(line.state, { kind: "cut", since: 2000 });
  assert.equal(line.failures, 2);
  line.opened(70_000);
  assert.deepEqual([line.state.kind, line.failures], ["live", 0]);
});

test("numbers, times and money as people read them", () => {
  assert.deepEqual([0, 59, 61, 600, 3700, 90_000].map(format.duration), ["0 s", "59 s", "1 min 1 s", "10 min", "1 h 1 min", "1 d 1 h"]);
  assert.deepEqual([null, 0, 0.0021, 0.27, 12.5].map(format.money), ["–", "$0.00", "$0.0021", "$0.270", "$12.50"]);
  assert.deepEqual([null, 0.5, 2.345, 0.00012].map(format.measure), ["–", "0.500", "2.35", "1.20e-4"]);
  assert.deepEqual([0, 999, 1500, 25_486, 3_000_000].map(format.bytes), ["0 B", "999 B", "1.5 KB", "25.5 KB", "3.0 MB"]);
  assert.deepEqual([100, 101, 40, 400].map((at) => format.relative(at, 100)), ["now", "now", "1 min ago", "in 5 min"]);
  assert.equal(format.modelName("ft:gpt-4.1-mini-2025-04-14:acme::9b6c8ab4"), "9b6c8ab4");
  assert.equal(format.modelName("accounts/fireworks/models/llama-v3p1-8b"), "llama-v3p1-8b");
  assert.equal(format.modelName("gpt-4.1-mini-2025-04-14"), "gpt-4.1-mini");
  assert.equal(format.cut("鳥🐦🐦🐦", 3), "鳥🐦…");
  assert.equal(format.cut("鳥🐦", 3), "鳥🐦");
});

test("deliveries in one word: the worst of them", () => {
  const one = { id: "1", state: "delivered", last_status_code: 200, attempt_count: 1 };
  assert.equal(webhooks.stateOfAll([]), null);
  assert.equal(webhooks.stateOfAll([one]).word, "delivered");
  assert.equal(webhooks.stateOfAll([one, { ...one, state: "failed", attempt_count: 10 }]).word, "given up after 10");
});
