// Texts of Markdown's marks in any order, and long ones of one kind: what is shown of them stands in the order of the text,
// blocks leave nothing out, and to read on from the last block gives that block again. Returns the faults.
// SPDX-License-Identifier: Apache-2.0
return import('/markdown.js').then(({ readInline, readMarkdown, readPlain }) => {
  const WORDS = ['*', '**', '_', '__', '~~', '`', '``', '```', '[', '](https://x.org)', '](javascript:1)', '](', '!', '\\', '\\*',
    '<https://a.b>', 'https://e.f/g?h=i', '\\(', '\n', '\n\n', '\n  ', '\n    ', '> ', '- ', '1. ', '2) ', '# ', '---', '|', ')',
    '|---|---|', 'a|b', 'a', 'word', ' ', 'é', '🙂', '漢', '~~~', '"', '(', '\t', '\r'];
  let state = 1;
  const draw = (n) => {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    return (state >> 8) % n;
  };

  function ranges(text, block) {
    const inside = (parts) => parts.flatMap((part) => (Array.isArray(part) ? [part] : inside(part.parts)));
    if (block.type === 'line') return [[block.start, block.end]];
    if (block.type === 'code') return block.ranges;
    if (block.blocks) return block.blocks.flatMap((inner) => ranges(text, inner));
    if (block.items) return block.items.flatMap((item) => item.blocks.flatMap((inner) => ranges(text, inner)));
    const rows = block.type === 'table' ? [block.head, ...block.rows].flatMap((row) => row.cells.map((cell) => [cell])) : [block.ranges];
    return rows.flatMap((row) => inside(readInline(text, row)));
  }

  function fault(text, read) {
    const blocks = read(text, 0);
    let end = 0;
    for (const block of blocks) {
      if (block.start !== end || block.end < end) return `a block [${block.start}, ${block.end}) after ${end}`;
      for (const [from, to] of ranges(text, block)) {
        if (from < end || to < from || to > block.end) return `[${from}, ${to}) after ${end}`;
        end = to;
      }
      ({ end } = block);
    }
    const last = blocks.at(-1);
    if (end !== text.length) return 'the end is missing';
    return JSON.stringify(read(text, last.start)) === JSON.stringify([last]) ? null : 'the last block reads differently';
  }

  const texts = Array.from({ length: 20000 }, () => Array.from({ length: 1 + draw(25) }, () => WORDS[draw(WORDS.length)]).join(''));
  for (const word of [...WORDS, '**a', '[a](https://x.y)', '](a "', '`a``b```c', '_a_*b*', '\n> - ', 'a\n', '[![']) texts.push(word.repeat(19000 / word.length));
  texts.push(`${'|'.repeat(9000)}\n${'|-'.repeat(9000)}`);
  return [readMarkdown, readPlain].flatMap((read) => texts.map((text) => [fault(text, read), text.slice(0, 80)]))
    .filter(([what]) => what !== null).slice(0, 5);
});
