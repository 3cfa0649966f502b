// What a tool's result says: its payload, or the refusal in it.

/** A tool's refusal: `code`, perhaps `retry_after_ms`, and in `payload` all that it says. Any other error is the way's. */
export class Refusal extends Error {
  constructor(payload) {
    super(payload.error || payload.code);
    this.code = payload.code;
    this.retry_after_ms = payload.retry_after_ms || 0;
    this.payload = payload;
  }
}

/** Return the payload of a `tools/call` result; throw the `Refusal` in it. Its text is read where a host drops the rest. */
export function answerOf({ structuredContent, content, isError }) {
  const isThere = structuredContent && Object.keys(structuredContent).length > 0; // no payload is empty
  const payload = isThere ? structuredContent : JSON.parse(content[0].text);
  if (isError || payload.code) throw new Refusal(payload);
  return payload;
}
