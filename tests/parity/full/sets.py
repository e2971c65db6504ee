"""The sets of the full parity run: a model, a mode, items, and which peer answers."""
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import shutil

TASKS = ["arc_challenge", "arc_easy", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande"]
# The directories under --models that the peers read, and that qx reads. SmolLM2 is bfloat16 and Hugging Face widens it;
# q4-hi is decoded by `qx convert --recipe f32`: scales and biases in float32, as qx itself reads them.
PEER_MODELS = {"smollm2": "smollm2", "q4-hi": "q4-hi-f32"}
QX_MODELS = {"smollm2": "smollm2", "q4-hi": "q4-hi"}
PEERS = {"hflm": "lm-eval's HFLM, unmodified", "cached": "lm-eval's HFLM with keys and values of an item's beginning kept",
         "mlx": "mlx_lm.evaluate's MLXLM, its calls of the model answered by Hugging Face in float32"}
POOL = 200  # rows of a task's file that are few-shot examples; the questions follow


@dataclasses.dataclass(frozen=True)
class Set:
    name: str
    model: str
    engine: str  # hflm: lm-eval's HFLM as it is; cached: its subclass with a KV cache; mlx: mlx_lm.evaluate's MLXLM on such a model
    items: int
    chat: bool = False
    convention: str = "lm-eval"
    shots: int = 0
    seed: int = 1234
    multiturn: bool = False


def make_sets():
    out = []
    for model in ("smollm2", "q4-hi"):
        out.append(Set(f"{model}-plain", model, "hflm" if model == "smollm2" else "cached", 300))
    for model in ("smollm2", "q4-hi"):
        out.append(Set(f"{model}-chat-lm-eval", model, "cached", 100, chat=True))
        out.append(Set(f"{model}-chat-mlx-lm", model, "mlx", 100, chat=True, convention="mlx-lm"))
    for model in ("smollm2", "q4-hi"):
        out.append(Set(f"{model}-5-shot-plain", model, "cached", 40, shots=5))
    return {s.name: s for s in out}


SETS = make_sets()


@functools.cache
def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def versions():
    names = ("lm-eval", "torch", "transformers", "tokenizers", "mlx-lm", "mlx", "jinja2", "datasets", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


def identity(spec, models, data):
    """All that a set's answers depend on."""
    directory = models / PEER_MODELS[spec.model]
    files = sorted(p for p in directory.iterdir() if p.suffix in (".safetensors", ".jinja") or p.name in
                   ("config.json", "tokenizer.json", "tokenizer_config.json"))
    return {
        "set": dataclasses.asdict(spec),
        "model": {p.name: sha256(p) for p in files},
        "data": {task: sha256(data / f"{task}.jsonl") for task in TASKS},
        "versions": versions(),
    }


def folder_of(spec, cache, models, data):
    text = json.dumps(identity(spec, models, data), sort_keys=True)
    return cache / f"{spec.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def write_data(spec, source, target):
    """The task files that both sides read: for few-shot, rows 0 to 199 are examples and the questions follow."""
    target.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        if not spec.shots:
            shutil.copyfile(source / f"{task}.jsonl", target / f"{task}.jsonl")
            continue
        lines = (source / f"{task}.jsonl").read_bytes().splitlines(keepends=True)
        (target / f"{task}.train.jsonl").write_bytes(b"".join(lines[:POOL]))
        (target / f"{task}.jsonl").write_bytes(b"".join(lines[POOL : POOL + spec.items]))


def qx_shot_options(spec):
    options = ["--shots", spec.shots, "--fewshot-seed", spec.seed]
    if spec.chat:
        options.append("--fewshot-as-multiturn" if spec.multiturn else "--fewshot-single-turn")
    return options
