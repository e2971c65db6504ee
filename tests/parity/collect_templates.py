"""Collects the chat templates of real models from public repositories, for test_real_templates.py: they are their
models' and not part of this repository.

    python tests/parity/collect_templates.py -o FOLDER [--hf-js CHECKOUT] [--jinja-files FOLDER ..]

--hf-js: a checkout of github.com/huggingface/huggingface.js; packages/ollama-utils/src/chat-template-automap.ts there
holds the templates of the GGUF files of some 90 models. --jinja-files: folders of NAME.jinja files, such as
tests/data/chat_templates of github.com/mistralai/mistral-common and chat_templates of
github.com/chujiezheng/chat_templates.
"""
import argparse
import pathlib
import re


def unescaped(body):
    """The text of a JavaScript string literal."""
    short = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}

    def one(match):
        escape = match[1]
        return chr(int(escape[1:], 16)) if escape[0] in "ux" and len(escape) > 1 else short.get(escape, escape)

    return re.sub(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", one, body, flags=re.S)


def automap(path):
    """model name -> template, from the object literals of the TypeScript file."""
    text = path.read_text(encoding="utf-8")
    found = {}
    for entry in re.finditer(r'\{\s*model: "([^"]+)",\s*gguf:\s*("(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\')', text):
        name, literal = entry.groups()
        found.setdefault(name.removeprefix("library/").replace(":", "-"), unescaped(literal[1:-1]))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--hf-js", type=pathlib.Path)
    parser.add_argument("--jinja-files", type=pathlib.Path, nargs="*", default=[])
    options = parser.parse_args()
    templates = {}
    if options.hf_js:
        templates.update(automap(options.hf_js / "packages/ollama-utils/src/chat-template-automap.ts"))
    for folder in options.jinja_files:
        for path in sorted(folder.glob("*.jinja")):
            templates[f"{folder.parent.name}-{path.stem}"] = path.read_text(encoding="utf-8")
    options.output.mkdir(parents=True, exist_ok=True)
    for name, template in templates.items():
        (options.output / f"{name}.jinja").write_text(template, encoding="utf-8")
    print(f"{len(templates)} templates in {options.output}")


if __name__ == "__main__":
    main()
