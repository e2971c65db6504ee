// The server's HTTP interface (docs/server.md): models, and answers that arrive as server-sent events.
// SPDX-License-Identifier: Apache-2.0

// status: of HTTP; 0 when there was no answer at all.
export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

// Never stored: it is gone with the page.
let apiKey = '';

export function useKey(key) {
  apiKey = key;
}

async function ask(path, options) {
  const headers = { ...options.headers };
  if (apiKey !== '') headers.Authorization = `Bearer ${apiKey}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: 'no-store', credentials: 'omit', redirect: 'error' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ServerError('The server does not answer. Is it still running?');
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

// OpenAI's form is {"error": {"message": ..}}.
async function refusal(response) {
  let message = '';
  try {
    const text = await response.text();
    const { error } = JSON.parse(text);
    message = typeof error === 'string' ? error : error.message;
  } catch {
    // What is no JSON says nothing that the status does not.
  }
  if (typeof message !== 'string' || message === '') message = `The server refused with status ${response.status}.`;
  const wait = response.headers.get('Retry-After');
  if (response.status === 429 && /^\d+$/.test(wait || '')) message += ` Try again in ${wait} s.`;
  return new ServerError(message, response.status);
}

// The models in the server's order: {id, chat}; chat: whether the model has a template.
export async function listModels() {
  const response = await ask('v1/models', {});
  const { data } = await response.json();
  return data.map((model) => ({ id: String(model.id), chat: model.chat !== false }));
}

// The data of each event (https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6; the other
// fields are not used).
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (buffer + value).split(/\r\n|\n|\r(?!$)/);
      buffer = lines.pop();
      for (const line of lines) {
        if (line === '' && data.length > 0) {
          yield data.join('\n');
          data = [];
        } else if (line.startsWith('data:')) {
          data.push(line.slice(5).replace(/^ /, ''));
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const ENCODER = new TextEncoder();
const finite = (x) => (typeof x === 'number' ? x : NaN);

// Where there is only a name, that of bytes that are no whole characters is "bytes:\xe2\x80".
function bytesOf(name) {
  if (!/^bytes:(\\x[0-9a-f]{2})+$/.test(name)) return ENCODER.encode(name);
  return Uint8Array.from(name.split('\\x').slice(1), (digits) => parseInt(digits, 16));
}

function readToken(entry) {
  const text = String(entry.token ?? '');
  const bytes = Array.isArray(entry.bytes) ? Uint8Array.from(entry.bytes) : bytesOf(text);
  return { text, bytes, logprob: finite(entry.logprob), top: (entry.top_logprobs || []).map(readToken) };
}

// /v1/completions has lists beside each other instead of one list of objects.
function readColumns(logprobs) {
  return (logprobs.tokens || []).map((token, i) => readToken({
    token,
    logprob: (logprobs.token_logprobs || [])[i],
    top_logprobs: Object.entries((logprobs.top_logprobs || [])[i] || {})
      .map(([text, logprob]) => ({ token: text, logprob })).sort((a, b) => b.logprob - a.logprob),
  }));
}

function readChunk(chunk) {
  const choice = (chunk.choices || [])[0] || {};
  const delta = choice.delta || {};
  const { logprobs } = choice;
  return {
    text: delta.content || choice.text || '',
    thought: delta.reasoning_content || '',
    calls: Array.isArray(delta.tool_calls) ? delta.tool_calls : [],
    tokens: !logprobs ? [] : logprobs.content ? logprobs.content.map(readToken) : readColumns(logprobs),
    finish: choice.finish_reason || null,
    usage: chunk.usage || null,
  };
}

// Asks for an answer. part() gets {text, thought, calls, tokens, finish, usage} as they arrive; a token is {text, bytes,
// logprob, top}; calls are OpenAI's tool_calls as they come. Ends when the answer is whole.
// Fails: AbortError when signal stops it; ServerError, also when the stream ends early.
export async function streamAnswer(path, request, signal, part) {
  const body = JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } });
  const headers = { 'Content-Type': 'application/json' };
  const response = await ask(path, { method: 'POST', headers, body, signal });
  try {
    for await (const data of events(response.body)) {
      if (data === '[DONE]') return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ServerError(String(chunk.error.message || chunk.error), response.status);
      part(readChunk(chunk));
    }
  } catch (error) {
    if (error.name === 'AbortError' || error instanceof ServerError) throw error;
    if (error instanceof SyntaxError) throw new ServerError('The server sent an event that is not JSON.');
    throw new ServerError('The connection broke before the answer was whole.');
  }
  throw new ServerError('The stream ended before the answer was whole.');
}
