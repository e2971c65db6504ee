"""The chat templates of real models, against Jinja2 as transformers runs it.

QX_TEMPLATES names a folder of NAME.jinja files; tests/parity/collect_templates.py fills one from public repositories.
Every template meets the conversations of tests/golden/chat, with and without a generation prompt: tools and their
results, thinking, messages of several parts, options of single families.
"""
import os
import pathlib

import pytest

from test_chat_template import conversations, differences, report

def folder():
    name = os.environ.get("QX_TEMPLATES", "")
    return sorted(pathlib.Path(name).glob("*.jinja")) if name else []


@pytest.mark.parametrize("path", folder() or [None], ids=lambda p: p.stem if p else "none")
def test_template(path):
    if path is None:
        pytest.skip("QX_TEMPLATES names no folder of templates")
    template = path.read_text(encoding="utf-8")
    cases = [dict(talk, name=f"{path.stem} / {talk['name']}", template=template, bos_token="<s>", eos_token="</s>",
                  add_generation_prompt=prompt and not talk.get("continue_final_message", False))
             for talk in conversations() for prompt in (True, False)]
    found = differences(cases)
    assert not found, report(found)


def test_every_family_is_there():
    if not folder():
        pytest.skip("QX_TEMPLATES names no folder of templates")
    names = " ".join(p.stem for p in folder())
    for family in ("llama3", "mistral", "gemma", "deepseek", "qwen"):
        assert family in names
