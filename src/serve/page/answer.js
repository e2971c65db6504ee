// One answer of one model: its text as it arrives, piece by piece with the tokens that it came from, and its figures.
// SPDX-License-Identifier: Apache-2.0
import { count, h, logarithm, probability, readable, tokenName } from './dom.js';

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder();
const FENCE = /^ {0,3}(```|~~~)/;
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

// Puts pieces into lines: a line is a block of its own, so that its direction is its own, and that code and thoughts can
// look different without parsing anything more than the beginning of a line.
class Lines {
  constructor(element) {
    this.element = element;
    this.line = null;
    this.text = '';
    this.code = false;
    this.thinking = false;
  }

  append(piece, index) {
    const segments = piece.text === '' ? [''] : piece.text.match(/[^\n]*\n|[^\n]+/g);
    return segments.map((segment) => this.appendSegment(segment, piece, index));
  }

  appendSegment(segment, piece, index) {
    if (this.line === null) {
      this.line = h('div', { class: 'line', dir: 'auto' });
      this.line.classList.toggle('code', this.code);
      this.line.classList.toggle('thought', this.thinking || Boolean(piece.thought));
      this.element.append(this.line);
    }
    const span = h('span', { class: 'token' }, readable(segment));
    span.dataset.piece = index;
    if (segment === '') {
      span.dataset.silent = piece.tokens.map(tokenName).join('');
    } else if (segment === '\n') {
      span.dataset.mark = '↵';
    }
    this.line.append(span);
    if (!this.code) this.findThought(segment);
    this.text += segment;
    const fence = FENCE.test(this.text);
    if (fence) this.line.classList.add('code', 'fence');
    if (segment.endsWith('\n')) {
      if (fence) this.code = !this.code;
      this.line = null;
      this.text = '';
    }
    return span;
  }

  // Marks may be split over segments: each is looked for where the segment completes it. A template may open the
  // thought itself, so that only its end is seen.
  findThought(segment) {
    if ((this.text.slice(1 - '<think>'.length) + segment).includes('<think>')) {
      this.thinking = true;
      this.line.classList.add('thought');
    }
    if ((this.text.slice(1 - '</think>'.length) + segment).includes('</think>')) {
      if (!this.thinking) for (const line of this.element.children) line.classList.add('thought');
      this.thinking = false;
    }
  }

  breakLine() {
    this.line = null;
    this.text = '';
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
  constructor(model) {
    this.model = model;
    this.pieces = new Pieces();
    this.raw = '';            // what goes into the history
    this.spans = [];          // of each piece
    this.state = 'running';   // "done", "cut" (at the limit), "stopped", "failed"
    this.usage = null;
    this.times = null;        // {start, first, last} in milliseconds
    this.drawn = 0;
    this.forced = false;
    this.body = h('div', { class: 'text', tabindex: '0', role: 'group',
      'aria-label': `Text of ${model}; arrow keys walk over its tokens` });
    this.lines = new Lines(this.body);
    this.facts = h('p', { class: 'facts quiet' }, 'waiting…');
    this.problem = h('p', { class: 'problem', role: 'alert', hidden: '' });
    this.tools = h('div', { class: 'tools' });
    this.element = h('article', { 'aria-busy': 'true', 'aria-label': `Answer of ${model}` },
      h('h3', {}, model), this.body, this.problem, this.facts, this.tools);
  }

  start(now) {
    this.times = { start: now, first: null, last: now };
    this.facts.textContent = 'reading the prompt…';
  }

  take(part, now) {
    this.raw += part.text;
    if (part.usage) this.usage = part.usage;
    if (part.finish) this.finish = part.finish;
    if (part.text === '' && part.thought === '' && part.tokens.length === 0) return;
    if (this.times.first === null) this.times.first = now;
    this.times.last = now;
    const thought = part.thought !== '';
    if (thought !== this.forced && (thought || part.text !== '')) {
      this.draw();
      this.lines.breakLine();
      this.forced = thought;
    }
    this.pieces.add(part.thought + part.text, part.tokens);
  }

  // Appends what has arrived since the last call.
  draw() {
    const { list } = this.pieces;
    for (; this.drawn < list.length; ++this.drawn) {
      const piece = list[this.drawn];
      piece.thought = this.forced;
      const spans = this.lines.append(piece, this.drawn);
      const shade = shadeOf(piece.tokens);
      if (shade !== null) for (const span of spans) span.classList.add(`p${shade}`);
      this.spans.push(spans);
    }
    if (this.state === 'running' && this.times?.first) this.facts.textContent = this.figures();
  }

  // state: as above. problem: what the reader is told when it failed.
  end(state, problem = '') {
    this.pieces.end();
    this.state = state === 'done' && this.finish === 'length' ? 'cut' : state;
    this.draw();
    this.facts.textContent = this.figures();
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
      for (const span of answer.spans[piece]) span.classList.add('parts');
      answer.spans[piece][0].classList.add('here');
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
