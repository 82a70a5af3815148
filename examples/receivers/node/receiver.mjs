// A receiver with Node's own HTTP server, verified by the public library `standardwebhooks`.
//
//     npm install
//     WEBHOOK_SECRET=whsec_… PORT=9000 node receiver.mjs
//
// Its types come from Tunehook's contract: `npm run types` writes tunehook.d.ts, `npm run check` compiles against it.

import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

/** @typedef {import("./tunehook.d.ts").components["schemas"]} Schemas */
/** @typedef {Schemas["FineTuningJobSucceededEvent"]} Succeeded */
/** @typedef {Succeeded | Schemas["FineTuningJobFailedEvent"] | Schemas["FineTuningJobCancelledEvent"]} Ended */

const webhook = new Webhook(process.env.WEBHOOK_SECRET ?? "");
const seen = new Set(); // yours: a table, with the id as its key

createServer(async (request, response) => {
  if (request.method !== "POST" || request.url !== "/hooks") return response.writeHead(404).end();
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString("utf8"); // as it came: parsed and written again it has another signature
  /** @type {Ended} */
  let event;
  try {
    event = /** @type {Ended} */ (webhook.verify(body, /** @type {Record<string, string>} */ (request.headers)));
  } catch {
    return response.writeHead(400).end("the signature does not fit");
  }
  response.writeHead(204).end(); // answer first, work afterwards: 15 seconds is all there is
  if (seen.has(request.headers["webhook-id"])) return; // a delivery may come twice, and has the same id then
  seen.add(request.headers["webhook-id"]);
  work(event);
}).listen(Number(process.env.PORT ?? 9000), "127.0.0.1");

/** @param {Ended} event */
function work(event) {
  /** @type {Schemas["JobEventData"]} */
  const job = event.data;
  console.log(event.type, job.id, job.fine_tuned_model ?? null);
}
