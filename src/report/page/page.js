// Builds the page from its data. Text from items and models is set as text, never as markup.
// SPDX-License-Identifier: Apache-2.0

const byId = (id) => document.getElementById(id);
const BASE = REPORT.runs[REPORT.baseline].name;
const VERDICT_SIGNS = { better: '▲', worse: '▼', equivalent: '≈', indistinguishable: '?' };
const METRIC_UNITS = {
  acc: 'nats', acc_norm: 'nats a character', acc_bytes: 'nats a byte', acc_token: 'nats a token',
};
const KINDS = {
  right_to_wrong: 'right to wrong', wrong_to_right: 'wrong to right', changed: 'wrong both times, another pick',
};
const charts = [];  // {id, make, drawn}

// An element with attributes and children; a string child becomes text.
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const paragraphs = (id, ...texts) => byId(id).append(...texts.map((text) => h('p', {}, text)));
const missing = (text) => h('p', { class: 'missing' }, text);

// One line for all runs that lack something for the same reason.
function missingRuns(entries, start) {
  const reasons = [...new Set(entries.map((e) => e.missing).filter((reason) => reason !== ''))];
  return reasons.map((reason) => missing(
    `${start} ${entries.filter((e) => e.missing === reason).map((e) => e.run).join(', ')}: ${reason}.`));
}

// cells: strings or nodes; the first of a row is its header. numeric: which columns are set to the right.
function table(caption, head, rows, numeric = () => false) {
  const cell = (content, c) => {
    const long = typeof content === 'string' && content.length > 24;
    const attributes = c === 0 ? { scope: 'row' } : numeric(c) ? { class: 'n' } : long ? { class: 'long' } : {};
    return h(c === 0 ? 'th' : 'td', attributes, content);
  };
  const body = rows.map((row) => h('tr', row.all ? { class: 'all' } : {}, (row.cells || row).map(cell)));
  const heads = head.map((text, c) => h('th', numeric(c) ? { scope: 'col', class: 'n' } : { scope: 'col' }, text));
  return h('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': caption },
    h('table', {}, h('caption', {}, caption), h('thead', {}, h('tr', {}, heads)), h('tbody', {}, body)));
}

const numbers = (c) => c > 0;

function badge(verdict, words = verdict) {
  return h('span', { class: `verdict ${verdict}`, title: words }, `${VERDICT_SIGNS[verdict] || ''} ${verdict}`);
}

// In full: "worse by less than the margin of 1 point".
function wordyBadge(d) {
  return h('span', { class: `verdict wrap ${d.verdict}` }, `${VERDICT_SIGNS[d.verdict] || ''} ${d.words}`);
}

function bytes(count) {
  if (count === null) return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    ++unit;
  }
  return `${count.toPrecision(3)} ${units[unit]}`;
}

// A chart with the table of its numbers below. height: in pixels.
function figure(id, height, label, caption, make, numbersTable) {
  const canvas = h('canvas', { id, role: 'img', 'aria-label': label });
  const box = h('div', { class: 'chart' }, canvas);
  box.style.height = `${height}px`;
  charts.push({ id, make, drawn: null });
  return h('figure', {}, h('figcaption', {}, caption), box,
    numbersTable ? h('details', { class: 'numbers' }, h('summary', {}, 'The numbers as a table'), numbersTable) : null);
}

function pairOf(variant) {
  return REPORT.pairs.find((pair) => pair.variant === variant);
}

function addSummary() {
  const section = byId('summary');
  section.append(h('ul', { class: 'lead' }, REPORT.words.map((text) => h('li', {}, text))));
  if (REPORT.recommendations.length > 0) {
    const rows = REPORT.recommendations.map((r) => [r.use,
      r.choice === null ? h('span', { class: 'none' }, 'not decided') : h('strong', {}, r.choice), r.because]);
    const advice = table('Which variant for which use', ['Use', 'Variant', 'Why'], rows);
    advice.querySelector('table').className = 'stack';
    section.append(advice);
  }
  const names = REPORT.runs.map((run) => run.name);
  const letters = REPORT.letters.length > 0;
  const rows = REPORT.matrix.map((row, a) => [names[a], ...(letters ? [REPORT.letters[a]] : []),
    ...row.map((verdict) => (verdict === null ? h('span', { class: 'none' }, '–') : badge(verdict)))]);
  section.append(table('The variant of the row as seen from that of the column, on the average over the tasks. Runs ' +
    'that share a letter cannot be told apart.', ['', ...(letters ? ['Group'] : []), ...names], rows));
  addNotes(section, REPORT.notes.concat(REPORT.comparison_notes));
}

function addNotes(section, notes) {
  if (notes.length > 0) section.append(h('ul', { class: 'notes quiet' }, notes.map((note) => h('li', {}, note))));
}

function scoreCell(score, difference) {
  return h('div', {}, percent(score.acc), ' ',
    h('small', {}, `${percent(score.ci[0])} to ${percent(score.ci[1])}`), h('br'),
    difference ? badge(difference.verdict, difference.words) : h('span', { class: 'none' }, 'baseline'),
    score.flags.map((flag) => h('span', { class: 'flag', title: flag.text }, `⚠ ${flag.name.replaceAll('_', ' ')}`)));
}

function addScores() {
  const section = byId('scores');
  const rows = REPORT.tasks.map((task, t) => [
    h('div', {}, task.task, h('br'), h('small', {}, `${task.metric}, n = ${task.n}`),
      task.informative ? null : h('span', { class: 'flag' }, '⚠ no information')),
    ...task.scores.map((score, r) => scoreCell(score, r === REPORT.baseline ? null : pairOf(r).tasks[t])),
  ]);
  if (REPORT.runs.some((run) => run.average !== null)) {
    rows.push({ all: true, cells: [h('div', {}, 'average', h('br'), h('small', {}, 'macro, informative tasks')),
      ...REPORT.runs.map((run, r) => {
        const pair = r === REPORT.baseline ? null : pairOf(r);
        return h('div', {}, percent(run.average), ' ', h('small', {}, `± ${percent(run.average_stderr)}`), h('br'),
          pair && pair.average ? badge(pair.average.verdict, pair.average.words)
            : h('span', { class: 'none' }, r === REPORT.baseline ? 'baseline' : '–'));
      })] });
  }
  rows.push({ all: true, cells: ['size', ...REPORT.runs.map((run) =>
    h('div', {}, bytes(run.bytes), h('br'),
      h('small', {}, run.bits === null ? '' : `${run.bits.toFixed(2)} bits a weight`)))] });
  section.append(h('p', {}, 'Accuracy in per cent with its 95 % Wilson interval; below it the verdict of the paired ' +
    `test against ${BASE}, adjusted for the number of tasks. Intervals of two runs may overlap although the paired ` +
    'test tells them apart: the verdict counts, not the overlap. ± is one standard error.'));
  section.append(table('Scores of every run', ['Task', ...REPORT.runs.map((run) => run.name)], rows));
  const flags = REPORT.tasks.flatMap((task) => task.scores.flatMap((score, r) =>
    score.flags.map((flag) => `${task.task}, ${REPORT.runs[r].name}: ${flag.text}`)));
  if (flags.length > 0) {
    section.append(h('details', {}, h('summary', {}, `What the ${flags.length} flags ⚠ say`),
      h('ul', { class: 'notes quiet' }, flags.map((flag) => h('li', {}, flag)))));
  }
}

// How the margin of the gold answer moved on the mean, in the metric's own unit.
function marginShift(shift) {
  return shift === null ? '–' : `${signed(shift.mean)} (${signed(shift.ci[0], 2)} to ${signed(shift.ci[1], 2)})`;
}

function differencesTable() {
  const count = (x) => (x === null ? '–' : x.toLocaleString('en'));
  const rows = REPORT.pairs.flatMap((pair) => {
    const name = REPORT.runs[pair.variant].name;
    const lines = pair.tasks.map((d, t) => [name, REPORT.tasks[t].task, points(d.diff),
      `${points(d.ci[0])} to ${points(d.ci[1])}`, count(d.right_to_wrong), count(d.wrong_to_right),
      significant(d.p_holm), significant(d.p_equivalence), d.detectable === null ? '–' : percent(d.detectable),
      count(d.more_items), marginShift(d.margin_shift), wordyBadge(d)]);
    if (pair.average) {
      const a = pair.average;
      lines.push([name, 'average', points(a.diff), `${points(a.ci[0])} to ${points(a.ci[1])}`, '', '',
        significant(a.p_holm), significant(a.p_equivalence), '', count(a.more_items), '', wordyBadge(a)]);
    }
    return lines;
  });
  return table(`Paired differences to ${BASE}, in points. p: of no difference, and of a difference as large as the ` +
    'margin, both adjusted. Detectable: the difference that so many items show with 80 % power. Items needed: how ' +
    'many more of the same kind would decide. Gold margin: how the margin of the right answer moved, in the unit of ' +
    'the metric; evidence beside the verdict.', ['Variant', 'Task', 'Difference', '95 % interval', 'Right to wrong',
    'Wrong to right', 'p', 'p, equivalence', 'Detectable', 'Items needed', 'Gold margin', 'Verdict'], rows,
  (c) => c > 1 && c < 11);
}

function addDifferences() {
  const margin = REPORT.margin > 0 ? ` The band is the margin of equivalence, ${percent(REPORT.margin)} points.` : '';
  const silent = REPORT.tasks.every((task) => task.informative) ? ''
    : ' ⚠: a run gives nearly every item the same answer, so the task says nothing about quality.';
  byId('differences').append(figure('chart-forest', forestHeight(),
    `Paired differences of each variant to ${BASE} by task with 95 % intervals; the table below has the numbers.`,
    'Points and 95 % intervals of the paired difference. A filled mark is a difference that is shown (better or worse ' +
    'after the adjustment for all tasks); a hollow one is not, wherever it lies.' + margin + silent,
    forestChart, differencesTable()));
}

function frontStatus(point) {
  if (point.beaten_by !== null) return `shown to score below ${REPORT.runs[point.beaten_by].name}, which costs no more`;
  return point.front ? 'on the front' : 'below the front, not beyond chance';
}

function tradeoffTable(caption, list, costTitle, costText) {
  const rows = list.map((p) => [REPORT.runs[p.run].name, costText(p), `${percent(p.average)} ± ${percent(p.stderr)}`,
    p.run === REPORT.baseline ? 'baseline' : pairOf(p.run).average ? badge(pairOf(p.run).average.verdict) : '–', frontStatus(p)]);
  return table(caption, ['Variant', costTitle, 'Average, %', `Against ${BASE}`, 'Pareto front'], rows);
}

function addTradeoffs() {
  const section = byId('tradeoffs');
  paragraphs('tradeoffs', 'The dashed line joins the variants that no other one beats in both respects, by point ' +
    'estimate. Bars are 95 % intervals of each average alone; whether two variants differ is told by the verdicts, ' +
    'which compare them item by item.');
  const pair = h('div', { class: 'pair' });
  if (REPORT.by_size.length > 0) {
    const size = (p) => p.cost / 1e6;
    pair.append(figure('chart-size', 360, 'Average accuracy against bytes of weights; the table below has the numbers.',
      'Quality against size', () => tradeoffChart(REPORT.by_size, size, 'weights, MB', 'before'),
      tradeoffTable('Quality and size', REPORT.by_size, 'Weights', (p) => bytes(p.cost))));
  } else {
    pair.append(missing('No average or no size is known, so quality cannot be set against size.'));
  }
  if (REPORT.by_speed.length > 0) {
    const speed = (p) => 1 / p.cost;
    pair.append(figure('chart-speed', 360, 'Average accuracy against tokens a second; the table below has the numbers.',
      'Quality against speed of generation', () => tradeoffChart(REPORT.by_speed, speed, 'tokens a second', 'after'),
      tradeoffTable('Quality and speed', REPORT.by_speed, 'Tokens a second', (p) => significant(1 / p.cost))));
  }
  section.append(pair);
  const without = REPORT.runs.filter((run) => !REPORT.speed.some((s) => s.run === run.name)).map((run) => run.name);
  if (without.length > 0) {
    section.append(missing(`Speed is not known of ${without.join(', ')}. It stands here when ` +
      '“qx bench -m MODEL -o RUNS/NAME” has measured it beside the run.'));
  }
  if (REPORT.speed.length > 0) {
    section.append(table('Speed and memory as measured by qx bench', ['Variant', 'Prompt, tokens a second',
      'Generation, tokens a second', 'Peak memory', 'Measured with'], REPORT.speed.map((s) => [s.run,
      s.prefill > 0 ? significant(s.prefill) : '–', s.decode > 0 ? significant(s.decode) : '–', bytes(s.peak_rss),
      s.machine]), (c) => c > 0 && c < 4));
  }
}

const BIT_CLASSES = [2, 3, 4, 5, 6, 8, 16, 32];

function bitCell(bits) {
  if (bits === null) return h('td', {}, '');
  const nearest = BIT_CLASSES.find((b) => bits <= b) || 32;
  return h('td', { class: `b${nearest}` }, significant(bits));
}

function heatMap(map) {
  const layers = Math.max(0, ...map.roles.map((role) => role.bits.length));
  const head = h('tr', {}, h('th', { scope: 'col' }, 'layer'),
    Array.from({ length: layers }, (_, l) => h('th', { scope: 'col' }, String(l))));
  const rows = map.roles.map((role) => h('tr', {}, h('th', { scope: 'row' }, role.role), role.bits.map(bitCell)));
  const outside = map.outside.map((cell) => h('tr', {}, h('th', { scope: 'row' }, cell.role), bitCell(cell.bits)));
  const label = `Bits of ${map.run} by role and layer`;
  return h('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': label },
    h('table', { class: 'heat' }, h('caption', {}, label), h('thead', {}, head), h('tbody', {}, rows, outside)));
}

function addBits() {
  const section = byId('bits');
  paragraphs('bits', 'The width of the codes of every linear layer and embedding, measured in the files of the ' +
    'model, without scales and biases. A cell of several tensors shows their mean.');
  section.append(h('p', { class: 'key' }, 'Bits:', BIT_CLASSES.map((b) => h('span', { class: `b${b}` }, String(b)))));
  for (const map of REPORT.weights.filter((m) => m.missing === '')) {
    section.append(h('h3', {}, map.run));
    const all = map.widths.reduce((sum, w) => sum + w.weights, 0);
    section.append(heatMap(map), h('details', {}, h('summary', {}, 'Widths of all tensors'),
      table(`Tensors of ${map.run} by width`, ['Width', 'Tensors', 'Weights', 'Share', 'Bytes'],
        map.widths.map((w) => [`${w.bits} bits, ${w.mode}${w.group > 0 ? `, group ${w.group}` : ''}`,
          String(w.tensors), String(w.weights), `${percent(w.weights / all)} %`, bytes(w.bytes)]), numbers)));
  }
  section.append(...missingRuns(REPORT.weights, 'Not shown of'));
}

function addErrors() {
  const section = byId('errors');
  if (REPORT.errors.length === 0) {
    section.append(missing('Not measured (--no-errors).'));
    return;
  }
  const known = REPORT.errors.filter((e) => e.layers.some((x) => x !== null));
  if (known.length > 0) {
    const layers = Math.max(...known.map((e) => e.layers.length));
    const rows = Array.from({ length: layers }, (_, l) => [`layer ${l}`, ...known.map((e) =>
      e.layers[l] === null || e.layers[l] === undefined ? '–' : significant(100 * e.layers[l]))]);
    const roles = [...new Set(known.flatMap((e) => e.roles.map((r) => r.role)))];
    for (const role of roles) {
      rows.push([role, ...known.map((e) => {
        const found = e.roles.find((r) => r.role === role);
        return found ? significant(100 * found.error) : '–';
      })]);
    }
    section.append(figure('chart-errors', 380,
      'Relative error of the quantized weights by layer, one line a variant; the table below has the numbers.',
      `Error of the quantized weights of each layer relative to those of ${BASE}: root of the summed squared ` +
      'differences over the summed squared weights, in per cent. Float tensors are left out.',
      layerChart, table('Relative error in per cent, by layer and by role', ['', ...known.map((e) => e.run)], rows,
        numbers)));
    const worst = known.flatMap((e) => e.worst.map((t) => [e.run, h('code', {}, t.name),
      `${t.bits} bits, group ${t.group}`, significant(100 * t.error), significant(t.sqnr)]));
    section.append(h('details', {}, h('summary', {}, 'The tensors with the largest errors'),
      table('Tensors with the largest relative errors', ['Variant', 'Tensor', 'Width', 'Error, %', 'SQNR, dB'],
        worst, (c) => c > 2)));
  }
  section.append(...missingRuns(REPORT.errors, 'Not measured of'));
  for (const e of REPORT.errors.filter((x) => x.missing === '')) {
    if (e.tensors === 0) section.append(missing(`${e.run} has no quantized tensor.`));
    else if (!known.includes(e)) section.append(missing(`${e.run}: its quantized tensors equal those of ${BASE}.`));
  }
}

function addDistance() {
  const section = byId('distance');
  const without = REPORT.runs.filter((run, r) => r !== REPORT.baseline &&
    !REPORT.distance.some((d) => d.run === run.name)).map((run) => run.name);
  if (REPORT.distance.length > 0) {
    const rows = REPORT.distance.map((d) => [d.run, significant(d.kl_median),
      `${significant(d.kl_mean)} ± ${significant(d.kl_stderr, 2)}`,
      ...KL_COLUMNS.slice(2).map(([, key]) => significant(d[key])), percent(d.top1_agreement, 2),
      `${significant(d.ppl, 5)} ± ${significant(d.ppl_stderr, 2)}`, significant(d.ppl_base, 5), String(d.tokens), d.base]);
    section.append(figure('chart-kl', 360,
      'KL divergence to the base: mean and percentiles, one line a variant; the table below has the numbers.',
      'How far the next-token distribution of each variant is from the base’s on a text: mean and percentiles of ' +
      'the KL divergence over its tokens. Lower is closer.', distanceChart,
      table('Divergence from the base; KL in nats a token, ± one standard error', ['Variant', 'Median', 'Mean', '95 %',
        '99 %', 'Largest', 'Same top token, %', 'Perplexity', 'Perplexity of the base', 'Tokens', 'Base'], rows,
      (c) => c > 0 && c < 10)));
    if (new Set(REPORT.distance.map((d) => d.text_sha256)).size > 1) {
      section.append(missing('The variants were measured on different texts, so their distances do not compare.'));
    }
  }
  if (without.length > 0) {
    section.append(missing(`No distance is known of ${without.join(', ')}. It stands here when ` +
      '“qx divergence -m MODEL --base BASE --text FILE -o RUNS” has measured it beside the run.'));
  }
}

function addSearch() {
  const section = byId('search');
  if (REPORT.searches.length === 0) {
    section.append(missing('No search is given. Its curve stands here with “qx report --search RECIPE.search.json”.'));
    return;
  }
  const rows = [];
  for (const search of REPORT.searches) {
    for (const m of search.measured) {
      rows.push([m.kind === 'recipe' ? `${m.name}, ${m.codes}` : m.name, search.recipe, m.chosen ? 'chosen' : m.kind,
        (m.bytes / 1e6).toFixed(2), significant(m.bits, 4), significant(m.predicted),
        m.kl_stderr === null ? significant(m.kl) : `${significant(m.kl)} ± ${significant(m.kl_stderr, 2)}`,
        percent(m.top1, 2), significant(m.ppl, 5)]);
    }
    for (const p of search.curve) {
      rows.push(['least predicted divergence', search.recipe, 'curve', (p.bytes / 1e6).toFixed(2), '–',
        significant(p.predicted), '–', '–', '–']);
    }
  }
  section.append(figure('chart-search', 400,
    'Size against KL divergence: predicted curves, measured plans and plain recipes; the table below has the numbers.',
    'The least predicted divergence from the base at each size, and what was measured on the text that candidates ' +
    'were chosen by. A final figure belongs on another text (“qx divergence”). Lower and further left is better.',
    searchChart, table('Plans of the searches; KL in nats a token, ± one standard error', ['Plan', 'Search', 'Kind',
      'MB', 'Bits a weight', 'Predicted KL', 'Measured KL', 'Same top token, %', 'Perplexity'], rows, (c) => c > 2)));
}

// The flips that the controls choose, and how many of them are on the page.
const flipView = { shown: 0, chosen: [] };
const FLIPS_AT_ONCE = 8;

function signed(x, digits = 3) {
  if (x === null) return '–';
  return x > 0 ? `+${significant(x, digits)}` : significant(x, digits).replace('-', '−');
}

function value(x) {
  return x === '-inf' ? '−∞' : significant(x, 4).replace('-', '−');
}

// The one choice of a cloze question is taken (0) or not (1); see answer_log.h.
function pickName(pick, choices) {
  return choices === 1 && pick === 1 ? 'another text' : `choice ${pick + 1}`;
}

function flipArticle({ list, flip }) {
  const item = REPORT.flips.items[flip.item];
  const count = flip.values_from.length;
  const unit = METRIC_UNITS[list.metric] || '';
  const rows = flip.values_from.map((from, c) => {
    const marks = [];
    if (c === flip.gold) marks.push('gold');
    if (c === flip.from) marks.push(`pick of ${BASE}`);
    if (c === flip.to) marks.push(`pick of ${list.variant}`);
    const text = item.choices[c] === undefined ? `choice ${c + 1}` : item.choices[c];
    return h('tr', c === flip.gold ? { class: 'gold' } : {},
      h('th', { scope: 'row' }, h('pre', {}, text), marks.map((mark) => h('span', { class: 'mark' }, mark))),
      h('td', { class: 'n' }, value(from)), h('td', { class: 'n' }, value(flip.values_to[c])));
  });
  rows.push(h('tr', { class: 'all' }, h('th', { scope: 'row' }, 'margin of the gold answer'),
    h('td', { class: 'n' }, signed(flip.margin_from)), h('td', { class: 'n' }, signed(flip.margin_to))));
  const remarks = [];
  if (!item.as_sent && item.choices.length > 0) remarks.push('The question alone, without template and examples.');
  if (item.choices.length === 0) remarks.push('The question is not at hand.');
  if (item.cut > 0) remarks.push(`${item.cut} bytes of long texts are left out.`);
  return h('article', {},
    h('h4', {}, `${list.task} ${item.index}: ${KINDS[flip.kind]}`),
    h('p', { class: 'quiet' }, `${BASE} picks ${pickName(flip.from, count)}, ${list.variant} picks ` +
      `${pickName(flip.to, count)}. ${remarks.join(' ')}`),
    item.prompt === '' ? null : h('pre', { tabindex: '0', 'aria-label': 'prompt' }, item.prompt),
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'choices' },
      h('table', {}, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, `choice (${list.metric}, ${unit})`),
        h('th', { scope: 'col', class: 'n' }, BASE), h('th', { scope: 'col', class: 'n' }, list.variant))),
      h('tbody', {}, rows))));
}

function showMoreFlips(focus) {
  const next = flipView.chosen.slice(flipView.shown, flipView.shown + FLIPS_AT_ONCE);
  const articles = next.map(flipArticle);
  byId('flip-list').append(...articles);
  flipView.shown += next.length;
  const rest = flipView.chosen.length - flipView.shown;
  byId('more').hidden = rest === 0;
  byId('more').textContent = `Show ${Math.min(rest, FLIPS_AT_ONCE)} more`;
  byId('flip-count').textContent = flipView.chosen.length === 0 ? 'No flip of this kind is kept on the page.'
    : `${flipView.shown} of ${flipView.chosen.length} that are kept on the page`;
  if (focus && articles.length > 0) {
    articles[0].tabIndex = -1;
    articles[0].focus();
  }
}

function chooseFlips() {
  const wanted = (id, x) => byId(id).value === '' || byId(id).value === x;
  flipView.chosen = REPORT.flips.lists
    .filter((list) => wanted('flip-variant', list.variant) && wanted('flip-task', list.task))
    .flatMap((list) => list.flips.map((flip) => ({ list, flip })))
    .filter(({ flip }) => wanted('flip-kind', flip.kind));
  flipView.shown = 0;
  byId('flip-list').replaceChildren();
  showMoreFlips(false);
}

function flipChooser(id, label, options) {
  const select = h('select', { id }, options.map(([text, x]) => h('option', { value: x }, text)));
  select.addEventListener('change', chooseFlips);
  return h('label', { for: id }, label, select);
}

function addFlips() {
  const section = byId('flips');
  const lists = REPORT.flips.lists;
  paragraphs('flips', `Items that a variant answers otherwise than ${BASE}. Two runs of equal accuracy may still ` +
    'disagree on many items. Choices show what the metric compares; the margin of the gold answer is its value less ' +
    'that of the best other choice, so it is above 0 where the answer is right.');
  addNotes(section, REPORT.flips.notes);
  section.append(table('Flips of every variant and task', ['Variant', 'Task', 'Items', 'Right to wrong',
    'Wrong to right', 'Another wrong pick', 'On this page', 'Left out'], lists.map((list) => [list.variant, list.task,
    String(list.items), ...list.counts.map(String), String(list.flips.length), String(list.left_out)]), (c) => c > 1));
  const left = lists.reduce((sum, list) => sum + list.left_out, 0);
  if (left > 0) {
    section.append(h('p', {}, `${left} flips are left out to keep the page small; those that move the margin most are ` +
      'kept. “qx report --flips N” keeps more, “qx show --flipped-from” shows any.'));
  }
  const names = (key) => [...new Set(lists.map((list) => list[key]))].map((x) => [x, x]);
  section.append(
    h('div', { class: 'controls', role: 'group', 'aria-label': 'Choose flips' },
      flipChooser('flip-variant', 'Variant', [['all variants', ''], ...names('variant')]),
      flipChooser('flip-task', 'Task', [['all tasks', ''], ...names('task')]),
      flipChooser('flip-kind', 'Kind', [['all kinds', ''], ...Object.entries(KINDS).map(([x, text]) => [text, x])])),
    h('p', { id: 'flip-count', class: 'quiet', role: 'status' }), h('div', { id: 'flip-list' }),
    h('button', { id: 'more', type: 'button' }));
  byId('more').addEventListener('click', () => showMoreFlips(true));
  chooseFlips();
}

function addConditions() {
  const section = byId('conditions');
  const same = REPORT.conditions.filter((c) => c.values.every((x) => x === c.values[0]));
  const other = REPORT.conditions.filter((c) => !same.includes(c));
  const text = (x) => (x === '' ? '–' : h('code', {}, x));
  const names = REPORT.runs.map((run) => run.name);
  section.append(h('p', {}, 'What run.json of each run says.'));
  section.append(table('What differs between the runs', ['', ...names],
    other.map((c) => [c.key, ...c.values.map(text)])));
  section.append(h('details', {}, h('summary', {}, 'What is the same in all runs'),
    table('What is the same in all runs', ['', 'All runs'], same.map((c) => [c.key, text(c.values[0])]))));
}

function addContents() {
  for (const heading of document.querySelectorAll('main > section > h2')) {
    byId('contents').append(h('li', {}, h('a', { href: `#${heading.parentElement.id}` }, heading.textContent)));
  }
}

function drawCharts() {
  Chart.defaults.animation = false;
  Chart.defaults.maintainAspectRatio = false;
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.color = css('--ink');
  for (const chart of charts) {
    if (chart.drawn) chart.drawn.destroy();
    chart.drawn = new Chart(byId(chart.id), chart.make());
  }
}

let theme = '';

function setTheme(name) {
  theme = name;
  document.documentElement.dataset.theme = name;
  const dark = name === 'dark';
  byId('theme').textContent = dark ? 'Light' : 'Dark';
  byId('theme').setAttribute('aria-pressed', String(dark));
  byId('theme').setAttribute('aria-label', dark ? 'Use light colours' : 'Use dark colours');
  drawCharts();
}

// Paper is white: prints in light colours and with every table open, and goes back afterwards.
function preparePrint() {
  let opened = [];
  let screenTheme = '';
  window.addEventListener('beforeprint', () => {
    opened = [...document.querySelectorAll('details:not([open])')];
    for (const details of opened) details.open = true;
    screenTheme = theme;
    if (theme === 'dark') setTheme('light');
  });
  window.addEventListener('afterprint', () => {
    for (const details of opened) details.open = false;
    if (theme !== screenTheme) setTheme(screenTheme);
  });
}

function start() {
  byId('made').textContent = `Made by ${REPORT.program}. ${REPORT.runs.length} runs, compared with ${BASE}.`;
  addContents();
  addSummary();
  addScores();
  addDifferences();
  addTradeoffs();
  addBits();
  addErrors();
  addDistance();
  addSearch();
  addFlips();
  addConditions();
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  setTheme(system.matches ? 'dark' : 'light');
  system.addEventListener('change', () => setTheme(system.matches ? 'dark' : 'light'));
  byId('theme').addEventListener('click', () => setTheme(theme === 'dark' ? 'light' : 'dark'));
  preparePrint();
  document.documentElement.dataset.ready = 'true';
}

start();
