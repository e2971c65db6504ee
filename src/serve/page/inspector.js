// The small window beside a token: its probability, the likeliest others, and what the other model makes of the same
// place. Opened by pointing, by a tap, or by the arrow keys; closed by Esc.
// SPDX-License-Identifier: Apache-2.0
import { byId, count, h, logarithm, probability, tokenName, tokenWords } from './dom.js';

const CLOSE_AFTER = 250;  // milliseconds, so that the pointer can reach the window
const MAX_TOKENS = 6;     // of one piece

const answers = new WeakMap();  // text element -> {answer, difference}
let shown = null;               // {answer, piece}
let timer = 0;

// difference: of the pair that the answer belongs to, or null.
export function watch(answer, difference) {
  answers.set(answer.body, { answer, difference });
}

export function close() {
  clearTimeout(timer);
  byId('inspector').hidden = true;
  shown?.answer.mark(shown.piece, 'current', false);
  shown = null;
}

// What the other model gave at this place; null where the texts before it differ.
function otherAt(entry, index) {
  const { answer, difference } = entry;
  if (!difference || index > difference.common) return null;
  const other = difference.answers.find((a) => a !== answer);
  const token = other.pieces.tokens[index];
  return token ? { model: other.model, token } : null;
}

// The chosen token and the likeliest, without doubles.
function listed(token) {
  const others = token.top.filter((t) => t.text !== token.text);
  return token.top.length === others.length ? [token, ...others] : token.top;
}

const find = (token, text) => listed(token).find((t) => t.text === text)?.logprob ?? NaN;

function tokenTable(entry, index) {
  const token = entry.answer.pieces.tokens[index];
  const other = otherAt(entry, index);
  const rows = [...listed(token)];
  for (const t of other ? listed(other.token) : []) {
    if (!rows.some((r) => r.text === t.text)) rows.push({ ...t, logprob: NaN });
  }
  const heads = ['Token', 'Probability', 'Log', ...(other ? [other.model] : [])];
  const row = (t) => h('tr', t.text === token.text ? { class: 'chosen' } : {},
    h('th', { scope: 'row', class: 'name' }, t.text === token.text ? '▸ ' : '', h('bdi', {}, tokenName(t))),
    h('td', { class: 'n' }, probability(t.logprob)), h('td', { class: 'n' }, logarithm(t.logprob)),
    other ? h('td', { class: 'n' }, other.token.text === t.text ? '▸ ' : '', probability(find(other.token, t.text)))
      : null);
  const total = entry.answer.pieces.tokens.length;
  return h('table', {}, h('caption', {}, `Token ${count(index + 1)} of ${count(total)}`),
    h('thead', {}, h('tr', {}, heads.map((text) => h('th', { scope: 'col' }, text)))),
    h('tbody', {}, rows.map(row)));
}

// The same as a sentence.
function words(entry, index) {
  const token = entry.answer.pieces.tokens[index];
  const other = otherAt(entry, index);
  const rest = token.top.filter((t) => t.text !== token.text).slice(0, 3);
  const parts = [`Token ${index + 1}, ${tokenWords(token)}, ${probability(token.logprob)}`];
  if (rest.length > 0) parts.push(`also ${rest.map((t) => `${tokenWords(t)} ${probability(t.logprob)}`).join(', ')}`);
  if (other) parts.push(`${other.model} took ${tokenWords(other.token)}, ${probability(other.token.logprob)}`);
  return `${parts.join('; ')}.`;
}

function place(box, span) {
  const rects = span.getClientRects();
  const at = rects[0] || span.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const height = document.documentElement.clientHeight;
  const left = Math.max(4, Math.min(at.left, width - box.offsetWidth - 4));
  const below = at.bottom + 4;
  const top = below + box.offsetHeight <= height ? below : Math.max(4, at.top - box.offsetHeight - 4);
  box.style.left = `${left}px`;
  box.style.top = `${top}px`;
}

function open(entry, piece, say) {
  clearTimeout(timer);
  const { answer } = entry;
  if (shown && shown.answer === answer && shown.piece === piece) return;
  close();
  const { tokens, first } = answer.pieces.list[piece];
  if (tokens.length === 0) return;
  shown = { answer, piece };
  answer.mark(piece, 'current');
  const indices = tokens.slice(0, MAX_TOKENS).map((_, i) => first + i);
  const box = byId('inspector');
  box.replaceChildren(...indices.map((index) => tokenTable(entry, index)));
  box.hidden = false;
  place(box, answer.reveal(piece));
  if (say) byId('token-words').textContent = indices.map((index) => words(entry, index)).join(' ');
}

function openFor(event) {
  const span = event.target.closest?.('.token');
  const entry = span && answers.get(span.closest('.text'));
  if (entry) open(entry, Number(span.dataset.piece), false);
  return Boolean(entry);
}

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };

function walk(event) {
  const entry = answers.get(event.target);
  const step = STEPS[event.key];
  if (!entry || step === undefined || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  const last = entry.answer.pieces.list.length - 1;
  if (last < 0) return;
  event.preventDefault();
  const from = shown && shown.answer === entry.answer ? shown.piece : step > 0 ? -1 : last + 1;
  const piece = Math.max(0, Math.min(last, from + step));
  open(entry, piece, true);
  entry.answer.reveal(piece)?.scrollIntoView({ block: 'nearest' });
}

export function start(log) {
  const box = byId('inspector');
  const closeSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(close, CLOSE_AFTER);
  };
  log.addEventListener('pointerover', (event) => {
    if (event.pointerType === 'touch' || openFor(event)) return;
    if (shown && !document.activeElement.matches('.text')) closeSoon();
  });
  log.addEventListener('pointerleave', (event) => { if (event.pointerType !== 'touch') closeSoon(); });
  log.addEventListener('click', (event) => { if (!openFor(event)) close(); });
  log.addEventListener('keydown', walk);
  log.addEventListener('focusout', close);
  box.addEventListener('pointerenter', () => clearTimeout(timer));
  box.addEventListener('pointerleave', closeSoon);
}
