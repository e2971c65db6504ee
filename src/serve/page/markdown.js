// Reads the part of Markdown that models write, after CommonMark (https://spec.commonmark.org/0.31.2/) and GitHub's
// tables and strikethrough. Nothing here makes elements: the result says which characters of the text are what.
//
// A block is {type, start, end}: characters [start, end) of the text; blocks of a list lie next to each other and leave
// nothing out. By its type it also has
//   line                     nothing more: shown as it is
//   paragraph, rule          ranges: what is shown, the rest are marks
//   heading                  level, ranges
//   code                     language, ranges
//   quote                    blocks
//   list                     ordered, first (its number), items: {start, end, blocks}
//   table                    align (of each column), head and rows: {end, cells: [range]}
// A range is [start, end). Left out on purpose: HTML, entities and indented code stay text; a line end stays a line end.
// SPDX-License-Identifier: Apache-2.0

const MAX_DEPTH = 8;        // of quotes and lists in each other; deeper ones are paragraphs
const MAX_INLINE = 20000;   // characters of a paragraph whose inside is read
const MAX_COLUMNS = 64;

// What stands before `first` is indentation.
function lineAt(text, start, end, next) {
  let first = start;
  let indent = 0;
  while (first < end && (text[first] === ' ' || text[first] === '\t')) indent += text[first++] === '\t' ? 4 : 1;
  return { start, end, next, first, indent, blank: first === end };
}

function linesOf(text, from) {
  const lines = [];
  for (let at = from; at < text.length;) {
    const found = text.indexOf('\n', at);
    const end = found < 0 ? text.length : found;
    const next = Math.min(text.length, end + 1);
    lines.push(lineAt(text, at, end, next));
    at = next;
  }
  return lines;
}

// The line without `columns` of its indentation, or as much as it has.
function outdented(text, line, columns) {
  let start = line.start;
  for (let left = columns; left > 0 && start < line.first; ++start) left -= text[start] === '\t' ? 4 : 1;
  return lineAt(text, start, line.end, line.next);
}

const wordsOf = (text, line) => text.slice(line.first, line.end);

function fenceOf(text, line) {
  if (line.indent > 3) return null;
  const match = /^(`{3,}|~{3,})(.*)$/.exec(wordsOf(text, line));
  if (!match || (match[1][0] === '`' && match[2].includes('`'))) return null;
  return { mark: match[1], language: match[2].trim().split(/\s/)[0] };
}

function headingOf(text, line) {
  return line.indent > 3 ? null : /^(#{1,6})(?:[ \t]+|$)/.exec(wordsOf(text, line));
}

function isRule(text, line) {
  const marks = wordsOf(text, line).replace(/[ \t\r]/g, '');
  return line.indent <= 3 && marks.length >= 3 && /^(?:\*+|-+|_+)$/.test(marks);
}

const isQuote = (text, line) => line.indent <= 3 && text[line.first] === '>';

// {kind: of which all items of a list are, number, after: what follows the mark}.
function itemOf(text, line) {
  const match = /^(?:([-*+])|(\d{1,9})([.)]))(?=[ \t]|$)/.exec(wordsOf(text, line));
  if (!match || isRule(text, line)) return null;
  return { kind: match[1] || match[3], number: match[2] === undefined ? null : Number(match[2]),
    after: line.first + match[0].length };
}

// A row's cells without the white space around them.
function cellsOf(text, line) {
  const bars = [];
  for (let i = line.first; i < line.end; ++i) {
    if (text[i] === '\\') ++i;
    else if (text[i] === '|') bars.push(i);
  }
  if (bars.length === 0) return null;
  const edges = bars[0] === line.first ? bars : [line.first - 1, ...bars];
  if (text.slice(edges.at(-1) + 1, line.end).trim() !== '') edges.push(line.end);
  return edges.slice(1).map((end, i) => trimmed(text, edges[i] + 1, end));
}

function trimmed(text, start, end) {
  while (start < end && /\s/.test(text[start])) ++start;
  while (end > start && /\s/.test(text[end - 1])) --end;
  return [start, end];
}

// How the columns are aligned, when line i is a table's head.
function tableAt(text, lines, i) {
  if (i + 1 >= lines.length || lines[i].indent > 3 || lines[i + 1].indent > 3) return null;
  if (!/^[-:|\s]+$/.test(wordsOf(text, lines[i + 1]))) return null;
  const head = cellsOf(text, lines[i]);
  const rule = cellsOf(text, lines[i + 1]);
  if (!head || !rule || head.length !== rule.length || head.length === 0 || head.length > MAX_COLUMNS) return null;
  const marks = rule.map(([start, end]) => text.slice(start, end));
  if (!marks.every((mark) => /^:?-+:?$/.test(mark))) return null;
  return marks.map((mark) => (mark.endsWith(':') ? (mark.startsWith(':') ? 'center' : 'right') : ''));
}

// Whether line i begins something that ends the paragraph before it.
function interrupts(text, lines, i) {
  const line = lines[i];
  const item = itemOf(text, line);
  return Boolean(fenceOf(text, line) || headingOf(text, line) || isRule(text, line) || isQuote(text, line)
    || (item && (item.number === null || item.number === 1) && text.slice(item.after, line.end).trim() !== '')
    || tableAt(text, lines, i));
}

// Each reader gives the block that begins at line i, with the number of its lines as `count`; or null.
function readCode(text, lines, i) {
  const fence = fenceOf(text, lines[i]);
  if (!fence) return null;
  const ends = (line) => line.indent <= 3 && wordsOf(text, line).trimEnd().length >= fence.mark.length
    && [...wordsOf(text, line).trimEnd()].every((c) => c === fence.mark[0]);
  let j = i + 1;
  const ranges = [];
  for (; j < lines.length && !ends(lines[j]); ++j) {
    ranges.push([outdented(text, lines[j], lines[i].indent).start, lines[j].next]);
  }
  return { type: 'code', language: fence.language, ranges, count: Math.min(j + 1, lines.length) - i };
}

function readHeading(text, lines, i) {
  const match = headingOf(text, lines[i]);
  if (!match) return null;
  const [start, whole] = trimmed(text, lines[i].first + match[0].length, lines[i].end);
  const closed = /(?:^|\s)#+$/.exec(text.slice(start, whole));
  const end = closed ? trimmed(text, start, start + closed.index)[1] : whole;
  return { type: 'heading', level: match[1].length, ranges: [[start, end]], count: 1 };
}

function readRule(text, lines, i) {
  return isRule(text, lines[i]) ? { type: 'rule', ranges: [], count: 1 } : null;
}

function readQuote(text, lines, i, depth) {
  if (!isQuote(text, lines[i]) || depth >= MAX_DEPTH) return null;
  let j = i;
  const inner = [];
  for (; j < lines.length && !lines[j].blank && isQuote(text, lines[j]); ++j) {
    const { first, end, next } = lines[j];
    inner.push(lineAt(text, Math.min(first + (text[first + 1] === ' ' ? 2 : 1), end), end, next));
  }
  return { type: 'quote', blocks: blocksOf(text, inner, depth + 1), count: j - i };
}

// The lines of the item that begins at line i. Its own text begins `width` columns in; a list in it may begin two columns
// in, as models write it below "1.".
function itemLines(text, lines, i, item) {
  const head = lines[i];
  const content = lineAt(text, item.after, head.end, head.next);
  const gap = content.blank || content.indent > 4 ? 1 : content.indent;
  const width = head.indent + (item.after - head.first) + gap;
  const inner = [outdented(text, content, gap)];
  let j = i + 1;
  let cut = width;
  let blank = false;
  for (; j < lines.length; ++j) {
    const line = lines[j];
    if (line.indent >= head.indent + 2 && line.indent < cut && itemOf(text, line)) cut = line.indent;
    const own = line.blank || line.indent >= cut;
    if (!own && (blank || itemOf(text, line) || interrupts(text, lines, j))) break;
    inner.push(outdented(text, line, cut));
    blank = line.blank;
  }
  while (inner.length > 1 && inner.at(-1).blank) inner.pop();
  return { inner, next: j };
}

function readList(text, lines, i, depth) {
  const head = itemOf(text, lines[i]);
  if (!head || lines[i].indent > 3 || depth >= MAX_DEPTH) return null;
  const items = [];
  let j = i;
  while (j < lines.length) {
    const item = itemOf(text, lines[j]);
    if (!item || item.kind !== head.kind || lines[j].indent > 3) break;
    const { inner, next } = itemLines(text, lines, j, item);
    items.push({ start: lines[j].start, end: 0, blocks: blocksOf(text, inner, depth + 1) });
    j = next;
  }
  return { type: 'list', ordered: head.number !== null, first: head.number, items, count: j - i };
}

function readTable(text, lines, i) {
  const align = tableAt(text, lines, i);
  if (!align) return null;
  // What is too much for the columns stays in the last one, so that nothing is lost.
  const row = (line, cells, end) => ({ end, cells: cells.length <= align.length ? cells
    : [...cells.slice(0, align.length - 1), [cells[align.length - 1][0], cells.at(-1)[1]]] });
  const head = row(lines[i], cellsOf(text, lines[i]), lines[i + 1].next);
  const rows = [];
  let j = i + 2;
  for (; j < lines.length && !lines[j].blank; ++j) {
    const cells = cellsOf(text, lines[j]);
    if (!cells || cells.length === 0 || isQuote(text, lines[j]) || fenceOf(text, lines[j])) break;
    rows.push(row(lines[j], cells, lines[j].next));
  }
  return { type: 'table', align, head, rows, count: j - i };
}

function readParagraph(text, lines, i) {
  let j = i + 1;
  while (j < lines.length && !lines[j].blank && !interrupts(text, lines, j)) ++j;
  const ranges = lines.slice(i, j).map((line, k) => [line.first, i + k + 1 < j ? line.next : line.end]);
  return { type: 'paragraph', ranges, count: j - i };
}

const READERS = [readCode, readHeading, readRule, readQuote, readList, readTable, readParagraph];

function blocksOf(text, lines, depth) {
  const blocks = [];
  for (let i = 0; i < lines.length;) {
    if (lines[i].blank) {
      ++i;
      continue;
    }
    let block = null;
    for (const reader of READERS) {
      block = reader(text, lines, i, depth);
      if (block) break;
    }
    const { start } = lines[i];
    i += block.count;
    blocks.push({ ...block, start, end: lines[i - 1].next });
  }
  return blocks;
}

// Blank lines go to the block before them, those at the beginning to the first one.
function close(blocks, start, end) {
  blocks.forEach((block, i) => {
    if (i === 0) block.start = start;
    block.end = blocks[i + 1]?.start ?? end;
    if (block.items) {
      block.items.forEach((item, k) => { item.end = block.items[k + 1]?.start ?? block.end; });
      for (const item of block.items) close(item.blocks, item.start, item.end);
    }
    if (block.blocks) close(block.blocks, block.start, block.end);
  });
}

// The blocks of text from `from` on, where a block begins.
export function readMarkdown(text, from) {
  const blocks = blocksOf(text, linesOf(text, from), 0);
  if (blocks.length === 0) blocks.push({ type: 'paragraph', ranges: [], start: from, end: text.length });
  close(blocks, from, text.length);
  return blocks;
}

// Each line as it is.
export function readPlain(text, from) {
  const lines = linesOf(text, from).map(({ start, next }) => ({ type: 'line', start, end: next }));
  return lines.length > 0 ? lines : [{ type: 'line', start: from, end: text.length }];
}

// --- Inside a paragraph ---

const ADDRESS = /https?:\/\/[^\s<>"`*|\\^{}[\]]{1,2000}/y;
const IN_ANGLES = /<(https?:\/\/[^\s<>]{1,2000})>/y;
const TARGET = /\([ \n]?(?:<([^<>\n]{0,2000})>|((?:[^\s()<>]|\([^\s()<>]{0,500}\)){0,2000}))(?:[ \n]+(?:"[^"]{0,500}"|'[^']{0,500}'))?[ \n]?\)/y;

function matchAt(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

// Where a link may lead: to the web and nowhere else.
export function safeAddress(address) {
  try {
    const url = new URL(address);
    return /^https?$/.test(url.protocol.slice(0, -1)) ? url : null;
  } catch {
    return null;
  }
}

const isSpace = (c) => c === '' || /\s/.test(c);
const isMark = (c) => /[\p{P}\p{S}]/u.test(c);

function before(text, at) {
  if (at === 0) return '';
  const low = text.charCodeAt(at - 1);
  return low >= 0xdc00 && low < 0xe000 && at > 1 ? text.slice(at - 2, at) : text[at - 1];
}

function after(text, at) {
  return at < text.length ? String.fromCodePoint(text.codePointAt(at)) : '';
}

// CommonMark, section 6.2: which runs of * _ ~ may open and close.
function runAt(text, start) {
  const ch = text[start];
  let end = start;
  while (text[end] === ch) ++end;
  const [a, b] = [before(text, start), after(text, end)];
  const left = !isSpace(b) && (!isMark(b) || isSpace(a) || isMark(a));
  const right = !isSpace(a) && (!isMark(a) || isSpace(b) || isMark(b));
  const inWord = ch === '_' && left && right;
  return { ch, start, end, length: end - start, opens: left && (!inWord || isMark(a)),
    closes: right && (!inWord || isMark(b)) };
}

function alike(opener, closer) {
  if (opener.ch !== closer.ch) return false;
  if (opener.ch === '~') return opener.length === 2 && closer.length === 2;
  const both = (opener.closes || closer.opens) && (opener.length + closer.length) % 3 === 0;
  return !both || (opener.length % 3 === 0 && closer.length % 3 === 0);
}

const TYPES = { '~': () => 'del', '*': (n) => (n === 2 ? 'strong' : 'em'), _: (n) => (n === 2 ? 'strong' : 'em') };

// Pairs up runs, the innermost first: CommonMark's appendix, "process emphasis".
function pairRuns(runs, marks) {
  const open = [];
  const lowest = new Map();   // below this there is no opener for such a closer
  for (const run of runs) {
    const kind = `${run.ch}${run.opens}${run.length % 3}`;
    while (run.closes && run.end > run.start) {
      let k = open.length - 1;
      while (k >= (lowest.get(kind) ?? 0) && !alike(open[k], run)) --k;
      if (k < (lowest.get(kind) ?? 0)) {
        lowest.set(kind, open.length);
        break;
      }
      const opener = open[k];
      const n = Math.min(2, opener.end - opener.start, run.end - run.start);
      marks.push({ type: TYPES[run.ch](n), open: [opener.end - n, opener.end], close: [run.start, run.start + n] });
      opener.end -= n;
      run.start += n;
      open.length = opener.end > opener.start ? k + 1 : k;
      for (const [key, height] of lowest) lowest.set(key, Math.min(height, open.length));
    }
    if (run.opens && run.end > run.start) open.push(run);
  }
}

// Where a code span that begins at `at` ends; null when it does not. missing: lengths that were looked for in vain.
function codeAt(text, at, missing) {
  let end = at;
  while (text[end] === '`') ++end;
  const n = end - at;
  if (!missing.has(n)) {
    for (let i = text.indexOf('`', end); i >= 0;) {
      let j = i;
      while (text[j] === '`') ++j;
      if (j - i === n) {
        const pad = text[end] === ' ' && text[i - 1] === ' ' && text.slice(end, i).trim() !== '' ? 1 : 0;
        return { type: 'code', open: [at, end + pad], close: [i - pad, j] };
      }
      i = text.indexOf('`', j);
    }
    missing.add(n);
  }
  return { after: end };
}

function bareAddress(text, at) {
  if (/[\p{L}\p{N}]/u.test(before(text, at))) return null;
  const match = matchAt(ADDRESS, text, at);
  if (!match) return null;
  let found = match[0].replace(/[.,;:!?'"]+$/, '');
  if (found.endsWith(')') && !found.includes('(')) found = found.replace(/\)+[.,;:!?'"]*$/, '');
  const url = safeAddress(found);
  return url && { type: 'link', href: url.href, open: [at, at], close: [at + found.length, at + found.length] };
}

// Marks of a text: {type, open, close} around what they hold, {type: 'hide', open} for one that stands alone.
class InlineReader {
  constructor(text) {
    this.text = text;
    this.marks = [];
    this.runs = [];
    this.brackets = [];
    this.missing = new Set();
  }

  read() {
    for (let at = 0; at < this.text.length;) at = this.step(at);
    pairRuns(this.runs, this.marks);
    return this.marks;
  }

  // What begins at `at`; gives where it ends.
  step(at) {
    const { text, marks } = this;
    const c = text[at];
    if (c === '\\' && /[!-/:-@[-`{-~]/.test(text[at + 1] ?? '')) {
      // \( and \[ begin mathematics more often than they are escapes: they stay whole.
      if (!'()[]'.includes(text[at + 1])) marks.push({ type: 'hide', open: [at, at + 1] });
      return at + 2;
    }
    if (c === '`') return this.keep(codeAt(text, at, this.missing));
    if (c === '*' || c === '_' || c === '~') {
      const run = runAt(text, at);
      this.runs.push(run);
      return run.end;
    }
    if (c === '!' && text[at + 1] === '[') {
      this.brackets.push({ at, end: at + 2, runs: this.runs.length });
      return at + 2;
    }
    if (c === '[') {
      this.brackets.push({ at, end: at + 1, runs: this.runs.length });
      return at + 1;
    }
    if (c === ']') return this.closeBracket(at);
    if (c === '<') {
      const match = matchAt(IN_ANGLES, text, at);
      const url = match && safeAddress(match[1]);
      if (!url) return at + 1;
      const end = at + match[0].length;
      return this.keep({ type: 'link', href: url.href, open: [at, at + 1], close: [end - 1, end] });
    }
    const address = c === 'h' ? bareAddress(text, at) : null;
    return address ? this.keep(address) : at + 1;
  }

  keep(found) {
    if (found.after !== undefined) return found.after;
    this.marks.push(found);
    return found.close[1];
  }

  closeBracket(at) {
    const bracket = this.brackets.pop();
    const match = bracket && !bracket.dead && matchAt(TARGET, this.text, at + 1);
    const url = match && safeAddress(match[1] ?? match[2]);
    if (!url || bracket.end === at) return at + 1;
    const end = at + 1 + match[0].length;
    pairRuns(this.runs.splice(bracket.runs), this.marks);
    // There are no links in links: those that began outside are none.
    for (const outer of this.brackets) outer.dead = true;
    // An address that was read inside is text of this link.
    this.marks = this.marks.filter((mark) => mark.type !== 'link' || mark.open[0] < bracket.at);
    return this.keep({ type: 'link', href: url.href, host: url.host, open: [bracket.at, bracket.end], close: [at, end] });
  }
}

// The parts of what `ranges` show: a text [start, end) of the whole text, or {type, href, host, parts}. What no part has
// are marks.
export function readInline(text, ranges) {
  const size = ranges.reduce((sum, [start, end]) => sum + end - start, 0);
  if (size > MAX_INLINE) return ranges;
  const inner = ranges.map(([start, end]) => text.slice(start, end)).join('');
  const root = { parts: [], close: [inner.length, inner.length] };
  const stack = [root];
  const starts = [];   // where in `inner` each range begins
  ranges.reduce((at, [start, end]) => (starts.push(at), at + end - start), 0);
  let range = 0;
  const show = (from, to) => {
    while (from < to) {
      while (range + 1 < ranges.length && starts[range + 1] <= from) ++range;
      const [start, end] = ranges[range];
      const stop = Math.min(to, starts[range] + end - start);
      stack.at(-1).parts.push([start + from - starts[range], start + stop - starts[range]]);
      from = stop;
    }
  };
  let at = 0;
  const closeUpTo = (until) => {
    while (stack.length > 1 && stack.at(-1).close[0] < until) {
      const { close } = stack.at(-1);
      show(at, close[0]);
      stack.pop();
      at = close[1];
    }
  };
  const marks = new InlineReader(inner).read().sort((a, b) => a.open[0] - b.open[0] || (b.close?.[1] ?? 0) - (a.close?.[1] ?? 0));
  for (const mark of marks) {
    closeUpTo(mark.open[0] + 1);
    show(at, mark.open[0]);
    at = mark.open[1];
    if (mark.type === 'hide') continue;
    const node = { ...mark, parts: [] };
    stack.at(-1).parts.push(node);
    stack.push(node);
  }
  closeUpTo(Infinity);
  show(at, inner.length);
  return root.parts;
}
