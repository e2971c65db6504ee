// Puts the tokens of a text into elements: blocks after Markdown, or lines as they are. Every character of the text gets
// into the page once and in order, in a span that names the piece (and so the tokens) that it came from. Marks of Markdown
// and tokens that are in no text are hidden by the style, and seen where the keyboard is at them, where two answers part, and
// where tokens are shaded.
// SPDX-License-Identifier: Apache-2.0
import { count, h, readable, tokenName } from './dom.js';
import { readInline, readMarkdown, readPlain } from './markdown.js';

const MAX_SILENT = 24;  // characters of the box of tokens that are in no text

function silentName(tokens) {
  const name = tokens.map(tokenName).join('');
  return name.length <= MAX_SILENT || tokens.length === 1 ? name
    : `${tokenName(tokens[0])}… (${count(tokens.length)} tokens)`;
}

const TAGS = { strong: 'strong', em: 'em', del: 'del', code: 'code' };

// Grows at its end: what stands before the last block stays as it is, the last block is made again.
export class Flow {
  // marks: Map of a piece's number to a Set of classes. spans: of each piece; both are the answer's, all flows' together.
  constructor(element, marks, spans) {
    this.element = element;
    this.marks = marks;
    this.spans = spans;
    this.formatted = true;
    this.pieces = [];   // {piece, index}
    this.text = '';
    this.forget();
  }

  forget() {
    this.at = 0;        // characters that are in elements
    this.next = 0;      // the first piece that is not, or not all of it
    this.used = 0;      // characters of that piece
    this.last = null;   // the last block's element, and where it began
  }

  add(piece, index) {
    this.pieces.push({ piece, index });
    this.text += piece.text;
  }

  // All of it again.
  redraw() {
    this.element.replaceChildren();
    for (const { index } of this.pieces) this.spans[index] = [];
    this.forget();
    this.draw();
  }

  draw() {
    if (this.next === this.pieces.length) return;
    if (this.last) this.takeBack();
    const blocks = (this.formatted ? readMarkdown : readPlain)(this.text, this.at);
    for (const block of blocks) {
      const { at, next, used } = this;
      const element = this.blockElement(block);
      this.last = { element, at, next, used };
      this.element.append(element);
    }
  }

  takeBack() {
    const { element, at, next, used } = this.last;
    element.remove();
    Object.assign(this, { at, next, used, last: null });
    for (const { index } of this.pieces.slice(next)) {
      this.spans[index] = this.spans[index]?.filter((span) => !element.contains(span));
    }
  }

  // Appends the text up to `end` to an element.
  emit(parent, end, hidden = false) {
    while (this.next < this.pieces.length) {
      const { piece, index } = this.pieces[this.next];
      if (piece.text !== '') {
        if (this.at >= end) return;
        const text = piece.text.slice(this.used, this.used + end - this.at);
        for (const line of text.match(/[^\n]*\n|[^\n]+/g)) this.span(parent, line, index, hidden);
        this.at += text.length;
        this.used += text.length;
        if (this.used < piece.text.length) return;
      } else {
        this.span(parent, '', index, false).dataset.silent = silentName(piece.tokens);
      }
      ++this.next;
      this.used = 0;
    }
  }

  span(parent, text, index, hidden) {
    const span = h('span', { class: hidden ? 'token markup' : 'token' }, readable(text));
    span.dataset.piece = index;
    if (text === '\n') span.dataset.mark = '↵';
    const list = (this.spans[index] ??= []);
    for (const mark of this.marks.get(index) ?? []) if (mark !== 'here' || list.length === 0) span.classList.add(mark);
    list.push(span);
    parent.append(span);
    return span;
  }

  show(parent, [start, end]) {
    this.emit(parent, start, true);
    this.emit(parent, end);
  }

  inline(parent, ranges) {
    this.parts(parent, readInline(this.text, ranges));
  }

  parts(parent, parts) {
    for (const part of parts) {
      if (Array.isArray(part)) {
        this.show(parent, part);
        continue;
      }
      const element = part.type === 'link' ? linkElement(part) : h(TAGS[part.type], {});
      parent.append(element);
      this.parts(element, part.parts);
    }
  }

  blockElement(block) {
    const element = this.openBlock(block);
    // What is left are marks and the line's end.
    const leaves = element.querySelectorAll('p, li, th, td, pre > code, .heading');
    this.emit(leaves[leaves.length - 1] ?? element, block.end, true);
    return element;
  }

  openBlock(block) {
    switch (block.type) {
      case 'code': return this.codeElement(block);
      case 'list': return this.listElement(block);
      case 'table': return this.tableElement(block);
      case 'quote': {
        const quote = h('blockquote', {});
        for (const inner of block.blocks) quote.append(this.blockElement(inner));
        return quote;
      }
      case 'rule': return h('div', { class: 'rule', role: 'separator' });
      case 'line': {
        const line = h('div', { class: 'line', dir: 'auto' });
        this.emit(line, block.end);
        return line;
      }
      default: {
        const element = block.type === 'heading'
          ? h('div', { class: `heading level${block.level}`, role: 'heading', 'aria-level': Math.min(6, 3 + block.level), dir: 'auto' })
          : h('p', { dir: 'auto' });
        this.inline(element, block.ranges);
        return element;
      }
    }
  }

  codeElement({ language, ranges }) {
    const name = readable(language.slice(0, 40));
    const code = h('code', {});
    for (const range of ranges) this.show(code, range);
    // Its name stands in an attribute, so that the button is no part of the text.
    const copy = navigator.clipboard ? h('button', { type: 'button', class: 'copy', 'aria-label': 'Copy this code' }) : null;
    return h('div', { class: 'code', 'data-language': name }, copy,
      h('pre', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': name ? `Code, ${name}` : 'Code', dir: 'ltr' },
        code));
  }

  listElement({ ordered, first, items }) {
    const list = h(ordered ? 'ol' : 'ul', ordered && first !== 1 ? { start: first } : {});
    for (const item of items) {
      const element = h('li', { dir: 'auto' });
      for (const block of item.blocks) element.append(this.blockElement(block));
      this.emit(element, item.end, true);
      list.append(element);
    }
    return list;
  }

  tableElement({ align, head, rows }) {
    const rowElement = (row, kind) => {
      const cells = align.map((side, i) => {
        const scope = kind === 'head' ? { scope: 'col' } : i === 0 ? { scope: 'row' } : null;
        const cell = h(scope ? 'th' : 'td', { ...scope, dir: 'auto', ...(side && { class: side }) });
        if (row.cells[i]) this.inline(cell, [row.cells[i]]);
        return cell;
      });
      this.emit(cells.at(-1), row.end, true);
      return h('tr', {}, cells);
    };
    const headRow = rowElement(head, 'head');
    return h('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'Table' },
      h('table', {}, h('thead', {}, headRow), h('tbody', {}, rows.map((row) => rowElement(row, 'body')))));
  }
}

// Says where it leads, whatever its text says.
function linkElement({ href, host }) {
  const link = h('a', { href, target: '_blank', rel: 'noopener noreferrer nofollow', title: href });
  if (host) link.dataset.host = host;
  return link;
}

// Copies the code beside a button of codeElement().
export function onCopy(event) {
  const button = event.target.closest?.('button.copy');
  if (!button) return false;
  const code = button.parentElement.querySelector('code');
  const text = [...code.querySelectorAll('.token:not(.markup)')].map((span) => span.textContent).join('');
  const tell = (state, words) => {
    button.dataset.state = state;
    button.setAttribute('aria-label', words);
  };
  navigator.clipboard.writeText(text).then(() => tell('done', 'Copied'), () => tell('failed', 'Not allowed'));
  return true;
}
