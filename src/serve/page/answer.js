// One answer of one model: its text as it arrives, piece by piece with the tokens that it came from, and its figures.
// SPDX-License-Identifier: Apache-2.0
import { count, h, logarithm, probability, tokenName } from './dom.js';
import { Flow } from './flow.js';
import { CallCard, addCallParts } from './tools.js';

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder();
const MAX_TABLE_ROWS = 5000;

// True when the bytes from `start` on are those of the token, as far as they have come.
function fits(bytes, start, token) {
  return token.bytes.every((b, i) => start + i >= bytes.length || bytes[start + i] === b);
}

// The text of the deltas is the truth; a token's bytes say where in it the token lies. A piece is the shortest run of
// tokens that makes whole characters. Tokens that the text does not have (<think>) are a piece without text; where bytes
// and text do not agree otherwise (replaced bytes) one piece takes all that has arrived.
export class Pieces {
  constructor() {
    this.list = [];      // {text, tokens, first}: first: the number of its first token
    this.tokens = [];    // all of the answer
    this.waiting = [];   // tokens whose text has not come yet
    this.text = '';      // text that no piece has yet
  }

  add(text, tokens) {
    this.waiting.push(...tokens);
    this.text += text;
    if (this.text !== '') this.settle();
  }

  settle() {
    const bytes = ENCODER.encode(this.text);
    let start = 0;
    while (start < bytes.length) {
      let end = start;
      let taken = 0;
      const whole = () => end > start && end <= bytes.length && (bytes[end] & 0xc0) !== 0x80;
      while (taken < this.waiting.length && !whole() && end <= bytes.length) {
        const token = this.waiting[taken++];
        if (!fits(bytes, end, token)) {
          end = -1;
          break;
        }
        end += token.bytes.length;
      }
      const silent = end < 0 ? this.waiting.findIndex((t) => t.bytes.length > 0 && fits(bytes, start, t)) : -1;
      if (silent > 0) {
        this.push('', silent);
        continue;
      }
      if (end < 0 || this.waiting.length === 0) {
        this.push(DECODER.decode(bytes.subarray(start)), this.waiting.length);
        this.text = '';
        return;
      }
      if (!whole()) break;
      this.push(DECODER.decode(bytes.subarray(start, end)), taken);
      start = end;
    }
    this.text = DECODER.decode(bytes.subarray(start));
  }

  push(text, taken) {
    const tokens = this.waiting.splice(0, taken);
    this.list.push({ text, tokens, first: this.tokens.length });
    this.tokens.push(...tokens);
  }

  // No more comes: what is left is one piece, whose text may be empty (the token that ended the answer).
  end() {
    if (this.text !== '' || this.waiting.length > 0) this.push(this.text, this.waiting.length);
    this.text = '';
  }

  pieceOfToken(token) {
    return this.list.findIndex((piece) => token >= piece.first && token < piece.first + piece.tokens.length);
  }
}

// A stretch of an answer: its text, or a thought, which is folded away.
class Section {
  constructor(answer, thought) {
    this.answer = answer;
    this.tokens = 0;
    this.flow = new Flow(h('div', { class: 'flow' }), answer.marks, answer.spans);
    this.flow.formatted = answer.formatted;
    this.element = this.flow.element;
    this.thought = false;
    if (thought) this.fold();
  }

  fold() {
    this.thought = true;
    this.label = h('summary', {}, 'Thinking…');
    this.element = h('details', { class: 'thought' }, this.label);
    this.flow.element.replaceWith(this.element);
    this.element.append(this.flow.element);
  }

  add(piece, index) {
    this.tokens += piece.tokens.length;
    this.flow.add(piece, index);
  }

  draw(going) {
    this.flow.draw();
    if (!this.thought) return;
    const words = `${count(this.tokens)} ${this.tokens === 1 ? 'token' : 'tokens'}`;
    const label = going ? `Thinking… ${words}` : this.tokens > 0 ? `Thought, ${words}` : 'Thought';
    if (this.label.textContent !== label) this.label.textContent = label;
  }
}

// Five shades of probability, the least likely first.
function shadeOf(tokens) {
  const least = Math.min(...tokens.map((t) => t.logprob));
  if (!Number.isFinite(least)) return null;
  const p = Math.exp(least);
  return p < 0.05 ? 0 : p < 0.2 ? 1 : p < 0.5 ? 2 : p < 0.9 ? 3 : 4;
}

export class Answer {
  // formatted: Markdown is drawn as what it means. continued: a prompt goes on, and may have opened a thought.
  constructor(model, { formatted, continued }) {
    this.model = model;
    this.formatted = formatted;
    this.continued = continued;
    this.pieces = new Pieces();
    this.raw = '';            // what goes into the history, with the thought and the calls
    this.thought = '';
    this.calls = [];          // {id, name, arguments}
    this.cards = [];          // of the calls
    this.spans = [];          // of each piece
    this.marks = new Map();   // of a piece: the classes of its spans
    this.state = 'running';   // "done", "cut" (at the limit), "stopped", "failed", "idle" (was not asked)
    this.usage = null;
    this.times = null;        // {start, first, last} in milliseconds
    this.drawn = 0;           // pieces
    this.sections = [];
    this.begun = '';          // the first characters, where a <think> may stand
    this.tail = '\n';         // the last ones, where a </think> may; null: not looked for (any more)
    this.callList = h('div', { class: 'calls' });
    this.body = h('div', { class: 'text', tabindex: '0', role: 'group',
      'aria-label': `Text of ${model}; arrow keys walk over its tokens` });
    this.facts = h('p', { class: 'facts quiet' }, 'waiting…');
    this.problem = h('p', { class: 'problem', role: 'alert', hidden: '' });
    this.tools = h('div', { class: 'tools' });
    this.element = h('article', { 'aria-busy': 'true', 'aria-label': `Answer of ${model}` },
      h('h3', {}, model), this.body, this.callList, this.problem, this.facts, this.tools);
  }

  start(now) {
    this.times = { start: now, first: null, last: now };
    this.facts.textContent = 'reading the prompt…';
  }

  take(part, now) {
    this.raw += part.text;
    this.thought += part.thought;
    addCallParts(this.calls, part.calls);
    if (part.usage) this.usage = part.usage;
    if (part.finish) this.finish = part.finish;
    if (part.text === '' && part.thought === '' && part.calls.length === 0 && part.tokens.length === 0) return;
    if (this.times.first === null) this.times.first = now;
    this.times.last = now;
    if (part.thought !== '') {
      this.enter(true);
      this.pieces.add(part.thought, part.text === '' ? part.tokens : part.tokens.splice(0));
    }
    if (part.text !== '') this.enter(false);
    if (part.text !== '' || part.thought === '') this.pieces.add(part.text, part.tokens);
  }

  // The server says which text is a thought: a section of its own.
  enter(thought) {
    if (this.told === thought || (this.told === undefined && !thought)) return;
    this.place();
    this.told = thought;
    this.tail = null;
    this.open(thought);
  }

  open(thought) {
    const section = new Section(this, thought);
    this.sections.push(section);
    this.body.append(section.element);
    return section;
  }

  // Gives the pieces that have come to their section.
  place() {
    const { list } = this.pieces;
    for (; this.drawn < list.length; ++this.drawn) {
      const piece = list[this.drawn];
      const shade = shadeOf(piece.tokens);
      if (shade !== null) this.mark(this.drawn, `p${shade}`);
      const section = this.sections.at(-1) ?? this.open(false);
      section.add(piece, this.drawn);
      if (this.tail !== null) this.findTags(section, piece.text);
    }
  }

  // A thought between <think> and </think> at the beginning of a text that the server left as it is. A prompt that goes on
  // may have opened it, so that only its end is seen, at a line's beginning.
  findTags(section, text) {
    if (this.begun.length < '<think>'.length) this.begun = (this.begun + text).trimStart();
    if (!section.thought && this.begun.startsWith('<think>')) section.fold();
    const seen = this.tail + text;
    this.tail = seen.slice(-'</think>'.length);
    const closes = section.thought ? seen.includes('</think>') : this.continued && seen.includes('\n</think>');
    if (!closes) return;
    if (!section.thought) section.fold();
    this.tail = null;
    this.open(false);
  }

  // Appends what has arrived since the last call.
  draw() {
    this.place();
    const { sections } = this;
    sections.forEach((section, i) => section.draw(this.state === 'running' && i === sections.length - 1));
    for (const call of this.calls.slice(this.cards.length)) {
      const card = new CallCard(call);
      this.cards.push(card);
      this.callList.append(card.element);
    }
    for (const card of this.cards) card.draw();
    if (this.state === 'running' && this.times?.first) this.facts.textContent = this.figures();
  }

  setFormatted(formatted) {
    this.formatted = formatted;
    for (const { flow } of this.sections) {
      flow.formatted = formatted;
      flow.redraw();
    }
  }

  // A class of a piece's spans, of those to come too. "here": of the first alone.
  mark(piece, name, on = true) {
    if (!this.marks.has(piece)) this.marks.set(piece, new Set());
    this.marks.get(piece)[on ? 'add' : 'delete'](name);
    const spans = this.spans[piece] ?? [];
    for (const span of name === 'here' ? spans.slice(0, 1) : spans) span.classList.toggle(name, on);
  }

  // Where the piece is seen, with the thought that it is in opened; null before it is drawn.
  reveal(piece) {
    const spans = this.spans[piece] ?? [];
    const folded = spans[0]?.closest('details.thought');
    if (folded) folded.open = true;
    return spans.find((span) => span.getClientRects().length > 0 && span.textContent.trim() !== '') ?? spans[0] ?? null;
  }

  // What the conversation holds of it; null when it brought nothing.
  message() {
    if (this.raw === '' && this.calls.length === 0) return null;
    const message = { role: 'assistant', content: this.raw };
    if (this.thought !== '') message.reasoning_content = this.thought;
    if (this.calls.length > 0) {
      message.tool_calls = this.calls.map(({ id, name, arguments: given }) =>
        ({ id, type: 'function', function: { name, arguments: given } }));
    }
    return message;
  }

  // state: as above. problem: what the reader is told when it failed.
  end(state, problem = '') {
    this.pieces.end();
    this.state = state === 'done' && this.finish === 'length' ? 'cut' : state;
    this.draw();
    this.facts.textContent = state === 'idle' ? 'called no function: not asked' : this.figures();
    this.element.setAttribute('aria-busy', 'false');
    if (problem !== '') {
      this.problem.textContent = problem;
      this.problem.hidden = false;
    }
    this.addTools();
  }

  // Tokens a second leave the first token out, whose time is that of reading the prompt.
  figures() {
    const { tokens } = this.pieces;
    const { start, first, last } = this.times;
    const n = this.usage?.completion_tokens ?? tokens.length;
    const parts = [];
    if (this.state === 'stopped') parts.push('stopped');
    if (this.state === 'cut') parts.push('cut at the limit');
    if (n > 0) parts.push(`${count(n)} ${n === 1 ? 'token' : 'tokens'}`);
    if (n > 1 && last > first) parts.push(`${(1000 * (n - 1) / (last - first)).toFixed(1)} tokens/s`);
    if (first !== null) parts.push(`first after ${((first - start) / 1000).toFixed(2)} s`);
    if (this.usage) {
      const cached = this.usage.prompt_tokens_details?.cached_tokens ?? 0;
      parts.push(`prompt ${count(this.usage.prompt_tokens)}${cached > 0 ? ` (${count(cached)} cached)` : ''}`);
    }
    const known = tokens.filter((t) => Number.isFinite(t.logprob));
    if (this.state !== 'running' && known.length > 0) {
      const mean = known.reduce((sum, t) => sum + t.logprob, 0) / known.length;
      parts.push(`mean log-probability ${logarithm(mean)}`);
    }
    return parts.join(' · ') || 'no token';
  }

  addTools() {
    if (navigator.clipboard && this.raw !== '') {
      const copy = h('button', { type: 'button' }, 'Copy');
      copy.addEventListener('click', () => navigator.clipboard.writeText(this.raw).then(
        () => { copy.textContent = 'Copied'; }, () => { copy.textContent = 'Not allowed'; }));
      this.tools.append(copy);
    }
    if (this.pieces.tokens.length === 0) return;
    const details = h('details', { class: 'numbers' }, h('summary', {}, 'Tokens as a table'));
    details.addEventListener('toggle', () => details.append(this.table()), { once: true });
    this.tools.append(details);
  }

  table() {
    const caption = `Tokens of ${this.model}, with their probabilities and the likeliest others`;
    const row = (token, i) => h('tr', {}, h('th', { scope: 'row' }, String(i + 1)),
      h('td', { class: 'name' }, h('bdi', {}, tokenName(token))),
      h('td', { class: 'n' }, probability(token.logprob)), h('td', { class: 'n' }, logarithm(token.logprob)),
      h('td', { class: 'name' }, token.top.flatMap((t, k) => [k > 0 ? ', ' : '', h('bdi', {}, tokenName(t)),
        ` ${probability(t.logprob)}`])));
    const heads = ['#', 'Token', 'Probability', 'Log', 'Likeliest'].map((text) => h('th', { scope: 'col' }, text));
    const { tokens } = this.pieces;
    const left = tokens.length - MAX_TABLE_ROWS;
    return h('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': caption },
      h('table', {}, h('caption', {}, left > 0 ? `${caption}; ${count(left)} more are not shown` : caption),
        h('thead', {}, h('tr', {}, heads)), h('tbody', {}, tokens.slice(0, MAX_TABLE_ROWS).map(row))));
  }
}

// Two tokens are the same when their bytes are; special tokens by their names.
function same(a, b) {
  return a.text === b.text && a.bytes.length === b.bytes.length && a.bytes.every((byte, i) => byte === b.bytes[i]);
}

// Where two answers to the same prompt part: looks on from where it stopped the last time.
export class Difference {
  constructor(answers) {
    this.answers = answers;
    this.common = 0;      // tokens that both have begun with
    this.found = false;
  }

  // True when the difference has just been found.
  look() {
    if (this.found) return false;
    const [a, b] = this.answers.map((answer) => answer.pieces.tokens);
    while (this.common < a.length && this.common < b.length && same(a[this.common], b[this.common])) ++this.common;
    const left = [a.length - this.common, b.length - this.common];
    const [first, second] = this.answers.map((answer) => answer.state === 'done');
    this.found = (left[0] > 0 || first) && (left[1] > 0 || second) && left[0] + left[1] > 0;
    return this.found;
  }

  // Marks the token at which each answer parts, where it has one.
  mark() {
    for (const answer of this.answers) {
      const piece = answer.pieces.pieceOfToken(this.common);
      if (piece < 0) continue;
      answer.mark(piece, 'parts');
      answer.mark(piece, 'here');
      answer.reveal(piece);
    }
  }

  // The sentence below the answers.
  words() {
    const says = this.answers.map((answer) => {
      const token = answer.pieces.tokens[this.common];
      return token ? [h('bdi', {}, `“${tokenName(token)}”`), ` (${answer.model}, ${probability(token.logprob)})`]
        : [`the end (${answer.model})`];
    });
    if (this.found) {
      return [`First difference at token ${count(this.common + 1)}: `, ...says[0], ' against ', ...says[1], '.'];
    }
    if (this.answers.some((answer) => answer.state === 'running')) {
      return [`${count(this.common)} tokens alike so far.`];
    }
    if (this.answers.every((answer) => answer.pieces.tokens.length === 0)) return ['No tokens to compare.'];
    const states = this.answers.map((answer) => answer.state);
    if (states[0] === states[1] && states[0] !== 'stopped' && states[0] !== 'failed') {
      return [`Both answers are the same, all ${count(this.common)} tokens.`];
    }
    return [`No difference in the ${count(this.common)} tokens that both have.`];
  }
}
