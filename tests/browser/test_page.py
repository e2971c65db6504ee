#!/usr/bin/env python3
"""Uses the web page of qx serve in a headless Chromium, against a small server that answers what the tests need.
Skipped where there is no browser.

usage: test_page.py [-v]    (make test-browser)

$QX_BROWSER_OUT: a folder that keeps the screenshots (default: none is kept).
"""
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

import make_model
import mock_server
import webdriver
from checks import WIDE, contrast, structure_faults, wait_for

QX = pathlib.Path(__file__).resolve().parents[2] / "build" / "qx"
RESOURCES = ["", "page.css", "v1/models", *(f"{name}.js" for name in (
    "page", "answer", "api", "dom", "flow", "inspector", "markdown", "settings", "tools"))]
MARKDOWN_CHECK = pathlib.Path(__file__).with_name("markdown_check.js")
COLOURS = ["--ink", "--quiet", "--link", "--problem"]


class PageTest(unittest.TestCase):
    """What the tests of a page do with it."""
    @classmethod
    def setUpClass(cls):
        cls.browser = webdriver.Browser(*webdriver.find_browser(), offline=False)

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()

    def serve(self, **options):
        server = mock_server.MockServer(**options)
        self.addCleanup(server.close)
        return server

    def open(self, url, width=1280, height=900, scheme="light", scale=1, mobile=False):
        self.browser.size(width, height, scale, mobile)
        self.browser.prefer(scheme)
        self.browser.open("about:blank")
        self.browser.requests()
        self.browser.log()
        self.browser.open(url)
        self.wait("return document.documentElement.dataset.ready", "true")

    def js(self, script, *arguments):
        return self.browser.run(script, *arguments)

    def wait(self, script, expected, *arguments):
        self.assertEqual(wait_for(lambda: self.js(script, *arguments), lambda value: value == expected), expected)

    def set(self, **values):
        """Settings by their id, '_' for '-'."""
        self.js("""for (const [id, value] of Object.entries(arguments[0])) {
            const e = document.getElementById(id.replaceAll('_', '-'));
            if (e.type === 'checkbox') e.checked = value; else e.value = value;
            e.dispatchEvent(new Event('change', {bubbles: true}));
        }""", values)

    def send(self, text, finished=True):
        self.js("const m = document.getElementById('message'); m.focus(); m.value = arguments[0];", text)
        self.browser.press("Enter")
        if finished:
            self.wait("return document.documentElement.dataset.running", "false")

    def answers(self):
        """The texts of the last turn's answers."""
        return self.js("return [...document.querySelectorAll('.turn:last-child article > .text')].map((e) => "
                       "e.textContent)")

    def text(self, selector):
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)

    def point_at(self, selector, index=0, click=False):
        x, y = self.js("""const r = document.querySelectorAll(arguments[0])[arguments[1]].getClientRects()[0];
            return [r.left + r.width / 2, r.top + r.height / 2];""", selector, index)
        self.browser.point(x, y, click)


@unittest.skipUnless(webdriver.find_browser(), "no Chromium with its driver (tools/install_deps.sh browser)")
class Page(PageTest):
    def setUp(self):
        self.server = self.serve()

    def test_asks_its_own_server_only_and_logs_nothing(self):
        self.open(self.server.url)
        self.send("hello")
        asked = self.browser.requests()
        self.assertEqual(sorted(set(u for u in asked if u != "data:,")),
                         sorted(self.server.url + name for name in RESOURCES + ["v1/chat/completions"]))
        self.assertEqual(self.browser.log(), [])
        self.assertEqual(self.js("return [localStorage.length, sessionStorage.length, document.cookie]"), [0, 0, ""])

    def test_the_policy_stops_other_scripts(self):
        self.open(self.server.url)
        self.js("""const script = document.createElement('script');
            script.textContent = 'window.broken = true';
            document.body.append(script);
            const image = document.createElement('img');
            image.src = 'https://example.org/x.png';
            document.body.append(image);""")
        self.assertIsNone(self.js("return window.broken === undefined ? null : window.broken"))
        stopped = wait_for(lambda: [e for e in self.browser.log() if "Content Security Policy" in e["message"]], bool)
        self.assertTrue(stopped)

    def test_a_conversation(self):
        self.open(self.server.url)
        self.set(system="Be brief.", temperature="0.5", top_p="0.9", min_p="0.05", top_k="40", seed="7", tokens="99")
        self.send("hello")
        self.assertEqual(self.answers(), ["You said hello."])
        self.send("and")
        self.assertEqual(self.text(".asked p"), ["hello", "and"])
        (path, first), (_, second) = self.server.requests
        self.assertEqual(path, "/v1/chat/completions")
        expected = {"model": "small-q8", "temperature": 0.5, "top_p": 0.9, "min_p": 0.05, "top_k": 40, "seed": 7,
                    "max_tokens": 99, "stream": True, "stream_options": {"include_usage": True}, "logprobs": True,
                    "top_logprobs": 5}
        self.assertEqual(first, expected | {"messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]})
        self.assertEqual(second["messages"][1:], [
            {"role": "user", "content": "hello"}, {"role": "assistant", "content": "You said hello."},
            {"role": "user", "content": "and"}])
        facts = self.text(".facts")[0]
        self.assertRegex(facts, r"^2 tokens · ([\d.]+ tokens/s · )?first after [\d.]+ s · prompt 12 · "
                                r"mean log-probability −0\.200$")
        self.assertIn("prompt 12 (9 cached)", self.text(".turn:last-child .facts")[0])
        self.assertIn("seed 7", self.text(".turn:last-child > .tools p"))
        self.assertIn("small-q8: 2 tokens", self.text("#status")[0])

    def test_asking_again_replaces_the_last_turn(self):
        self.open(self.server.url)
        self.send("one")
        self.send("two")
        self.assertEqual(self.js("return document.querySelectorAll('.again').length"), 1)
        self.js("document.querySelector('.again').click()")
        self.wait("return document.documentElement.dataset.running", "false")
        self.assertEqual(self.text(".asked p"), ["one", "two"])
        second, third = [request for _, request in self.server.requests[1:]]
        self.assertEqual(second["messages"], third["messages"])
        self.assertNotEqual(second["seed"], third["seed"])
        self.js("document.getElementById('clear').click()")
        self.assertEqual(self.text(".turn"), [])
        self.send("three")
        self.assertEqual(len(self.server.requests[-1][1]["messages"]), 1)

    def test_plain_text_goes_without_template_and_history(self):
        self.open(self.server.url)
        self.send("hello")
        self.set(mode="text", system="ignored")
        self.send("bytes")
        path, request = self.server.requests[-1]
        self.assertEqual((path, request["prompt"], request["logprobs"]), ("/v1/completions", "bytes", 5))
        self.assertNotIn("messages", request)
        self.assertEqual(self.answers(), ["Größe 🙂 漢字!"])
        self.assertEqual(self.text(".turn:last-child article .token"), list("Größe 🙂 漢字!"))
        self.set(mode="chat")
        self.send("more")
        self.assertEqual([m["content"] for m in self.server.requests[-1][1]["messages"]],
                         ["ignored", "hello", "You said hello.", "more"])

    def test_a_model_without_a_template_is_not_offered_for_chats(self):
        self.server.models = ["small-q8", "base"]
        self.open(self.server.url)
        mode = "const m = document.getElementById('mode'); return [m.value, m.options[0].disabled]"
        self.assertEqual(self.js(mode), ["chat", False])
        self.set(other="base")
        self.assertEqual(self.js(mode), ["text", True])
        self.send("same")
        self.assertEqual([path for path, _ in self.server.requests], ["/v1/completions"] * 2)
        self.set(other="")
        self.assertEqual(self.js(mode), ["text", False])

    def test_answers_without_probabilities_are_shown_all_the_same(self):
        self.open(self.server.url)
        self.set(other="small-q4")
        self.send("bare")
        self.assertEqual(self.answers(), ["No figures."] * 2)
        self.assertEqual(self.text(".difference"), ["No tokens to compare."])
        self.assertEqual(self.text("article .tools details"), [])
        self.point_at("article .token", 1)
        self.assertTrue(self.js("return document.getElementById('inspector').hidden"))

    def test_side_by_side_marks_the_first_difference(self):
        self.open(self.server.url)
        self.set(other="small-q4")
        self.send("cat")
        self.assertEqual(self.answers(), ["The cat sat on the mat.", "The cat sat at home."])
        (_, a), (_, b) = sorted(self.server.requests, key=lambda r: r[1]["model"], reverse=True)
        self.assertEqual([a.pop("model"), b.pop("model")], ["small-q8", "small-q4"])
        self.assertEqual(a, b)
        self.assertEqual(self.text(".parts"), [" on", " at"])
        note, = self.text(".difference")
        self.assertRegex(note, r"^First difference at token 4: “␣on” \(small-q8, [\d.]+ %\) against “␣at” "
                               r"\(small-q4, [\d.]+ %\)\.$")
        self.assertIn("First difference at token 4", self.text("#status")[0])
        self.send("same")
        self.assertIn("Both answers are the same, all 4 tokens. The turns before it differ already.",
                      self.text(".difference"))
        self.assertEqual(self.text(".turn:last-child .parts"), [])
        said = {r["model"]: r["messages"][1]["content"] for _, r in self.server.requests[2:]}
        self.assertEqual(said, {"small-q8": "The cat sat on the mat.", "small-q4": "The cat sat at home."})

    def test_an_answer_that_ends_earlier_differs(self):
        self.open(self.server.url)
        self.set(other="small-q4", in_turn=True)
        self.send("longer")
        self.assertEqual(self.text(".parts"), [" three"])
        self.assertRegex(self.text(".difference")[0],
                         r"^First difference at token 3: the end \(small-q8\) against “␣three”")

    def test_pointing_at_a_token_shows_probabilities_of_both(self):
        self.open(self.server.url)
        self.set(other="small-q4")
        self.send("cat")
        shown = "return !document.getElementById('inspector').hidden"
        self.point_at("article:first-child .token", 1)
        self.wait(shown, True)
        caption, = self.text("#inspector caption")
        self.assertEqual(caption, "Token 2 of 7")
        rows = self.js("return [...document.querySelectorAll('#inspector tr')].map((r) => "
                       "[...r.cells].map((c) => c.textContent))")
        # exp(-0.35) and exp(-0.45): the mock's numbers.
        self.assertEqual(rows, [["Token", "Probability", "Log", "small-q4"], ["▸ ␣cat", "70.5 %", "−0.350", "▸ 63.8 %"],
                                ["other", "2 %", "−3.912", "2 %"], ["␣<b>", "1 %", "−4.605", "1 %"]])
        self.browser.press("Escape")
        self.assertFalse(self.js(shown))
        # The place where they part is comparable still; what comes after it is not.
        self.point_at("article:first-child .token", 3)
        self.wait(shown, True)
        self.assertIn("▸ ␣on", self.text("#inspector th.name"))
        self.assertIn("␣at", self.text("#inspector th.name"))
        self.point_at("article:first-child .token", 4)
        self.wait("return document.querySelector('#inspector caption').textContent", "Token 5 of 7")
        self.assertEqual(self.text("#inspector thead th"), ["Token", "Probability", "Log"])
        inside = self.js("""const r = document.getElementById('inspector').getBoundingClientRect();
            return r.left >= 0 && r.top >= 0 && r.right <= innerWidth && r.bottom <= innerHeight;""")
        self.assertTrue(inside)
        self.browser.point(5, 5)
        self.wait(shown, False)

    def test_the_keyboard_walks_over_tokens(self):
        self.open(self.server.url)
        self.send("cat")
        self.js("document.querySelector('article .text').focus()")
        self.browser.press("ArrowRight")
        self.browser.press("ArrowRight")
        self.assertEqual(self.text(".token.current"), [" cat"])
        self.assertEqual(self.text("#token-words")[0], "Token 2, “ cat”, 70.5 %; also “other” 2 %, “ <b>” 1 %.")
        self.browser.press("End")
        self.assertEqual(self.text(".token.current"), ["."])
        self.browser.press("ArrowRight")
        self.browser.press("ArrowLeft")
        self.assertEqual(self.text(".token.current"), [" mat"])
        self.browser.press("Home")
        self.assertEqual(self.text(".token.current"), ["The"])
        self.browser.press("Escape")
        self.assertEqual(self.text(".token.current"), [])
        self.js("document.querySelector('article summary').click()")
        self.wait("return document.querySelectorAll('article tbody tr').length", 7)

    def test_enter_sends_and_shift_enter_does_not(self):
        self.open(self.server.url)
        self.js("document.getElementById('message').focus()")
        self.browser.press("Enter")
        self.assertEqual(self.server.requests, [])
        self.browser.type("one")
        self.browser.press("Enter", shift=True)
        self.browser.type("two")
        self.browser.press("Enter")
        self.wait("return document.querySelectorAll('.turn').length", 1)
        self.wait("return document.documentElement.dataset.running", "false")
        self.assertEqual(self.server.requests[0][1]["messages"][0]["content"], "one\ntwo")
        self.assertEqual(self.js("const m = document.activeElement; return [m.id, m.value]"), ["message", ""])

    def test_escape_stops_and_keeps_what_came(self):
        self.server.hold.set()
        self.open(self.server.url)
        self.send("long", finished=False)
        self.wait("return document.querySelector('article .text')?.textContent", " word0 word1 word2 word3")
        self.assertEqual(self.js("return document.querySelector('article').getAttribute('aria-busy')"), "true")
        self.send("not now", finished=False)
        self.assertEqual(len(self.server.requests), 1)
        self.browser.press("Escape")
        self.wait("return document.documentElement.dataset.running", "false")
        self.assertTrue(self.server.gone.wait(120), "the server was not told")
        self.assertIn("stopped · 4 tokens", self.text(".facts")[0])
        self.assertEqual(self.js("return document.querySelector('article').getAttribute('aria-busy')"), "false")
        self.assertEqual(self.js("return document.getElementById('message').value"), "not now")
        self.send("hello")
        self.assertEqual(self.server.requests[-1][1]["messages"][1]["content"], " word0 word1 word2 word3")

    def test_the_stop_button_stops_both(self):
        self.server.hold.set()
        self.open(self.server.url)
        self.set(other="small-q4", in_turn=True)
        self.send("long", finished=False)
        self.wait("return document.querySelector('article .text')?.textContent", " word0 word1 word2 word3")
        self.js("document.getElementById('stop').focus(); document.getElementById('stop').click()")
        self.wait("return document.documentElement.dataset.running", "false")
        self.assertEqual(len(self.server.requests), 1)
        self.assertEqual([facts.split(" · ")[0] for facts in self.text(".facts")], ["stopped", "stopped"])
        self.assertEqual(self.js("return document.activeElement.id"), "message")

    def test_a_long_answer_keeps_its_end_in_view_unless_one_scrolls_up(self):
        self.open(self.server.url)
        bottom = "const l = document.getElementById('log'); return l.scrollHeight - l.scrollTop - l.clientHeight < 2"
        for _ in range(2):
            self.send("long")
        self.wait(bottom, True)
        self.server.hold.set()
        self.send("long", finished=False)
        self.wait("return document.querySelector('.turn:last-child article .text')?.textContent",
                  " word0 word1 word2 word3")
        self.wait(bottom, True)
        self.js("document.getElementById('log').scrollTop = 100")
        self.js("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.server.released.set()
        self.wait("return document.documentElement.dataset.running", "false")
        self.assertEqual(self.js("return document.getElementById('log').scrollTop"), 100)

    def test_errors_are_shown_and_leave_the_page_usable(self):
        self.open(self.server.url)
        for message, problem in (("fail", "The model ran out of <memory>."),
                                 ("break", "The stream ended before the answer was whole."),
                                 ("busy", "The queue is full. Try again in 7 s.")):
            self.send(message)
            self.assertEqual(self.text(".turn:last-child .problem"), [problem])
        self.send("hello")
        self.assertEqual(self.answers(), ["You said hello."])
        # What "busy" did not answer is no part of the conversation.
        self.assertEqual([m["content"] for m in self.server.requests[-1][1]["messages"]],
                         ["fail", "You said fail.", "break", "You said break.", "hello"])
        self.server.close()
        self.send("gone")
        self.assertEqual(self.text(".turn:last-child .problem"), ["The server does not answer. Is it still running?"])

    def test_settings_out_of_range_are_not_sent(self):
        self.open(self.server.url, width=375, height=812)
        for id_, value in (("temperature", "-1"), ("top_p", "1.5"), ("seed", "1.5"), ("tokens", "0"), ("top_k", "")):
            before = self.js("return document.getElementById(arguments[0]).value", id_.replace("_", "-"))
            self.set(**{id_: value})
            self.js("document.getElementById('settings').open = false")
            self.send("hello", finished=False)
            self.wait("return document.getElementById('message').value", "hello")
            self.assertEqual(self.js("return [document.activeElement.id, document.getElementById('settings').open]"),
                             [id_.replace("_", "-"), True])
            self.set(**{id_: before})
        self.assertEqual(self.server.requests, [])

    def test_a_server_that_wants_a_key(self):
        server = self.serve(key="abc-123")
        self.open(server.url)
        self.assertEqual(self.js("return [document.activeElement.id, document.getElementById('model').value]"), ["key", ""])
        for key, hidden in (("wrong", False), ("abc-123", True)):
            self.js("document.getElementById('key').focus()")
            self.browser.type(key)
            self.browser.press("Enter")
            self.wait("return document.getElementById('key').value", "")
            self.wait("return document.getElementById('key-form').hidden", hidden)
        self.wait("return document.getElementById('model').value", "small-q8")
        self.send("hello")
        self.assertEqual(self.answers(), ["You said hello."])
        self.assertEqual(self.js("return [localStorage.length, sessionStorage.length, document.cookie]"), [0, 0, ""])
        self.assertNotIn("abc-123", self.js("return document.documentElement.outerHTML"))

    def test_text_of_models_stays_text(self):
        self.server.models = ["<b>small</b>", "small-q4"]
        self.open(self.server.url, width=375, height=812)
        self.set(other="small-q4")
        for message in ("hostile", mock_server.HOSTILE[0]):
            self.send(message)
        self.assertEqual(self.js("return document.querySelectorAll('#log img, #log script, #log b, #log [onmouseover]').length"), 0)
        self.assertEqual(self.js("return [...document.querySelectorAll('#log a')].map((a) => new URL(a.href).origin)"),
                         ["https://example.org"] * self.js("return document.querySelectorAll('#log a').length"))
        self.assertEqual(self.js("return document.title"), "qx")
        shown = self.text(".turn:first-of-type article .text")[0]
        for text in mock_server.HOSTILE:
            self.assertIn(text.replace("\x00", "\u2400").replace("\x07", "\u2407").replace("\x1b", "\u241b"), shown)
        self.assertEqual(self.js("return document.documentElement.scrollWidth"), 375)
        self.assertEqual(self.js(WIDE), [])
        for summary in range(2):
            self.js("document.querySelectorAll('article summary')[arguments[0]].click()", summary)
        self.wait("return document.querySelectorAll('article .tools table').length", 2)
        self.assertEqual(self.js("return document.querySelectorAll('#log img, #log script, #log b').length"), 0)
        self.assertIn("\\u202e", self.text("article td.name")[0])
        self.point_at("article .token", 0, click=True)
        self.assertEqual(self.js("return document.querySelectorAll('#inspector img, #inspector b').length"), 0)
        self.assertEqual(self.js("return document.documentElement.scrollWidth"), 375)
        self.assertEqual([e for e in self.browser.log() if e["level"] != "WARNING"], [])
        self.browser.point(5, 5)

    def test_tokens_that_are_parts_of_characters(self):
        self.open(self.server.url)
        self.send("bytes")
        self.assertEqual(self.answers(), ["Größe 🙂 漢字!"])
        spans = self.text("article .token")
        self.assertEqual(spans, list("Größe 🙂 漢字!"))
        self.js("document.querySelector('article summary').click()")
        self.wait("return document.querySelectorAll('article tbody tr').length", len("Größe 🙂 漢字!".encode()))
        names = self.text("article tbody td:nth-child(2)")
        self.assertEqual(names[:4], ["G", "r", "0xC3", "0xB6"])
        self.point_at("article .token", 6)
        self.wait("return document.querySelectorAll('#inspector table').length", 4)

    def shown(self, selector=".turn:last-child article > .text"):
        """What the reader sees: the text without the marks that the style hides."""
        return self.js("return document.querySelector(arguments[0]).innerText.trim()", selector)

    def test_markdown_is_drawn_as_what_it_means(self):
        self.open(self.server.url)
        self.send("markdown")
        source = "".join(mock_server.ANSWERS["markdown"])
        self.assertEqual(self.answers(), [source])  # marks are there, but hidden
        outline = """const name = (e) => e.matches('.token') ? '' : `${e.tagName.toLowerCase()}(${[...e.children].map(name).join('')})`;
            return [...document.querySelector('.turn:last-child .flow').children].map(name)"""
        self.assertEqual(self.js(outline), [
            "div()", "p(strong()code()a())", "ul(li(p()ol(li(p())))li(p(em())))", "blockquote(p())",
            "div(table(thead(tr(th()th()))tbody(tr(th()td()))))", "div()", "div(button()pre(code()))", "p()"])
        self.assertEqual(self.shown().split("\n")[:2], ["Heading", ""])
        self.assertEqual(self.shown(".flow > p"), "Some bold and code and a page.")
        self.assertEqual(self.shown(".flow pre"), "if x:\n    *y*")
        self.assertEqual(self.shown(".flow blockquote"), "quoted")
        self.assertEqual(self.js("""const a = document.querySelector('.flow a');
            return [a.href, a.target, a.rel, a.dataset.host, getComputedStyle(a, '::after').content]"""),
            ["https://example.org/p?q=1", "_blank", "noopener noreferrer nofollow", "example.org", '" (example.org)"'])
        self.assertEqual(self.js("""const e = document.querySelector('.flow .heading');
            return [e.getAttribute('role'), e.getAttribute('aria-level')]"""), ["heading", "4"])
        self.assertEqual(self.js("return document.querySelector('.flow .code').dataset.language"), "py")
        self.assertEqual(self.js("return getComputedStyle(document.querySelector('.flow td')).textAlign"), "right")
        # Every token has its place in the order of the text, also where a block begins within one.
        pieces = self.js("return [...document.querySelectorAll('.flow .token')].map((s) => Number(s.dataset.piece))")
        self.assertEqual(pieces, sorted(pieces))
        self.assertEqual(sorted(set(pieces)), list(range(len(mock_server.ANSWERS["markdown"]))))
        # As it came, and back.
        drawn = self.js("return document.querySelector('.flow').innerHTML")
        self.set(formatted=False)
        self.assertEqual([line for line in self.shown().split("\n") if line][:2], ["# Heading", "Some **bold** and `code` and [a page](https://example.org/p?q=1 \"t\")."])
        self.assertEqual(self.answers(), [source])
        self.set(formatted=True)
        self.assertEqual(self.js("return document.querySelector('.flow').innerHTML"), drawn)
        # What goes on is what came.
        self.send("hello")
        self.assertEqual(self.server.requests[-1][1]["messages"][1]["content"], source)

    def test_marks_are_seen_where_their_tokens_are_looked_at(self):
        self.open(self.server.url)
        self.send("markdown")
        seen = "return [...document.querySelectorAll('.markup')].filter((e) => e.getClientRects().length > 0).map((e) => e.textContent)"
        self.assertEqual(self.js(seen), [])
        self.js("document.querySelector('article .text').focus()")
        for _ in range(4):
            self.browser.press("ArrowRight")
        self.assertEqual(self.js(seen), ["**"])
        self.assertIn("“**bo”", self.text("#token-words")[0])
        self.browser.press("Escape")
        self.assertEqual(self.js(seen), [])
        self.set(shade=True)
        self.assertEqual(len(self.js(seen)), self.js("return document.querySelectorAll('.markup').length"))

    def test_a_mark_stays_when_its_block_is_drawn_again(self):
        self.server.hold.set()
        self.open(self.server.url)
        self.set(other="small-q4", shade=True)
        self.send("held", finished=False)
        here = "return [...document.querySelectorAll('.token.here.parts')].map((e) => e.textContent)"
        self.wait(here, [" c", " x"])
        self.server.released.set()
        self.wait("return document.documentElement.dataset.running", "false")
        self.assertEqual(self.answers(), ["a b c d e", "a b x d e"])
        self.assertEqual(self.js(here), [" c", " x"])
        # exp(-0.05), exp(-0.35) ..: the mock's numbers, in five shades.
        self.assertEqual(self.js("return [...document.querySelectorAll('article:first-child .token')].map((e) => "
                                 "/p[0-4]/.exec(e.className)?.[0])"), ["p4", "p3", "p3", "p2", "p2"])
        for formatted in (False, True):
            self.set(formatted=formatted)
            self.assertEqual(self.js(here), [" c", " x"])

    def test_links_hold_no_links_and_emphasis_does_not_cross_them(self):
        self.open(self.server.url)
        outline = """return import('/markdown.js').then(({ readInline }) => {
              const write = (text, parts) => parts.map((part) => Array.isArray(part) ? text.slice(...part)
                : `<${part.type}>${write(text, part.parts)}</${part.type}>`).join('');
              return arguments[0].map((text) => write(text, readInline(text, [[0, text.length]])));
            });"""
        cases = {"[a [b](https://x.org) c](https://y.org)": "[a <link>b</link> c](<link>https://y.org</link>)",
                 "[*a](https://x.org)*": "<link>*a</link>*", "*a [b*](https://x.org)": "*a <link>b*</link>",
                 "***a** b*": "<em><strong>a</strong> b</em>", "**a *b***": "<strong>a <em>b</em></strong>",
                 "snake_case_name 2 * 3 * 4": "snake_case_name 2 * 3 * 4", "`` a`b ``": "<code>a`b</code>",
                 "\\*a\\* \\(x\\)": "*a* \\(x\\)", "~~a~~ ~b~": "<del>a</del> ~b~",
                 "see https://x.org/a_b. (https://y.org)": "see <link>https://x.org/a_b</link>. (<link>https://y.org</link>)",
                 "[a](javascript:x) <b>c</b> &amp;": "[a](javascript:x) <b>c</b> &amp;"}
        self.assertEqual(dict(zip(cases, self.js(outline, list(cases)))), cases)

    def test_markdown_of_any_kind_keeps_its_characters_in_order(self):
        self.open(self.server.url)
        self.assertEqual(self.js(MARKDOWN_CHECK.read_text(encoding="utf-8")), [])

    def test_code_can_be_copied(self):
        self.open(self.server.url)
        self.js("Object.defineProperty(navigator.clipboard, 'writeText', {value: (text) => { window.copied = text; "
                "return Promise.resolve(); }})")
        self.send("code")
        self.assertEqual(self.js("return document.querySelector('.code .copy').getAttribute('aria-label')"), "Copy this code")
        self.js("document.querySelector('.code .copy').click()")
        self.wait("return document.querySelector('.code .copy').getAttribute('aria-label')", "Copied")
        self.assertEqual(self.js("return window.copied"), "for x in y:\n    pass\n")

    def test_thoughts_are_folded_away(self):
        self.open(self.server.url)
        sections = """return [...document.querySelectorAll('.turn:last-child .text > *')].map((e) => [e.tagName,
            e.querySelector('summary')?.textContent ?? '', (e.matches('.flow') ? e : e.querySelector('.flow')).textContent])"""
        self.send("think")
        self.assertEqual(self.js(sections), [["DETAILS", "Thought, 7 tokens", "<think>\nhidden reasons\n</think>"],
                                             ["DIV", "", "\n\nShown."]])
        self.assertFalse(self.js("return document.querySelector('.turn:last-child details.thought').open"))
        # A prompt that goes on may have begun the thought itself; a chat's text that holds the mark is text.
        self.set(mode="text")
        self.send("bare end")
        self.assertEqual(self.js(sections), [["DETAILS", "Thought, 4 tokens", "hidden reasons\n</think>"],
                                             ["DIV", "", "\nShown."]])
        self.set(mode="chat")
        self.send("bare end")
        self.assertEqual(len(self.js(sections)), 1)
        # As the server does it: thoughts apart, their marks in the tokens alone.
        self.send("reason")
        self.assertEqual(self.js(sections), [["DETAILS", "Thought, 4 tokens", "well so"], ["DIV", "", "Shown."]])
        self.assertEqual(self.js("return [...document.querySelectorAll('.turn:last-child [data-silent]')].map((s) => "
                                 "s.dataset.silent)"), ["<think>↵", "↵</think>↵↵"])
        # The keyboard's walk opens it, and shows the token.
        box = "return getComputedStyle(document.querySelector('.turn:last-child [data-silent]'), '::after').content"
        self.assertEqual(self.js(box), "none")
        self.js("document.querySelector('.turn:last-child article .text').focus()")
        self.browser.press("Home")
        self.assertEqual(self.js(box), '"<think>↵"')
        self.assertTrue(self.js("return document.querySelector('.turn:last-child details.thought').open"))
        # The template decides what becomes of it.
        self.send("hello")
        self.assertEqual(self.server.requests[-1][1]["messages"][-2],
                         {"role": "assistant", "content": "Shown.", "reasoning_content": "well so"})

    def test_a_difference_in_a_thought_opens_it(self):
        self.open(self.server.url)
        self.set(other="small-q4")
        self.send("thoughts")
        self.assertEqual(self.js("return [...document.querySelectorAll('details.thought')].map((d) => d.open)"), [True, True])
        self.assertEqual(self.text(".parts"), [" one", " two"])

    def test_penalties_stops_and_schema_are_sent(self):
        self.open(self.server.url)
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        self.set(repetition="1.1", presence="-0.5", frequency="0.25", look_back="64", xtc_probability="0.5",
                 xtc_threshold="0.2", stops="END\n\\n\\n\na\\\\b", schema=json.dumps(schema), thinking="off")
        self.send("hello")
        _, request = self.server.requests[-1]
        expected = {"repetition_penalty": 1.1, "presence_penalty": -0.5, "frequency_penalty": 0.25,
                    "repetition_context_size": 64, "presence_context_size": 64, "frequency_context_size": 64,
                    "xtc_probability": 0.5, "xtc_threshold": 0.2, "stop": ["END", "\n\n", "a\\b"],
                    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
                    "chat_template_kwargs": {"enable_thinking": False}}
        self.assertEqual(request | expected, request)
        self.set(mode="text", repetition="1", frequency="0")
        self.send("hello")
        _, request = self.server.requests[-1]
        self.assertEqual(request["response_format"], expected["response_format"])
        self.assertEqual(request["presence_penalty"], -0.5)
        self.assertEqual([name for name in request if name.startswith(("repetition", "frequency", "chat", "tool"))], [])

    def test_settings_that_are_no_json_are_not_sent(self):
        self.open(self.server.url)
        for id_, value, words in (("functions", "{", "This is not JSON"), ("functions", "[1]", "Expected functions"),
                                  ("functions", '{"parameters": {}}', "Expected functions"), ("schema", "[]", "Expected a JSON object"),
                                  ("stops", "x\n" * 17, "at most 16"), ("repetition", "-1", ""), ("look_back", "0.5", "")):
            before = self.js("return document.getElementById(arguments[0]).value", id_.replace("_", "-"))
            self.set(**{id_: value})
            self.js("for (const d of document.querySelectorAll('details')) d.open = false;")
            self.send("hello", finished=False)
            self.wait("return document.getElementById('message').value", "hello")
            focus, message, visible = self.js("const e = document.activeElement; return [e.id, e.validationMessage, "
                                              "e.getClientRects().length > 0]")
            self.assertEqual((focus, visible), (id_.replace("_", "-"), True))
            self.assertIn(words, message)
            self.set(**{id_: before})
        self.assertEqual(self.server.requests, [])
        self.send("hello")
        self.assertEqual(self.answers(), ["You said hello."])

    def test_functions_are_called_and_their_results_sent(self):
        self.open(self.server.url)
        function = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
        self.set(functions=json.dumps(function), tool_choice="required")
        self.send("weather")
        _, request = self.server.requests[0]
        self.assertEqual(request["tools"], [{"type": "function", "function": function}])
        self.assertEqual(request["tool_choice"], "required")
        self.assertEqual(self.text(".call h4"), ["Call of get_weather"])
        self.assertEqual(self.text(".call pre"), ['{\n  "city": "Oslo <b>"\n}'])
        self.assertEqual(self.text(".call b"), [])
        self.assertEqual(self.answers(), [""])
        self.assertEqual(self.js("return document.querySelector('article .token').dataset.silent"), "<tool_call>… (4 tokens)")
        self.js("document.querySelector('.call textarea').focus()")
        self.browser.type("12 degrees")
        self.js("document.querySelector('.tools button.main').click()")
        self.wait("return document.querySelectorAll('.turn').length", 2)
        self.wait("return document.documentElement.dataset.running", "false")
        messages = self.server.requests[1][1]["messages"]
        self.assertEqual(messages, [
            {"role": "user", "content": "weather"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "call_1", "type": "function", "function": {
                "name": "get_weather", "arguments": '{"city": "Oslo <b>"}'}}]},
            {"role": "tool", "tool_call_id": "call_1", "name": "get_weather", "content": "12 degrees"}])
        self.assertEqual(self.text(".turn:last-child .asked h2, .turn:last-child .asked p"),
                         ["Results", "get_weather: 12 degrees"])
        self.assertEqual(self.answers(), ["You said 12 degrees."])
        self.assertEqual(self.js("""return [document.querySelectorAll('.tools button.main').length,
            document.querySelector('.call textarea').readOnly]"""), [0, True])
        self.send("thanks")
        self.assertEqual([m["role"] for m in self.server.requests[2][1]["messages"]],
                         ["user", "assistant", "tool", "assistant", "user"])

    def test_only_the_model_that_called_gets_results(self):
        self.open(self.server.url)
        self.set(other="small-q4", functions='[{"name": "get_weather"}]')
        self.send("weather of one")
        self.assertEqual(self.answers(), ["", "Both say this."])
        self.js("document.querySelector('.call textarea').value = 'rain'; document.querySelector('.tools button.main').click()")
        self.wait("return document.querySelectorAll('.turn').length", 2)
        self.wait("return document.documentElement.dataset.running", "false")
        self.assertEqual([r["model"] for _, r in self.server.requests], ["small-q8", "small-q4", "small-q8"]
                         if self.server.requests[0][1]["model"] == "small-q8" else ["small-q4", "small-q8", "small-q8"])
        self.assertEqual(self.answers(), ["You said rain.", ""])
        self.assertEqual(self.text(".turn:last-child .facts")[1], "called no function: not asked")
        self.assertEqual(self.text(".turn:last-child .difference"), [])
        self.send("and")
        roles = {r["model"]: [m["role"] for m in r["messages"]] for _, r in self.server.requests[3:]}
        self.assertEqual(roles, {"small-q8": ["user", "assistant", "tool", "assistant", "user"],
                                 "small-q4": ["user", "assistant", "user"]})

    def test_a_phone_scrolls_down_only(self):
        self.open(self.server.url, width=375, height=812, mobile=True)
        self.assertFalse(self.js("return document.getElementById('settings').open"))
        self.set(other="small-q4")
        self.send("cat")
        self.js("for (const d of document.querySelectorAll('details')) d.open = true;")
        self.assertEqual(self.js("return document.documentElement.scrollWidth"), 375)
        self.assertEqual(self.js(WIDE), [])

    def test_colours_follow_the_system_and_the_button(self):
        def ground():
            return self.js("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        self.open(self.server.url, scheme="dark")
        dark = ground()
        self.browser.prefer("light")
        light = wait_for(ground, lambda colour: colour != dark)
        self.assertGreater(contrast(dark, light), 12)
        self.js("document.getElementById('theme').click()")
        self.assertEqual(wait_for(ground, lambda colour: colour == dark), dark)
        self.assertEqual(self.js("return document.getElementById('theme').getAttribute('aria-pressed')"), "true")

    def test_text_has_contrast(self):
        value = """const probe = document.createElement('span');
            document.body.append(probe);
            return arguments[0].map((name) => { probe.style.color = `var(${name})`;
              return getComputedStyle(probe).color.match(/\\d+/g).map(Number); });"""
        for scheme in ("light", "dark"):
            self.open(self.server.url, scheme=scheme)
            grounds = ["--ground", "--raised", "--asked"]
            pairs = [(ink, ground, 4.5) for ink in COLOURS for ground in grounds]
            pairs += [("--ink", f"--shade{i}", 4.5) for i in range(4)] + [("--ink", "--parts", 4.5)]
            pairs += [("--on-main", "--main", 4.5), ("--parts-edge", "--parts", 3)]
            pairs += [(edge, ground, 3) for edge in ("--edge", "--focus", "--parts-edge") for ground in grounds[:2]]
            for ink, ground, least in pairs:
                a, b = self.js(value, [ink, ground])
                self.assertGreaterEqual(contrast(a, b), least, f"{ink} on {ground} in {scheme}")

    def test_names_and_structure_for_assistive_technology(self):
        self.open(self.server.url)
        self.set(other="small-q4")
        self.send("markdown")
        self.send("weather")
        self.send("cat")
        self.js("for (const d of document.querySelectorAll('details')) d.open = true;")
        self.wait("return document.querySelectorAll('article .tools table').length", 6)
        faults = self.js("""const faults = [];
            for (const e of document.querySelectorAll('button, select, input, textarea, [role=group], [role=region]')) {
              const label = e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.[0]?.textContent;
              if (!label) faults.push(e.outerHTML.slice(0, 80));
            }""" + structure_faults(captionless=".flow") + """
            return faults;""")
        self.assertEqual(faults, [])
        roles = self.js("return ['log', 'status'].map((id) => document.getElementById(id).getAttribute('role'))")
        self.assertEqual(roles, ["log", "status"])
        seen = set()
        for _ in range(90):
            self.browser.press("Tab")
            seen.add(self.js("const e = document.activeElement; return e.id || e.className || e.tagName"))
        for target in ("skip", "clear", "theme", "model", "other", "mode", "system", "temperature", "seed", "shade", "log",
                       "text", "SUMMARY", "again", "message", "send"):
            self.assertIn(target, seen)

    def test_nothing_moves_for_those_who_asked_for_it(self):
        self.server.hold.set()
        running = "return document.getAnimations().length > 0"
        for motion, moves in (("no-preference", True), ("reduce", False)):
            self.open(self.server.url)
            self.browser.prefer("light", motion=motion)
            self.send("long", finished=False)
            self.wait("return document.querySelector('article .text')?.textContent", " word0 word1 word2 word3")
            self.assertEqual(self.js(running), moves, motion)
            self.browser.press("Escape")
            self.wait("return document.documentElement.dataset.running", "false")

    def test_screenshots(self):
        keep = os.environ.get("QX_BROWSER_OUT")
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(keep or scratch)
            folder.mkdir(parents=True, exist_ok=True)
            for name, scheme, width, height in (("light", "light", 1280, 900), ("dark", "dark", 1280, 900),
                                                ("phone", "light", 375, 812), ("phone-dark", "dark", 375, 812)):
                self.open(self.server.url, width, height, scheme, scale=2 if width == 375 else 1, mobile=width == 375)
                self.send("markdown")
                self.browser.screenshot(folder / f"page-{name}-markdown.png", whole=False)
                self.send("reason")
                self.set(functions='{"name": "get_weather"}')
                self.send("weather")
                self.browser.screenshot(folder / f"page-{name}-calls.png", whole=False)
                self.js("""if (innerWidth < 800) document.getElementById('settings').open = true;
                    for (const d of document.querySelectorAll('#settings details')) d.open = true;
                    document.getElementById('settings').scrollTop = 500;""")
                self.browser.screenshot(folder / f"page-{name}-settings.png", whole=False)
                self.js("""for (const d of document.querySelectorAll('#settings details')) d.open = false;
                    if (innerWidth < 800) document.getElementById('settings').open = false;""")
                self.set(other="small-q4", shade=True, functions="")
                self.send("cat")
                if width > 375:
                    self.point_at(".turn:last-child article:first-child .token", 3)
                    self.wait("return document.getElementById('inspector').hidden", False)
                self.browser.screenshot(folder / f"page-{name}.png", whole=False)
                self.assertGreater((folder / f"page-{name}.png").stat().st_size, 20000)
                self.browser.point(5, 5)


@unittest.skipUnless(webdriver.find_browser(), "no Chromium with its driver (tools/install_deps.sh browser)")
class ServedPage(PageTest):
    """The page as qx serve sends it, with two tiny models: what they say is noise, and often not UTF-8."""
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="qx-page-test-"))
        make_model.write_model(cls.root / "a")
        make_model.write_model(cls.root / "b", noise=0.05)
        cls.process = subprocess.Popen(
            [QX, "serve", "-m", f"a={cls.root / 'a'}", "-m", f"b={cls.root / 'b'}", "--port", "0", "--threads", "1"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = cls.process.stdout.readline()
        assert line.startswith("listening on "), line
        cls.url = line.split()[-1] + "/"

    @classmethod
    def tearDownClass(cls):
        cls.process.send_signal(signal.SIGTERM)
        cls.process.wait(timeout=300)
        cls.process.stdout.close()
        shutil.rmtree(cls.root)
        super().tearDownClass()

    def test_comes_with_its_headers_and_asks_nobody_else(self):
        host = self.url.split("/")[2]
        connection = http.client.HTTPConnection(host)
        connection.request("GET", "/")
        answer = connection.getresponse()
        self.assertEqual(answer.getheader("Content-Security-Policy"), "frame-ancestors 'none'")
        self.assertEqual(answer.read(), (mock_server.PAGE / "page.html").read_bytes())
        connection.close()
        self.open(self.url)
        self.set(tokens="20")
        self.send("hello")
        asked = [url for url in self.browser.requests() if url != "data:,"]
        self.assertEqual(sorted(set(asked)), sorted(self.url + name for name in RESOURCES + ["v1/chat/completions"]))
        self.assertEqual(self.browser.log(), [])

    def figures(self):
        return self.js("""return [...document.querySelectorAll('.turn:last-child article')].map((a) =>
            Number(a.querySelector('.facts').textContent.match(/([\\d,]+) tokens? ·/)?.[1] ?? 0))""")

    def tables(self):
        """Token names of the last turn's answers."""
        self.js("for (const d of document.querySelectorAll('.turn:last-child details')) d.open = true;")
        # Each fills its table when it hears of being open.
        self.wait("return [...document.querySelectorAll('.turn:last-child article')].every((a) => a.querySelector('table'))", True)
        return self.js("""return [...document.querySelectorAll('.turn:last-child article')].map((a) =>
            [...a.querySelectorAll('tbody tr')].map((r) => r.cells[1].textContent))""")

    def test_one_model_twice_says_the_same_and_two_part(self):
        self.open(self.url)
        self.set(other="a", seed="5", temperature="1", tokens="60", system="Talk.")
        self.send("hello")
        self.assertEqual(self.text(".turn:last-child .problem:not([hidden])"), [])
        self.assertRegex(self.text(".difference")[-1], r"^Both answers are the same, all \d+ tokens\.$")
        first, second = self.tables()
        self.assertEqual(first, second)
        self.js("document.getElementById('clear').click()")
        self.set(other="b")
        self.send("hello")
        note = self.text(".difference")[-1]
        self.assertRegex(note, r"^First difference at token \d+: ")
        one, two = self.tables()
        self.assertEqual(one, first)
        at = int(note.split("token ")[1].split(":")[0]) - 1
        self.assertEqual(one[:at], two[:at])
        self.assertNotEqual(one[at:at + 1], two[at:at + 1])
        self.assertGreater(self.js("return document.querySelectorAll('.parts').length"), 0)
        # Texts are whole: each is what its tokens are, but for bytes that are no characters.
        for text, names in zip(self.answers(), (one, two)):
            self.assertGreaterEqual(len(names), 1)
            self.assertNotIn("undefined", text)

    def test_every_token_of_noise_has_its_place(self):
        self.open(self.url)
        self.set(temperature="1", tokens="200", seed="3", mode="text")
        self.send("a")
        pieces = self.js("return new Set([...document.querySelectorAll('article .token')].map((s) => s.dataset.piece)).size")
        names, = self.tables()
        tokens, = self.figures()
        self.assertIn(len(names) - tokens, (0, 1))  # the token that ends a text is named, but not counted
        self.assertGreater(pieces, 50)
        self.js("document.querySelector('article .text').focus()")
        for _ in range(5):
            self.browser.press("ArrowRight")
        self.assertRegex(self.text("#token-words")[0], r"^Token \d+, “")

    def test_stopping_frees_the_server(self):
        self.open(self.url)
        self.set(tokens="400", temperature="1", seed="1", mode="text")
        self.send("x" * 50, finished=False)
        self.wait("return document.querySelectorAll('article .token').length > 3", True)
        self.browser.press("Escape")
        self.wait("return document.documentElement.dataset.running", "false")
        self.set(tokens="5")
        self.send("hello")
        self.assertEqual(self.text(".turn:last-child .problem:not([hidden])"), [])

    def test_what_the_server_refuses_is_said(self):
        self.open(self.url)
        self.send("word " * 2000)
        problem, = self.text(".turn:last-child .problem")
        self.assertIn("512", problem)  # the context of the tiny model


if __name__ == "__main__":
    if not QX.exists() and webdriver.find_browser():
        raise SystemExit(f"test_page.py: {QX} is missing: make build")
    unittest.main()
