"""The chat templates of real models, against Jinja2 as transformers runs it.

QX_TEMPLATES names a folder of NAME.jinja files; tests/parity/collect_templates.py fills one from public repositories.
Without it there is nothing to compare, and no test either: a skip would fail a strict run, which has no such folder.
Every template meets the conversations of tests/golden/chat, with and without a generation prompt: tools and their
results, thinking, messages of several parts, options of single families.
"""
import os
import pathlib

import pytest

from test_chat_template import conversations, differences, report

FOLDER = os.environ.get("QX_TEMPLATES", "")
TEMPLATES = sorted(pathlib.Path(FOLDER).glob("*.jinja")) if FOLDER else []

if FOLDER:

    @pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
    def test_template(path):
        template = path.read_text(encoding="utf-8")
        cases = [dict(talk, name=f"{path.stem} / {talk['name']}", template=template, bos_token="<s>", eos_token="</s>",
                      add_generation_prompt=prompt and not talk.get("continue_final_message", False))
                 for talk in conversations() for prompt in (True, False)]
        found = differences(cases)
        assert not found, report(found)

    def test_every_family_is_there():
        names = " ".join(p.stem for p in TEMPLATES)
        for family in ("llama3", "mistral", "gemma", "deepseek", "qwen"):
            assert family in names
