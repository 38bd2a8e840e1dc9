// Talks to the server that the page came from: the key, JSON, and streams of events.

const KEY = "espalier-key";

export class Refused extends Error {
  // What the server said instead of an answer. status 0: it could not be reached.
  constructor(status, body) {
    super(body?.error?.message ?? (status ? `the server answered ${status}` : "the server cannot be reached"));
    this.status = status;
    this.where = body?.error?.param ?? null;
    this.code = body?.error?.code ?? null;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

function headers(body) {
  const made = {};
  if (body !== undefined) made["content-type"] = "application/json";
  if (key.get()) made.authorization = `Bearer ${key.get()}`;
  return made;
}

async function send(method, path, body, signal) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: headers(body),
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0);
  }
  if (!response.ok) throw new Refused(response.status, await response.json().catch(() => null));
  return response;
}

export async function get(path, signal) {
  return (await send("GET", path, undefined, signal)).json();
}

export async function post(path, body, signal) {
  return (await send("POST", path, body, signal)).json();
}

// The events of a streamed answer, one by one. One that tells of a failure is thrown.
export async function* events(path, body, signal) {
  const response = await send("POST", path, body, signal);
  for await (const data of payloads(response.body)) {
    if (data === "[DONE]") return;
    const told = JSON.parse(data);
    if (told.error) throw new Refused(response.status, told);
    yield told;
  }
  throw new Refused(0, { error: { message: "the answer broke off" } });
}

async function* payloads(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const pieces = (rest + value).split("\n\n");
      rest = pieces.pop();
      for (const piece of pieces) if (piece.startsWith("data: ")) yield piece.slice(6);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
