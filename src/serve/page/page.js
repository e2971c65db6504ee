// The page of qx serve: a conversation with one model, or with two side by side. It lives in this page's memory only.
// SPDX-License-Identifier: Apache-2.0
import { Answer, Difference } from './answer.js';
import { listModels, ServerError, streamAnswer, useKey } from './api.js';
import { byId, count, h, readable } from './dom.js';
import * as inspector from './inspector.js';

const TOP_LOGPROBS = 5;
const turns = [];     // {user, mode, answers: one or two, difference}
let models = [];      // {id, chat}
let running = null;   // AbortController of the turn that is being answered
let frame = 0;
let following = true;  // the end of the conversation is kept in view, unless the reader scrolled away from it

const say = (text) => { byId('status').textContent = text; };
const numberOf = (id) => Number(byId(id).value);

const chosenModels = () => [byId('model').value, byId('other').value].filter((id) => id !== '');

// A model without a template cannot chat.
function offerModes() {
  const able = models.filter((model) => chosenModels().includes(model.id)).every((model) => model.chat);
  byId('mode').options[0].disabled = !able;
  if (!able) byId('mode').value = 'text';
}

// The settings as they are now; null when one is out of its range, which is then shown.
function readSettings() {
  const form = byId('choices');
  if (!form.checkValidity()) {
    byId('settings').open = true;
    form.reportValidity();
    return null;
  }
  const seed = byId('seed').value === '' ? crypto.getRandomValues(new Uint32Array(1))[0] : numberOf('seed');
  return {
    models: chosenModels(),
    mode: byId('mode').value,
    system: byId('system').value.trim() === '' ? null : byId('system').value,
    inTurn: byId('in-turn').checked,
    sampling: {
      temperature: numberOf('temperature'), top_p: numberOf('top-p'), min_p: numberOf('min-p'),
      top_k: numberOf('top-k'), seed, max_tokens: numberOf('tokens'),
    },
  };
}

// What column `column` has said so far. A turn without a second answer has the first one's in both; a turn that brought
// nothing is left out, since templates want questions and answers in turn.
function history(column, settings) {
  const messages = settings.system === null ? [] : [{ role: 'system', content: settings.system }];
  for (const turn of turns) {
    const answer = turn.answers[column] || turn.answers[0];
    if (turn.mode !== 'chat' || answer.raw === '') continue;
    messages.push({ role: 'user', content: turn.user }, { role: 'assistant', content: answer.raw });
  }
  return messages;
}

function requestFor(column, text, settings) {
  const common = { model: settings.models[column], ...settings.sampling };
  if (settings.mode === 'text') {
    return ['v1/completions', { ...common, prompt: text, logprobs: TOP_LOGPROBS }];
  }
  const messages = [...history(column, settings), { role: 'user', content: text }];
  return ['v1/chat/completions', { ...common, messages, logprobs: true, top_logprobs: TOP_LOGPROBS }];
}

// Draws what has arrived, once a frame.
function drawSoon(turn) {
  if (frame !== 0) return;
  frame = requestAnimationFrame(() => {
    frame = 0;
    draw(turn);
  });
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

async function fetchAnswer(turn, answer, [path, request], signal) {
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

function addTurn(text, settings) {
  const answers = settings.models.map((model) => new Answer(model));
  const difference = answers.length > 1 ? new Difference(answers) : null;
  const parted = settings.mode === 'chat' && turns.some((turn) => turn.mode === 'chat' && turn.difference?.found);
  const turn = { user: text, mode: settings.mode, answers, difference, parted };
  for (const answer of answers) inspector.watch(answer, parted ? null : difference);
  const again = h('button', { type: 'button', class: 'again' }, 'Ask again');
  again.addEventListener('click', () => askAgain(turn));
  turn.note = h('p', { class: 'difference' });
  turn.element = h('section', { class: 'turn', 'aria-label': `Turn ${count(turns.length + 1)}` },
    h('div', { class: 'asked' }, h('h2', {}, settings.mode === 'chat' ? 'You' : 'Text to continue'),
      h('p', { class: 'text', dir: 'auto' }, readable(text))),
    h('div', { class: answers.length > 1 ? 'answers two' : 'answers' }, answers.map((answer) => answer.element)),
    difference ? turn.note : null,
    h('div', { class: 'tools' }, h('p', { class: 'quiet' }, `seed ${settings.sampling.seed}`), again));
  byId('welcome').hidden = true;
  byId('log').append(turn.element);
  showEnd();
  return turn;
}

async function send(text) {
  if (running || text.trim() === '') return false;
  const settings = readSettings();
  if (!settings) return false;
  if (settings.models.length === 0) {
    await loadModels();
    return false;
  }
  const requests = settings.models.map((_, column) => requestFor(column, text, settings));
  for (const turn of turns) turn.element.querySelector('.again')?.remove();
  const turn = addTurn(text, settings);
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
  const said = turn.answers.map((a) => `${a.model}: ${a.problem.textContent || a.facts.textContent}.`);
  say([...said, turn.note.textContent].join(' '));
  return true;
}

// The last turn once more, with the settings as they are now.
function askAgain(turn) {
  if (running || turns.at(-1) !== turn || !readSettings()) return;
  turns.pop();
  turn.element.remove();
  byId('message').focus();
  send(turn.user);
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
  send(text).then((sent) => {
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
  inspector.start(log);
  log.classList.toggle('shaded', byId('shade').checked);
  setRunning(null);
  loadModels().then(() => { document.documentElement.dataset.ready = 'true'; });
}

start();
