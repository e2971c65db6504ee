"""The chat templates of real models, against Jinja2 as transformers runs it.

QX_TEMPLATES names a folder of NAME.jinja files; tests/parity/collect_templates.py fills one from public repositories.
Every template meets the conversations of tests/golden/chat and the ones below: tools and their results, thinking,
messages of several parts, options of single families.
"""
import os
import pathlib

import pytest

from test_chat_template import conversations, differences, report

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city, <b>today</b>.",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "Name, as \"Paris\""},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "integer", "minimum": 1}}}}}
NO_ARGUMENTS = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}


def call(name, arguments, ident="abcdefghi"):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def talks():
    user = {"role": "user", "content": "Weather in São Paulo?"}
    asked = [user, {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"city": "São Paulo", "days": 2})]},
             {"role": "tool", "tool_call_id": "abcdefghi", "name": "get_weather", "content": "{\"t\": 21.5}"}]
    answered = asked + [{"role": "assistant", "content": "21.5 degrees."}, {"role": "user", "content": "Thanks. And now?"}]
    both = [user, {"role": "assistant", "content": None, "tool_calls": [call("get_weather", {"city": "A"}, "aaaaaaaaa"), call("now", {}, "bbbbbbbbb")]},
            {"role": "tool", "tool_call_id": "aaaaaaaaa", "name": "get_weather", "content": "rain"},
            {"role": "tool", "tool_call_id": "bbbbbbbbb", "name": "now", "content": "12:00"}]
    thought = [{"role": "user", "content": "2+2?"},
               {"role": "assistant", "content": "<think>\nEasy.\n</think>\n\n4", "reasoning_content": "Easy."},
               {"role": "user", "content": "Sure?"}]
    chunks = [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
              {"role": "user", "content": [{"type": "text", "text": "First."}, {"type": "text", "text": " Second."}]},
              {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Third."}]},
              {"role": "user", "content": [{"type": "text", "text": "Go on."}]}]
    image = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}]
    # Name, messages, and what else the case has.
    rows = [("call", asked, {"tools": [WEATHER]}), ("answered call", answered, {"tools": [WEATHER, NO_ARGUMENTS]}),
            ("two calls", both, {"tools": [WEATHER, NO_ARGUMENTS]}), ("tools, system", [{"role": "system", "content": " Rules. "}, user], {"tools": [WEATHER]}),
            ("tools first", [user], {"tools": [NO_ARGUMENTS], "variables": {"tools_in_user_message": False}}),
            ("date", [user], {"variables": {"date_string": "01 Jan 2025"}}), ("builtin tools", [user], {"variables": {"builtin_tools": ["code_interpreter", "brave_search"]}}),
            ("thought", thought, {}), ("thought, off", thought, {"variables": {"enable_thinking": False, "thinking": False}}),
            ("thinking on", thought, {"variables": {"enable_thinking": True, "thinking": True}}), ("chunks", chunks, {}), ("image", image, {}),
            ("python tag", asked[:1] + [{"role": "assistant", "tool_calls": [call("brave_search", {"query": "x"})]}, {"role": "ipython", "content": {"output": 1}}],
             {"variables": {"builtin_tools": ["brave_search"]}}), ("reasoning effort", [user], {"variables": {"reasoning_effort": "high"}})]
    return [dict(name=name, messages=messages, add_generation_prompt=add, **more) for name, messages, more in rows for add in (True, False)]


def folder():
    name = os.environ.get("QX_TEMPLATES", "")
    return sorted(pathlib.Path(name).glob("*.jinja")) if name else []


@pytest.mark.parametrize("path", folder() or [None], ids=lambda p: p.stem if p else "none")
def test_template(path):
    if path is None:
        pytest.skip("QX_TEMPLATES names no folder of templates")
    template = path.read_text(encoding="utf-8")
    cases = [dict(talk, name=f"{path.stem} / {talk['name']}", template=template, bos_token="<s>", eos_token="</s>")
             for talk in conversations() + talks()]
    found = differences(cases)
    assert not found, report(found)


def test_every_family_is_there():
    if not folder():
        pytest.skip("QX_TEMPLATES names no folder of templates")
    names = " ".join(p.stem for p in folder())
    for family in ("llama3", "mistral", "gemma", "deepseek", "qwen"):
        assert family in names
