#!/usr/bin/env python3
"""Opens report pages in a headless Chromium without a network, as a reader would. Skipped where there is none.

usage: test_report.py [-v]    (make test-browser)

$QX_BROWSER_OUT: a folder that keeps the pages and screenshots (default: none is kept).
"""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import make_runs
import screenshots
import webdriver
from checks import WIDE, contrast, structure_faults, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
QX = ROOT / "build" / "qx"
CHARTS = ["chart-forest", "chart-size", "chart-speed", "chart-kl", "chart-search"]
MEGABYTE = 1_000_000

# How many pixels of a chart differ from its first one.
INK = """
const canvas = document.getElementById(arguments[0]);
const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
let ink = 0;
for (let p = 4; p < pixels.length; p += 4) {
  if ([0, 1, 2, 3].some((k) => pixels[p + k] !== pixels[k])) ++ink;
}
return ink;
"""


@unittest.skipUnless(webdriver.find_browser(), "no Chromium with its driver (tools/install_deps.sh browser)")
class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keep = os.environ.get("QX_BROWSER_OUT")
        cls.root = pathlib.Path(cls.keep or tempfile.mkdtemp(prefix="qx-browser-test-")).resolve()
        shutil.rmtree(cls.root / "made", ignore_errors=True)
        make_runs.make_runs(cls.root / "made", items=20000, variants=5, seed=1, facts=True)
        cls.page = cls.root / "report.html"
        subprocess.run([QX, "report", cls.root / "made" / "runs", "-o", cls.page, "--force", "--search",
                        cls.root / "made" / "best.search.json"], check=True, stdout=subprocess.DEVNULL)
        cls.browser = webdriver.Browser(*webdriver.find_browser())

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        if not cls.keep:
            shutil.rmtree(cls.root)

    def open(self, width=1280, height=900, scheme="light"):
        self.browser.size(width, height)
        self.browser.prefer(scheme)
        self.browser.requests()
        self.browser.log()
        self.browser.open(self.page.as_uri())
        self.assertEqual(self.browser.run("return document.documentElement.dataset.ready"), "true")

    def test_is_small_and_opens_fast(self):
        size = self.page.stat().st_size
        self.open()
        load, = self.browser.run("const t = performance.getEntriesByType('navigation')[0];"
                                 "return [t.loadEventEnd - t.startTime];")
        print(f"page over 5 variants x 20,000 items: {size / MEGABYTE:.2f} MB, loaded in {load:.0f} ms")
        self.assertLess(size, 10 * MEGABYTE)

    def test_asks_for_nothing_and_logs_nothing(self):
        self.open()
        asked = [url for url in self.browser.requests() if not url.startswith("data:")]
        self.assertEqual(asked, [self.page.as_uri()])
        self.assertEqual(self.browser.log(), [])
        self.assertEqual(self.browser.run("return document.title"), "Variants of base compared")

    def test_the_policy_stops_other_scripts(self):
        self.open()
        self.browser.run("""const script = document.createElement('script');
            script.textContent = 'window.broken = true';
            document.body.append(script);
            const image = document.createElement('img');
            image.src = 'https://example.org/x.png';
            document.body.append(image);""")
        self.assertIsNone(self.browser.run("return window.broken === undefined ? null : window.broken"))
        stopped = wait_for(lambda: [e for e in self.browser.log() if "Content Security Policy" in e["message"]], bool)
        self.assertTrue(stopped)

    def test_every_chart_draws_and_has_a_table(self):
        for scheme in ("light", "dark"):
            self.open(scheme=scheme)
            for chart in CHARTS:
                self.assertGreater(self.browser.run(INK, chart), 300, f"{chart} in {scheme}")
        self.assertEqual(self.browser.run("return [...document.querySelectorAll('canvas')].map((c) => c.id)"), CHARTS)
        counts = self.browser.run("""return [...document.querySelectorAll('figure')].map((f) => [
            f.querySelector('canvas').getAttribute('aria-label').length,
            f.querySelectorAll('details tbody tr').length])""")
        for label, rows in counts:
            self.assertGreater(label, 20)
            self.assertGreaterEqual(rows, 4)

    def test_sections_say_what_the_runs_hold(self):
        self.open()
        text = self.browser.run("return document.querySelector('main').textContent")
        for part in ("Wilson", "indistinguishable", "run.json", "/models/q8", "Left out", "Pareto", "least predicted divergence"):
            self.assertIn(part, text)
        rows = self.browser.run("""return [...document.querySelectorAll('#flips table')][0].querySelectorAll('tbody tr')
            .length""")
        self.assertEqual(rows, 16)
        left_out = self.browser.run("""return [...document.querySelectorAll('#flips table')][0]
            .querySelectorAll('tbody tr').values().map((row) => [...row.cells].slice(3).map((c) => Number(c.textContent)))
            .toArray()""")
        for lost, won, other, kept, left in left_out:
            self.assertEqual(lost + won + other, kept + left)
        self.assertGreater(sum(row[4] for row in left_out), 0)

    def test_text_of_items_stays_text(self):
        self.open()
        # Every flip of the page, one after the other.
        self.browser.run("while (!document.getElementById('more').hidden) document.getElementById('more').click();")
        self.assertEqual(self.browser.run("return document.querySelectorAll('#flip-list img, #flip-list script, "
                                          "#flip-list b').length"), 0)
        shown = self.browser.run("return document.getElementById('flip-list').textContent")
        for text in make_runs.HOSTILE:
            self.assertIn(text, shown)
        self.assertNotIn("undefined", shown)
        self.assertNotIn("NaN", shown)
        self.assertEqual(self.browser.run("return document.title"), "Variants of base compared")
        self.assertEqual(self.browser.log(), [])

    def test_choosing_flips(self):
        self.open()
        self.browser.run("""for (const [id, value] of [['flip-variant', 'q8'], ['flip-kind', 'wrong_to_right'],
            ['flip-task', 'boolq']]) {
          document.getElementById(id).value = value;
          document.getElementById(id).dispatchEvent(new Event('change'));
        }""")
        heads = self.browser.run("return [...document.querySelectorAll('#flip-list h4')].map((e) => e.textContent)")
        self.assertGreater(len(heads), 0)
        for head in heads:
            self.assertRegex(head, r"^boolq \d+: wrong to right$")
        marks = self.browser.run("return [...document.querySelectorAll('#flip-list article')].map((a) => "
                                 "[...a.querySelectorAll('.mark')].map((m) => m.textContent))")
        for mark in marks:
            self.assertEqual(sorted(mark), ["gold", "pick of base", "pick of q8"])

    def test_a_phone_scrolls_down_only(self):
        self.open(width=375, height=812)
        self.browser.run("for (const d of document.querySelectorAll('details')) d.open = true;")
        self.assertEqual(self.browser.run("return document.documentElement.scrollWidth"), 375)
        self.assertEqual(self.browser.run(WIDE), [])
        for chart in CHARTS:
            self.assertGreater(self.browser.run(INK, chart), 300, chart)

    def test_colours_follow_the_system_and_the_button(self):
        def ground():
            return self.browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        self.open(scheme="dark")
        dark = ground()
        self.browser.prefer("light")
        # The page hears of it when the browser comes to it.
        light = wait_for(ground, lambda colour: colour != dark)
        self.assertGreater(contrast(dark, light), 12)
        self.browser.run("document.getElementById('theme').click()")
        self.assertEqual(wait_for(ground, lambda colour: colour == dark), dark)
        self.assertEqual(self.browser.run("return document.getElementById('theme').getAttribute('aria-pressed')"), "true")

    def test_text_and_series_have_contrast(self):
        colours = """const probe = document.createElement('span');
            document.body.append(probe);
            const value = (name) => { probe.style.color = `var(${name})`;
              return getComputedStyle(probe).color.match(/\\d+/g).map(Number); };
            return [value('--ground'), value('--raised'), arguments[0].map(value)];"""
        for scheme in ("light", "dark"):
            self.open(scheme=scheme)
            for names, least in ((["--ink", "--quiet", "--link", "--better", "--worse", "--equal"], 4.5),
                                 ([f"--s{i}" for i in range(8)], 3)):
                ground, raised, values = self.browser.run(colours, names)
                for name, value in zip(names, values):
                    self.assertGreaterEqual(contrast(ground, value), least, f"{name} in {scheme}")
                    self.assertGreaterEqual(contrast(raised, value), least, f"{name} on raised in {scheme}")

    def test_the_keyboard_reaches_everything(self):
        self.open()
        self.browser.press("Tab")
        self.assertEqual(self.browser.run("return document.activeElement.className"), "skip")
        seen = set()
        for _ in range(150):
            self.browser.press("Tab")
            seen.add(self.browser.run("const e = document.activeElement; return e.id || e.className || e.tagName"))
        for target in ("theme", "A", "scroll", "SUMMARY", "flip-variant", "flip-task", "flip-kind", "more"):
            self.assertIn(target, seen)

    def test_names_and_structure_for_assistive_technology(self):
        self.open()
        faults = self.browser.run("""const faults = [];
            for (const e of document.querySelectorAll('button, select, canvas, [role=region]')) {
              const label = e.getAttribute('aria-label') || e.textContent ||
                (e.id && document.querySelector(`label[for="${e.id}"]`)) || e.labels;
              if (!label) faults.push(e.outerHTML.slice(0, 80));
            }""" + structure_faults(captionless="article", most_levels=2) + """
            return faults;""")
        self.assertEqual(faults, [])

    def test_prints_in_light_with_its_tables_open(self):
        self.open(scheme="dark")
        self.browser.run("""window.seen = [];
            window.addEventListener('beforeprint', () => window.seen.push(document.documentElement.dataset.theme,
              document.querySelectorAll('details:not([open])').length));""")
        size = self.browser.print_pdf(self.root / "print.pdf")
        self.assertGreater(size, 20000)
        self.assertEqual(self.browser.run("return window.seen"), ["light", 0])
        self.assertEqual(self.browser.run("return document.documentElement.dataset.theme"), "dark")
        self.assertGreater(self.browser.run("return document.querySelectorAll('details:not([open])').length"), 0)

    def test_screenshots(self):
        screenshots.take(self.page, self.root / "screenshots")
        for name in ("light", "dark", "phone"):
            self.assertGreater((self.root / "screenshots" / f"{name}.png").stat().st_size, 50000)


if __name__ == "__main__":
    if not QX.exists() and webdriver.find_browser():
        raise SystemExit(f"test_report.py: {QX} is missing: make build")
    unittest.main()
