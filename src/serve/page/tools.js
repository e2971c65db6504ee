// Functions that the model may call: as the reader describes them, and as an answer calls them.
// SPDX-License-Identifier: Apache-2.0
import { h, readable } from './dom.js';

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// The parts of calls that a stream brings (an index says of which call) go to the end of what is there.
export function addCallParts(calls, parts) {
  for (const part of parts) {
    const index = Number.isInteger(part.index) && part.index >= 0 && part.index <= calls.length ? part.index : calls.length;
    const call = (calls[index] ??= { id: '', name: '', arguments: '' });
    if (typeof part.id === 'string') call.id = part.id;
    if (typeof part.function?.name === 'string') call.name = part.function.name;
    if (typeof part.function?.arguments === 'string') call.arguments += part.function.arguments;
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// A call, with a field for what the function gives back: nothing here runs functions.
export class CallCard {
  constructor(call) {
    this.call = call;
    this.name = h('h4', {});
    this.given = h('pre', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'Arguments' });
    this.field = h('textarea', { rows: '2', spellcheck: 'false' });
    this.element = h('section', { class: 'call' }, this.name, this.given,
      h('label', {}, 'What it gives back', this.field));
  }

  draw() {
    const { name } = this.call;
    this.name.textContent = `Call of ${readable(name)}`;
    this.given.textContent = readable(pretty(this.call.arguments));
    this.element.setAttribute('aria-label', `Call of ${name}`);
  }

  // What the conversation holds of the result.
  message() {
    return { role: 'tool', tool_call_id: this.call.id, name: this.call.name, content: this.field.value };
  }

  close() {
    this.field.readOnly = true;
  }
}

// The list of OpenAI's `tools`; their functions alone will do, and one instead of a list. Fails: Error.
export function readTools(text) {
  const value = readJson(text);
  const list = Array.isArray(value) ? value : [value];
  return list.map((entry) => {
    const tool = isObject(entry) && isObject(entry.function) ? entry : { type: 'function', function: entry };
    if (!isObject(tool.function) || typeof tool.function.name !== 'string' || tool.function.name === '') {
      throw new Error('Expected functions such as {"name": "get_time", "parameters": {..}}.');
    }
    return { ...tool, type: 'function' };
  });
}

// Fails: Error.
export function readSchema(text) {
  const value = readJson(text);
  if (!isObject(value)) throw new Error('Expected a JSON object, the schema.');
  return value;
}

function readJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}`);
  }
}
