// The settings: what the reader chose, checked.
// SPDX-License-Identifier: Apache-2.0
import { byId } from './dom.js';
import { readSchema, readTools } from './tools.js';

const MOST_STOPS = 16;      // as the server takes
const NUMBERS = { temperature: 'temperature', 'top-p': 'top_p', 'min-p': 'min_p', 'top-k': 'top_k', tokens: 'max_tokens' };
const PENALTIES = ['repetition', 'presence', 'frequency'];

const numberOf = (id) => Number(byId(id).value);
const ESCAPES = { n: '\n', t: '\t', r: '\r', '\\': '\\' };

// One string a line; \n \t \r \\ stand for what they do elsewhere. Fails: Error.
export function readStops(text) {
  const stops = text.split('\n').filter((line) => line !== '')
    .map((line) => line.replace(/\\([ntr\\])/g, (_, c) => ESCAPES[c]));
  if (stops.length > MOST_STOPS) throw new Error(`Expected at most ${MOST_STOPS} strings.`);
  return stops;
}

// What a field holds; null when it is empty. A field that cannot be read is marked as invalid.
function readField(id, reader) {
  const field = byId(id);
  field.setCustomValidity('');
  if (field.value.trim() === '') return null;
  try {
    return reader(field.value);
  } catch (error) {
    field.setCustomValidity(error.message);
    return null;
  }
}

function sampling(stops, schema) {
  const out = {};
  for (const [id, name] of Object.entries(NUMBERS)) out[name] = numberOf(id);
  // What is off is not sent: to have none is quicker than to have one that changes nothing.
  for (const name of PENALTIES) {
    if (numberOf(name) === (name === 'repetition' ? 1 : 0)) continue;
    out[`${name}_penalty`] = numberOf(name);
    out[`${name}_context_size`] = numberOf('look-back');
  }
  if (numberOf('xtc-probability') > 0) {
    Object.assign(out, { xtc_probability: numberOf('xtc-probability'), xtc_threshold: numberOf('xtc-threshold') });
  }
  const seed = byId('seed').value;
  out.seed = seed === '' ? crypto.getRandomValues(new Uint32Array(1))[0] : Number(seed);
  if (stops) out.stop = stops;
  if (schema) out.response_format = { type: 'json_schema', json_schema: { name: 'answer', schema } };
  return out;
}

// What chats have beside it.
function chatOptions(tools) {
  const out = {};
  if (tools) Object.assign(out, { tools, tool_choice: byId('tool-choice').value });
  const thinking = byId('thinking').value;
  if (thinking !== '') out.chat_template_kwargs = { enable_thinking: thinking === 'on' };
  return out;
}

export const chosenModels = () => [byId('model').value, byId('other').value].filter((id) => id !== '');

// The settings as they are now; null when one is wrong, which is then shown.
export function readSettings() {
  const form = byId('choices');
  const stops = readField('stops', readStops);
  const schema = readField('schema', readSchema);
  const tools = readField('functions', readTools);
  if (!form.checkValidity()) {
    const wrong = form.querySelector(':invalid:not(details, fieldset)');
    for (let e = wrong.parentElement; e; e = e.parentElement) if (e.matches('details')) e.open = true;
    form.reportValidity();
    return null;
  }
  return {
    models: chosenModels(),
    mode: byId('mode').value,
    system: byId('system').value.trim() === '' ? null : byId('system').value,
    inTurn: byId('in-turn').checked,
    formatted: byId('formatted').checked,
    sampling: sampling(stops, schema),
    chat: chatOptions(tools),
  };
}

// A complaint goes when the field is written in.
export function start() {
  for (const id of ['stops', 'schema', 'functions']) {
    byId(id).addEventListener('input', () => byId(id).setCustomValidity(''));
  }
}
