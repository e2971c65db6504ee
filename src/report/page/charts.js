// The charts of a report page, drawn by Chart.js. Each has a table of the same numbers beside it (page.js); colours
// come from the style sheet, and shapes and labels say the same as colours.
// SPDX-License-Identifier: Apache-2.0
'use strict';

const REPORT = JSON.parse(document.getElementById('data').textContent);
// Shapes that can be filled or hollow; [style, rotation in degrees].
const SHAPES = [['circle', 0], ['rect', 0], ['triangle', 0], ['rectRot', 0], ['triangle', 180], ['rectRounded', 0],
  ['triangle', 90], ['triangle', 270]];
const LINES = [[], [6, 3], [2, 3], [8, 3, 2, 3], [12, 4]];

// Of each run; the baseline is drawn in the colour of the text.
function colourOf(run) {
  const variants = REPORT.runs.map((_, r) => r).filter((r) => r !== REPORT.baseline);
  return run === REPORT.baseline ? css('--ink') : css('--s' + variants.indexOf(run) % 8);
}

function shapeOf(run) {
  const [pointStyle, rotation] = SHAPES[run % SHAPES.length];
  return { pointStyle, rotation };
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function runNumber(name) {
  return REPORT.runs.findIndex((run) => run.name === name);
}

function percent(x, digits = 1) {
  return x === null ? '–' : (100 * x).toFixed(digits);
}

// In points of accuracy, with a sign.
function points(x, digits = 1) {
  if (x === null) return '–';
  const text = Math.abs(100 * x).toFixed(digits);
  if (Number(text) === 0) return text;
  return (x < 0 ? '−' : '+') + text;
}

function significant(x, digits = 3) {
  if (x === null || x === undefined) return '–';
  if (x === 0) return '0';
  const size = Math.abs(x);
  return size >= 1e-4 && size < 1e6 ? String(Number(x.toPrecision(digits))) : x.toExponential(digits - 1);
}

function scale(title, extra = {}) {
  const ticks = Object.assign({ color: css('--quiet') }, extra.ticks);
  return Object.assign({}, extra, {
    title: { display: title !== '', text: title, color: css('--quiet') },
    grid: Object.assign({ color: css('--grid') }, extra.grid),
    ticks,
  });
}

// With the filled shape of each dataset, turned as its points are.
function legend() {
  const generateLabels = (chart) => Chart.defaults.plugins.legend.labels.generateLabels(chart).map((label) => {
    const set = chart.data.datasets[label.datasetIndex];
    return { ...label, rotation: set.rotation || 0, lineDash: [], fillStyle: set.borderColor };
  });
  return {
    position: 'top',
    align: 'start',
    labels: { color: css('--ink'), usePointStyle: true, boxHeight: 8, generateLabels },
  };
}

// Ticks of a logarithmic axis: 1, 2 and 5 of each decade, so that they never run into each other.
function decadeTick(value) {
  const lead = Number(value.toExponential(0)[0]);
  return [1, 2, 5].includes(lead) ? significant(value, 1) : '';
}

// Draws the 95 % interval and the point of each difference over the (thin, floating) bar of its dataset, the line of
// no difference, and the band of the margin of equivalence.
const forestMarks = {
  id: 'forestMarks',
  beforeDatasetsDraw(chart) {
    const { ctx, chartArea: area, scales: { x } } = chart;
    ctx.save();
    if (REPORT.margin > 0) {
      const left = Math.max(area.left, x.getPixelForValue(-100 * REPORT.margin));
      const right = Math.min(area.right, x.getPixelForValue(100 * REPORT.margin));
      ctx.fillStyle = css('--band');
      ctx.fillRect(left, area.top, right - left, area.height);
    }
    ctx.strokeStyle = css('--quiet');
    ctx.beginPath();
    ctx.moveTo(x.getPixelForValue(0), area.top);
    ctx.lineTo(x.getPixelForValue(0), area.bottom);
    ctx.stroke();
    ctx.restore();
  },
  afterDatasetsDraw(chart) {
    const { ctx, scales: { x } } = chart;
    ctx.save();
    chart.data.datasets.forEach((set, s) => {
      if (!chart.isDatasetVisible(s)) return;
      chart.getDatasetMeta(s).data.forEach((bar, i) => {
        const entry = set.entries[i];
        if (!entry || entry.diff === null || entry.ci[0] === null) return;
        ctx.strokeStyle = set.borderColor;
        ctx.lineWidth = 2;
        for (const end of entry.ci) {
          const at = x.getPixelForValue(100 * end);
          ctx.beginPath();
          ctx.moveTo(at, bar.y - 4);
          ctx.lineTo(at, bar.y + 4);
          ctx.stroke();
        }
        const shown = entry.verdict === 'better' || entry.verdict === 'worse';
        ctx.fillStyle = shown ? set.borderColor : css('--ground');
        const options = { pointStyle: set.pointStyle, radius: 5, rotation: set.rotation, borderWidth: 2 };
        Chart.helpers.drawPoint(ctx, options, x.getPixelForValue(100 * entry.diff), bar.y);
      });
    });
    ctx.restore();
  },
};

function forestRows(pair) {
  const rows = pair.tasks.slice();
  if (pair.average) rows.push(pair.average);
  return rows;
}

function forestLabels() {
  const labels = REPORT.tasks.map((task) => (task.informative ? task.task : `${task.task} ⚠`));
  if (REPORT.pairs.some((pair) => pair.average)) labels.push('average');
  return labels;
}

function forestHeight() {
  return 90 + forestLabels().length * Math.max(30, 12 + 16 * REPORT.pairs.length);
}

function forestChart() {
  const datasets = REPORT.pairs.map((pair) => ({
    label: REPORT.runs[pair.variant].name,
    entries: forestRows(pair),
    data: forestRows(pair).map((d) => (d.ci[0] === null ? null : d.ci.map((end) => 100 * end))),
    backgroundColor: colourOf(pair.variant),
    borderColor: colourOf(pair.variant),
    ...shapeOf(pair.variant),
    categoryPercentage: 0.8,
    barPercentage: 0.5,
    maxBarThickness: 2,
  }));
  const about = (d) => `${points(d.diff)} points (${points(d.ci[0])} to ${points(d.ci[1])}), ${d.verdict}`;
  return {
    type: 'bar',
    data: { labels: forestLabels(), datasets },
    plugins: [forestMarks],
    options: {
      indexAxis: 'y',
      scales: {
        x: scale(`points of accuracy, variant less ${REPORT.runs[REPORT.baseline].name}`),
        y: scale('', { ticks: { color: css('--ink'), autoSkip: false }, grid: { display: false } }),
      },
      plugins: {
        legend: legend(),
        tooltip: { callbacks: { label: (c) => `${c.dataset.label}: ${about(c.dataset.entries[c.dataIndex])}` } },
      },
    },
  };
}

// Error bars of the averages, and names beside the points where there is room.
const namedPoints = {
  id: 'namedPoints',
  afterDatasetsDraw(chart) {
    const { ctx, chartArea: area, scales: { y } } = chart;
    const taken = [];
    const hits = (a) => taken.some((b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]);
    const marks = [];
    ctx.save();
    chart.data.datasets.forEach((set, s) => {
      if (!set.point || !chart.isDatasetVisible(s)) return;
      const { x: px, y: py } = chart.getDatasetMeta(s).data[0];
      ctx.strokeStyle = set.borderColor;
      ctx.lineWidth = 1.5;
      if (set.point.stderr !== null) {
        const ends = [-1.96, 1.96].map((z) => y.getPixelForValue(100 * (set.point.average + z * set.point.stderr)));
        ctx.beginPath();
        ctx.moveTo(px, ends[0]);
        ctx.lineTo(px, ends[1]);
        ctx.stroke();
        taken.push([px - 1, ends[1], px + 1, ends[0]]);
      }
      taken.push([px - 7, py - 7, px + 7, py + 7]);
      marks.push([set.label, px, py]);
    });
    // The steps of the front are in the way of names too.
    const steps = chart.data.datasets.findIndex((set) => !set.point);
    const front = steps >= 0 && chart.isDatasetVisible(steps) ? chart.getDatasetMeta(steps).data : [];
    for (let i = 1; i < front.length; ++i) {
      const corner = chart.data.datasets[steps].stepped === 'before' ? [front[i].x, front[i - 1].y]
        : [front[i - 1].x, front[i].y];
      for (const end of [front[i - 1], front[i]]) {
        taken.push([Math.min(end.x, corner[0]) - 1, Math.min(end.y, corner[1]) - 1, Math.max(end.x, corner[0]) + 1,
          Math.max(end.y, corner[1]) + 1]);
      }
    }
    ctx.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    ctx.fillStyle = css('--ink');
    ctx.textBaseline = 'middle';
    for (const [name, px, py] of marks) {
      const width = ctx.measureText(name).width;
      const right = px + 10;
      const left = px - 10 - width;
      const places = [0, -14, 14].flatMap((dy) => [[right, py + dy], [left, py + dy]]);
      const place = places.find(([tx, ty]) => tx >= area.left && tx + width <= area.right &&
        !hits([tx - 2, ty - 8, tx + width + 2, ty + 8]));
      if (!place) continue;  // the legend and the table name it
      taken.push([place[0] - 2, place[1] - 8, place[0] + width + 2, place[1] + 8]);
      ctx.fillText(name, place[0], place[1]);
    }
    ctx.restore();
  },
};

function tradeoffChart(list, xOf, xTitle, stepped) {
  const front = list.filter((p) => p.front).map((p) => ({ x: xOf(p), y: 100 * p.average }));
  front.sort((a, b) => a.x - b.x);
  const datasets = list.map((p) => ({
    label: REPORT.runs[p.run].name,
    point: p,
    data: [{ x: xOf(p), y: 100 * p.average }],
    backgroundColor: p.front ? colourOf(p.run) : css('--ground'),
    borderColor: colourOf(p.run),
    borderWidth: 2,
    ...shapeOf(p.run),
    radius: 6,
    hoverRadius: 8,
  }));
  datasets.push({
    label: 'Pareto front of the point estimates',
    data: front,
    showLine: true,
    stepped,
    borderColor: css('--quiet'),
    borderDash: [5, 4],
    borderWidth: 1.5,
    radius: 0,
    hitRadius: 0,
    pointStyle: 'line',
  });
  const ends = list.flatMap((p) => [-1.96, 1.96].map((z) => 100 * (p.average + z * (p.stderr || 0))));
  const xs = list.map(xOf);
  const room = 0.12 * (Math.max(...xs) - Math.min(...xs)) || 0.1 * xs[0];
  return {
    type: 'scatter',
    data: { datasets },
    plugins: [namedPoints],
    options: {
      scales: {
        x: scale(xTitle, { suggestedMin: Math.max(0, Math.min(...xs) - room), suggestedMax: Math.max(...xs) + room }),
        y: scale('average accuracy, %', { suggestedMin: Math.min(...ends), suggestedMax: Math.max(...ends) }),
      },
      plugins: {
        legend: legend(),
        tooltip: {
          callbacks: { label: (c) => `${c.dataset.label}: ${significant(c.parsed.x, 4)}, ${c.parsed.y.toFixed(1)} %` },
        },
      },
    },
  };
}

function layerChart() {
  const known = REPORT.errors.filter((e) => e.layers.some((x) => x !== null));
  const layers = Math.max(...known.map((e) => e.layers.length));
  const datasets = known.map((e) => {
    const run = runNumber(e.run);
    return {
      label: e.run,
      data: e.layers.map((x) => (x === null ? null : 100 * x)),
      borderColor: colourOf(run),
      backgroundColor: colourOf(run),
      borderDash: LINES[run % LINES.length],
      borderWidth: 2,
      ...shapeOf(run),
      radius: 3,
    };
  });
  return {
    type: 'line',
    data: { labels: Array.from({ length: layers }, (_, i) => String(i)), datasets },
    options: {
      interaction: { mode: 'index', intersect: false },
      scales: {
        x: scale('layer'),
        y: scale('relative error, %', { type: 'logarithmic', ticks: { callback: decadeTick } }),
      },
      plugins: {
        legend: legend(),
        tooltip: { callbacks: { label: (c) => `${c.dataset.label}: ${significant(c.parsed.y)} %` } },
      },
    },
  };
}

const KL_COLUMNS = [['median', 'kl_median'], ['mean', 'kl_mean'], ['95 %', 'kl_p95'], ['99 %', 'kl_p99'],
  ['largest', 'kl_max']];

function distanceChart() {
  const datasets = REPORT.distance.map((d) => {
    const run = runNumber(d.run);
    return {
      label: d.run,
      data: KL_COLUMNS.map(([, key]) => (d[key] > 0 ? d[key] : null)),
      borderColor: colourOf(run),
      backgroundColor: colourOf(run),
      borderDash: LINES[run % LINES.length],
      borderWidth: 2,
      ...shapeOf(run),
      radius: 5,
    };
  });
  return {
    type: 'line',
    data: { labels: KL_COLUMNS.map(([name]) => name), datasets },
    options: {
      scales: {
        x: scale('over the tokens of the text'),
        y: scale('KL divergence, nats a token', { type: 'logarithmic', ticks: { callback: decadeTick } }),
      },
      plugins: {
        legend: legend(),
        tooltip: { callbacks: { label: (c) => `${c.dataset.label}: ${significant(c.parsed.y)}` } },
      },
    },
  };
}

// Size against divergence of the searches given: the predicted curve of each, the plans measured, and recipes as MLX
// codes them.
function searchChart() {
  const megabytes = (p) => p.bytes / 1e6;
  const datasets = REPORT.searches.map((search, s) => ({
    label: `predicted, ${search.recipe}`,
    data: search.curve.filter((p) => p.predicted > 0).map((p) => ({ x: megabytes(p), y: p.predicted })),
    showLine: true,
    borderColor: css('--s' + s % 8),
    backgroundColor: css('--s' + s % 8),
    borderDash: LINES[s % LINES.length],
    borderWidth: 2,
    radius: 0,
    hitRadius: 3,
    pointStyle: 'line',
  }));
  const measured = REPORT.searches.flatMap((search) => search.measured).filter((m) => m.kl > 0);
  const add = (label, list, colour, filled, shape) => {
    if (list.length === 0) return;
    datasets.push({
      label,
      names: list.map((m) => m.name),
      data: list.map((m) => ({ x: megabytes(m), y: m.kl })),
      borderColor: css(colour),
      backgroundColor: filled ? css(colour) : css('--ground'),
      borderWidth: 2,
      pointStyle: shape,
      radius: 5,
      hoverRadius: 7,
    });
  };
  add('measured, chosen', measured.filter((m) => m.chosen), '--ink', true, 'rectRot');
  add('measured, other plans of the search', measured.filter((m) => m.kind !== 'recipe' && !m.chosen), '--ink', false,
    'circle');
  add('measured, recipes as MLX codes them', measured.filter((m) => m.kind === 'recipe'), '--s1', true, 'rect');
  const about = (c) => {
    const name = c.dataset.names ? c.dataset.names[c.dataIndex] : c.dataset.label;
    return `${name}: ${significant(c.parsed.x, 4)} MB, ${significant(c.parsed.y)}`;
  };
  return {
    type: 'scatter',
    data: { datasets },
    options: {
      scales: {
        x: scale('size of the weights, MB'),
        y: scale('KL divergence, nats a token', { type: 'logarithmic', ticks: { callback: decadeTick } }),
      },
      plugins: { legend: legend(), tooltip: { callbacks: { label: about } } },
    },
  };
}
