"""The commands of docs/from-mlx-lm.md and docs/from-llama-cpp.md, run as they stand, one after the other, on SmolLM2.

A command of ours is an indented line that begins with "qx "; those of the other programs are text here. `qx chat` gets lines on
stdin, `qx serve` is asked once and stopped.
"""
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOURS = ["from-mlx-lm.md", "from-llama-cpp.md"]
PROSE = "The river ran past the mill, and the miller counted his sacks. In spring the water was high and the wheel turned fast.\n"


def commands(tour):
    lines = (ROOT / "docs" / tour).read_text().splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("    qx ")]


def serve(path, arguments, folder):
    arguments = [a if a != "8080" else "0" for a in arguments]
    server = subprocess.Popen([path, *arguments, "--json"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = json.loads(server.stdout.readline())["url"]
        request = urllib.request.Request(url + "/v1/chat/completions", headers={"Content-Type": "application/json"},
                                         data=json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}).encode())
        with urllib.request.urlopen(request, timeout=600) as response:
            assert json.load(response)["usage"]["completion_tokens"] >= 1
    finally:
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=300)
    assert server.returncode == 130, errors


@pytest.mark.parametrize("tour", TOURS)
def test_every_command_runs(qx, smollm2, smollm2_gguf, tmp_path, tour):
    (tmp_path / "model.gguf").symlink_to(smollm2_gguf)
    (tmp_path / "text.txt").write_text("".join(f"{i}. {PROSE}" for i in range(250)))
    found = commands(tour)
    assert len(found) >= 12
    if "import" not in [arguments[0] for arguments in found]:
        shutil.copytree(smollm2, tmp_path / "model", copy_function=os.link)  # a link's name would be its target's
    for arguments in found:
        path = str(pathlib.Path(qx.path).resolve())
        if arguments[0] == "serve":
            serve(path, arguments, tmp_path)
            continue
        done = subprocess.run([path, *arguments], cwd=tmp_path, input="Hello\n/help\n", capture_output=True, text=True, timeout=3600)
        # verify and diff say by their exit code what they found.
        assert done.returncode == 0 or (arguments[0] == "diff" and done.returncode == 3), f"qx {arguments}: {done.stderr}"


@pytest.mark.parametrize("tour", TOURS)
def test_every_option_named_is_one_of_the_verb(qx, tour):
    """Also in sentences and tables: a verb behind "qx" exists, and so does every option in the same words."""
    spans = re.findall(r"`(qx [^`]+)`", (ROOT / "docs" / tour).read_text())
    assert spans
    for words in (span.split() for span in spans):
        text = qx(words[1], "--help").stdout
        for option in (w for w in words[2:] if w.startswith("-")):
            assert re.search(rf"(^|[\s,]){option}[\s,]", text), f"qx {words[1]} has no {option}"
