// One answer of a model, as its stream is read.
import { createParser } from "eventsource-parser";

/** An answer before anything came. `tokens`: of the answer, once the upstream says it. */
export const EMPTY = { text: "", tokens: null, ended: false, error: null };

/** Returns an answer with one `data` of the stream added. An error that comes in the middle ends it. */
export function withData(answer, data) {
  if (data === "[DONE]") return { ...answer, ended: true };
  const found = JSON.parse(data);
  if (found.error) return { ...answer, ended: true, error: found.error.message ?? String(found.error) };
  const [choice] = found.choices ?? [];
  const said = choice?.delta ?? choice?.message;  // a message: of an upstream that does not stream
  const cut = choice?.finish_reason === "length" ? " […]" : "";
  return {
    ...answer,
    text: answer.text + (said?.content ?? said?.refusal ?? "") + cut,
    tokens: found.usage?.completion_tokens ?? answer.tokens,
  };
}

/** Reads an answer to `stream: true`; calls `told` with what there is at each piece. Returns the last one. */
export async function readAnswer(response, told) {
  let answer = EMPTY;
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    told((answer = { ...withData(answer, await response.text()), ended: true }));
    return answer;
  }
  const parser = createParser({
    onEvent: ({ data }) => {
      if (!answer.ended) told((answer = withData(answer, data)));
    },
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  while (!answer.ended) {
    const { done, value } = await reader.read();
    if (done) told((answer = { ...answer, ended: true, error: "The answer broke off." }));
    else parser.feed(value);
  }
  await reader.cancel();
  return answer;
}
