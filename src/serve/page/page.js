// The page of qx serve: a conversation with one model, or with two side by side. It lives in this page's memory only.
// SPDX-License-Identifier: Apache-2.0
import { Answer, Difference } from './answer.js';
import { listModels, ServerError, streamAnswer, useKey } from './api.js';
import { byId, count, h, readable } from './dom.js';
import { onCopy } from './flow.js';
import * as inspector from './inspector.js';
import * as settingsForm from './settings.js';

const TOP_LOGPROBS = 5;
const MAX_DRAWING = 0.2;   // share of the time that goes into drawing: the model may run on this machine
const turns = [];     // {input, mode, answers: one or two, difference}
let models = [];      // {id, chat}
let running = null;   // AbortController of the turn that is being answered
let frame = 0;
let following = true;  // the end of the conversation is kept in view, unless the reader scrolled away from it

const say = (text) => { byId('status').textContent = text; };
const { chosenModels, readSettings } = settingsForm;

// A model without a template cannot chat.
function offerModes() {
  const able = models.filter((model) => chosenModels().includes(model.id)).every((model) => model.chat);
  byId('mode').options[0].disabled = !able;
  if (!able) byId('mode').value = 'text';
}

// What column `column` has said so far. A turn without a second answer has the first one's in both; a turn that brought
// nothing is left out, since templates want questions and answers in turn.
function history(column, settings) {
  const messages = settings.system === null ? [] : [{ role: 'system', content: settings.system }];
  for (const turn of turns) {
    const at = turn.answers[column] ? column : 0;
    const message = turn.answers[at].message();
    if (turn.mode === 'chat' && message) messages.push(...turn.input.asked[at], message);
  }
  return messages;
}

// [path, request]; null when this column is asked nothing.
function requestFor(column, input, settings) {
  const common = { model: settings.models[column], ...settings.sampling };
  if (settings.mode === 'text') {
    return ['v1/completions', { ...common, prompt: input.text, logprobs: TOP_LOGPROBS }];
  }
  const asked = input.asked[column] ?? [];
  if (asked.length === 0) return null;
  const messages = [...history(column, settings), ...asked];
  return ['v1/chat/completions', { ...common, ...settings.chat, messages, logprobs: true, top_logprobs: TOP_LOGPROBS }];
}

// Draws what has arrived, once a frame at most, and less often where drawing takes long.
let drawnAt = 0;
let drawingTook = 0;

function drawSoon(turn) {
  if (frame !== 0) return;
  const rest = drawingTook * (1 / MAX_DRAWING - 1) - (performance.now() - drawnAt);
  frame = setTimeout(() => requestAnimationFrame(() => {
    frame = 0;
    const begun = performance.now();
    draw(turn);
    drawnAt = performance.now();
    drawingTook = drawnAt - begun;
  }), Math.max(0, rest));
}

function draw(turn) {
  for (const answer of turn.answers) answer.draw();
  compare(turn);
  if (following) showEnd();
}

function showEnd() {
  const log = byId('log');
  log.scrollTop = log.scrollHeight;
  following = true;
}

function compare(turn) {
  const { difference } = turn;
  if (!difference) return;
  if (difference.look()) difference.mark();
  turn.note.replaceChildren(...difference.words(), turn.parted ? ' The turns before it differ already.' : '');
}

async function fetchAnswer(turn, answer, asked, signal) {
  if (asked === null) {
    answer.end('idle');
    return;
  }
  const [path, request] = asked;
  answer.start(performance.now());
  try {
    await streamAnswer(path, request, signal, (part) => {
      answer.take(part, performance.now());
      drawSoon(turn);
    });
    answer.end('done');
  } catch (error) {
    if (error.name === 'AbortError') {
      answer.end('stopped');
      return;
    }
    answer.end('failed', error.message);
    if (error.status === 401) askForKey();
  } finally {
    draw(turn);
  }
}

// input: {title, text: what the turn shows of it, asked: each column's messages}.
function addTurn(input, settings, requests) {
  const { mode } = settings;
  const answers = settings.models.map((model) =>
    new Answer(model, { formatted: settings.formatted, continued: mode === 'text' }));
  const difference = requests.length > 1 && !requests.includes(null) ? new Difference(answers) : null;
  const parted = mode === 'chat' && turns.some((turn) => turn.mode === 'chat' && turn.difference?.found);
  const turn = { input, mode, answers, difference, parted };
  for (const answer of answers) inspector.watch(answer, parted ? null : difference);
  turn.again = h('button', { type: 'button' }, 'Ask again');
  turn.again.addEventListener('click', () => askAgain(turn));
  turn.note = h('p', { class: 'difference' });
  turn.tools = h('div', { class: 'tools' }, h('p', { class: 'quiet' }, `seed ${settings.sampling.seed}`), turn.again);
  turn.again.className = 'again';
  turn.element = h('section', { class: 'turn', 'aria-label': `Turn ${count(turns.length + 1)}` },
    h('div', { class: 'asked' }, h('h2', {}, mode === 'chat' ? input.title : 'Text to continue'),
      h('p', { class: 'text', dir: 'auto' }, readable(input.text))),
    h('div', { class: answers.length > 1 ? 'answers two' : 'answers' }, answers.map((answer) => answer.element)),
    difference ? turn.note : null, turn.tools);
  byId('welcome').hidden = true;
  byId('log').append(turn.element);
  showEnd();
  return turn;
}

const askedBy = (text) => {
  const messages = [{ role: 'user', content: text }];
  return { title: 'You', text, asked: [messages, messages] };
};

// False when it was not sent.
async function send(input) {
  if (running) return false;
  const settings = readSettings();
  if (!settings) return false;
  if (input.results) settings.mode = 'chat';
  if (settings.models.length === 0) {
    await loadModels();
    return false;
  }
  const requests = settings.models.map((_, column) => requestFor(column, input, settings));
  for (const turn of turns) closeTurn(turn);
  const turn = addTurn(input, settings, requests);
  turns.push(turn);
  setRunning(new AbortController());
  say('Answering.');
  const { signal } = running;
  const fetchOne = (answer, i) => fetchAnswer(turn, answer, requests[i], signal);
  if (settings.inTurn) {
    for (const [i, answer] of turn.answers.entries()) await fetchOne(answer, i);
  } else {
    await Promise.all(turn.answers.map(fetchOne));
  }
  setRunning(null);
  if (turns.at(-1) !== turn) return true;  // cleared in the meantime
  offerResults(turn);
  const said = turn.answers.map((a) => `${a.model}: ${a.problem.textContent || a.facts.textContent}.`);
  say([...said, turn.note.textContent].join(' '));
  return true;
}

// Where functions were called, the reader says what they gave back.
function offerResults(turn) {
  if (!turn.answers.some((answer) => answer.state === 'done' && answer.cards.length > 0)) return;
  turn.results = h('button', { type: 'button', class: 'main' }, 'Send the results');
  turn.results.addEventListener('click', () => {
    const cards = turn.answers.map((answer) => answer.cards);
    send({ title: 'Results', text: cards.flat().map(({ call, field }) => `${call.name}: ${field.value}`).join('\n'),
      asked: cards.map((list) => list.map((card) => card.message())), results: true });
  });
  turn.tools.append(turn.results);
}

// Only the last turn can be asked again or given results.
function closeTurn(turn) {
  turn.again.remove();
  turn.results?.remove();
  for (const answer of turn.answers) for (const card of answer.cards) card.close();
}

// The last turn once more, with the settings as they are now.
function askAgain(turn) {
  if (running || turns.at(-1) !== turn || !readSettings()) return;
  turns.pop();
  turn.element.remove();
  byId('message').focus();
  send(turn.input);
}

function setRunning(controller) {
  running = controller;
  if (!running && document.activeElement === byId('stop')) byId('message').focus();
  byId('stop').disabled = !running;
  byId('send').disabled = Boolean(running);
  document.documentElement.dataset.running = String(Boolean(running));
}

function stop() {
  running?.abort();
  byId('message').focus();
}

function clear() {
  running?.abort();
  inspector.close();
  for (const turn of turns) turn.element.remove();
  turns.length = 0;
  byId('welcome').hidden = false;
  byId('message').focus();
  say('New conversation.');
}

function askForKey() {
  byId('key-form').hidden = false;
  byId('key').focus();
}

// Fills the two lists, keeping what was chosen.
async function loadModels() {
  const welcome = byId('welcome');
  try {
    models = await listModels();
  } catch (error) {
    if (error.status === 401) askForKey();
    welcome.textContent = error instanceof ServerError ? error.message : 'The list of models cannot be read.';
    welcome.hidden = false;
    say(welcome.textContent);
    return;
  }
  byId('key-form').hidden = true;
  const ids = models.map((model) => model.id);
  for (const id of ['model', 'other']) {
    const select = byId(id);
    const chosen = select.value;
    const none = id === 'other' ? [h('option', { value: '' }, 'nothing')] : [];
    select.replaceChildren(...none, ...ids.map((model) => h('option', { value: model }, model)));
    if (ids.includes(chosen)) select.value = chosen;
  }
  welcome.textContent = models.length === 0 ? 'The server has no models.' : models.length > 1
    ? `${models.length} models are loaded. Choose a second one in the settings to see their answers side by side.`
    : `Talk to ${ids[0]}. Point at a token of its answer to see how likely it was.`;
  offerModes();
}

let theme = '';

function setTheme(name) {
  theme = name;
  document.documentElement.dataset.theme = name;
  const dark = name === 'dark';
  byId('theme').textContent = dark ? 'Light' : 'Dark';
  byId('theme').setAttribute('aria-pressed', String(dark));
  byId('theme').setAttribute('aria-label', dark ? 'Use light colours' : 'Use dark colours');
}

function submitMessage() {
  const field = byId('message');
  const text = field.value;
  if (running || text.trim() === '') return;
  field.value = '';
  send(askedBy(text)).then((sent) => {
    if (!sent && field.value === '') field.value = text;
  });
}

function onKey(event) {
  if (event.key === 'Escape') {
    inspector.close();
    if (running) stop();
  } else if (event.key === 'Enter' && event.target === byId('message') && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submitMessage();
  }
}

function formatAll() {
  inspector.close();
  for (const turn of turns) for (const answer of turn.answers) answer.setFormatted(byId('formatted').checked);
}

function start() {
  const dark = window.matchMedia('(prefers-color-scheme: dark)');
  setTheme(dark.matches ? 'dark' : 'light');
  dark.addEventListener('change', () => setTheme(dark.matches ? 'dark' : 'light'));
  byId('theme').addEventListener('click', () => setTheme(theme === 'dark' ? 'light' : 'dark'));
  byId('settings').open = window.matchMedia('(min-width: 52rem)').matches;
  byId('clear').addEventListener('click', clear);
  byId('stop').addEventListener('click', stop);
  byId('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    submitMessage();
  });
  byId('choices').addEventListener('submit', (event) => event.preventDefault());
  for (const id of ['model', 'other']) byId(id).addEventListener('change', offerModes);
  byId('shade').addEventListener('change', () => byId('log').classList.toggle('shaded', byId('shade').checked));
  byId('formatted').addEventListener('change', formatAll);
  byId('key-form').addEventListener('submit', (event) => {
    event.preventDefault();
    useKey(byId('key').value.trim());
    byId('key').value = '';
    byId('message').focus();
    loadModels();
  });
  document.addEventListener('keydown', onKey);
  const log = byId('log');
  log.addEventListener('scroll', () => {
    following = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  });
  log.addEventListener('click', onCopy);
  inspector.start(log);
  settingsForm.start();
  log.classList.toggle('shaded', byId('shade').checked);
  setRunning(null);
  loadModels().then(() => { document.documentElement.dataset.ready = 'true'; });
}

start();
