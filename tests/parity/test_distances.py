"""Perplexity and divergence against Hugging Face in float32 on the same tokens, computed by the definitions that
llama.cpp's perplexity.cpp, mlx_lm.perplexity and the sliding window have, and against mlx_lm.perplexity itself.

Everything here is written from those definitions, with nothing of qx's but its output: windows in plain Python,
log-softmax in float64 of float32 logits.
"""
import hashlib
import json
import os
import pathlib
import struct
import types

import numpy as np
import pytest
import torch
import transformers

torch.set_num_threads(2)

PPL = 1e-4              # relative
PPL_MLX = 1e-3          # mlx's own float32 on a CPU is up to 2e-4 from Hugging Face's
KL = 1e-5               # nats, of the mean
KL_TOKEN = 2e-4         # nats, of the largest of single tokens, which reach 10


@pytest.fixture(scope="module")
def models(qx, smollm2, tmp_path_factory):
    """name -> (directory for qx, Hugging Face model in float32 with the same weights)."""
    root = tmp_path_factory.mktemp("distances")
    for recipe in ("f32", "q4-hi"):
        qx("convert", "-m", smollm2, "-o", root / recipe, "--recipe", recipe, "--quiet")
    qx("convert", "-m", root / "q4-hi", "-o", root / "q4-hi-f32", "--recipe", "f32", "--quiet")

    def load(directory):
        return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()

    return {"base": (root / "f32", load(root / "f32")), "q4-hi": (root / "q4-hi", load(root / "q4-hi-f32"))}


@pytest.fixture(scope="module")
def tokenizer(models):
    return transformers.AutoTokenizer.from_pretrained(models["base"][0])


@pytest.fixture(scope="module")
def text():
    path = os.environ.get("QX_TEXT")
    if not path:
        pytest.skip("QX_TEXT names no text")
    return pathlib.Path(path)


def paragraphs(text):
    """Runs of lines that are not blank."""
    found, lines = [], []
    for line in text.split("\n") + [""]:
        if line.strip(" \t\r"):
            lines.append(line)
        elif lines:
            found.append("\n".join(lines))
            lines = []
    return found


@pytest.fixture(scope="module")
def conversations(text, tmp_path_factory):
    """(rows of messages, their file, a plain text of the same paragraphs)."""
    parts = paragraphs(text.read_text(encoding="utf-8"))[:60]
    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
            for q, a in zip(parts[::2], parts[1::2])]
    folder = tmp_path_factory.mktemp("chat")
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    (folder / "plain.txt").write_text("\n\n".join(parts), encoding="utf-8")
    return rows, folder / "rows.jsonl", folder / "plain.txt"


def hash_of(ids):
    return hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()


def log_softmax(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    return torch.log_softmax(logits, -1).numpy()


def llama_cpp_windows(ids, ctx, chunks):
    """(tokens of the chunk, first position whose prediction counts): perplexity(), the vocabulary adds no BOS."""
    return [(ids[i * ctx:(i + 1) * ctx], ctx // 2) for i in range(chunks)]


def llama_cpp_strided(ids, ctx, stride, chunks):
    """perplexity_v2() after main() has made n_ctx = ctx + stride / 2."""
    n_ctx = ctx + stride // 2
    return [(ids[i * stride:i * stride + n_ctx], n_ctx - stride - 1) for i in range(chunks)]


def sliding_windows(ids, ctx, stride, chunks):
    windows, counted = [], 1
    for begin in range(0, len(ids), stride):
        end = min(begin + ctx, len(ids))
        windows.append((ids[begin:end], counted - begin - 1))
        counted = end
        if end == len(ids) or len(windows) == chunks:
            return windows


def losses_of(model, windows):
    """Per window, -ln p of each token that counts."""
    out = []
    for ids, first in windows:
        logp = log_softmax(model, ids)
        out.append(np.array([-logp[j, ids[j + 1]] for j in range(first, len(ids) - 1)]))
    return out


def check_perplexity(answer, losses):
    every = np.concatenate(losses)
    n, ppl = len(every), np.exp(every.mean())
    assert answer["tokens"] == n
    assert answer["ppl"] == pytest.approx(ppl, rel=PPL)
    # perplexity.cpp: sqrt((nll2 / count - (nll / count)^2) / (count - 1)) * ppl
    assert answer["stderr"] == pytest.approx(
        ppl * np.sqrt((np.mean(every ** 2) - every.mean() ** 2) / (n - 1)), rel=1e-3)
    if len(losses) > 1:
        sums = np.array([np.sum(w - every.mean()) for w in losses])
        by_window = np.sqrt(len(losses) / (len(losses) - 1) * np.sum(sums ** 2)) / n
        assert answer["stderr_windows"] == pytest.approx(ppl * by_window, rel=1e-3)


@pytest.mark.parametrize("ctx, chunks", [(512, 3), (2048, 1)])
@pytest.mark.parametrize("name", ["base", "q4-hi"])
def test_perplexity_llama_cpp(qx, models, tokenizer, text, name, ctx, chunks):
    directory, model = models[name]
    answer = qx.json("perplexity", "-m", directory, "--text", text, "--ctx", ctx, "--chunks", chunks)
    # llama.cpp drops one line feed at the end of a file.
    ids = tokenizer(text.read_text(encoding="utf-8").removesuffix("\n"))["input_ids"]
    assert answer["text"]["tokens_sha256"] == hash_of(ids)
    assert (answer["ctx"], answer["stride"], answer["precision"]) == (ctx, ctx, "reference")
    check_perplexity(answer, losses_of(model, llama_cpp_windows(ids, ctx, chunks)))


def test_perplexity_llama_cpp_strided(qx, models, tokenizer, text):
    directory, model = models["base"]
    answer = qx.json("perplexity", "-m", directory, "--text", text, "--ctx", 256, "--stride", 100, "--chunks", 3)
    ids = tokenizer(text.read_text(encoding="utf-8").removesuffix("\n"))["input_ids"]
    check_perplexity(answer, losses_of(model, llama_cpp_strided(ids, 256, 100, 3)))


def test_perplexity_sliding(qx, models, tokenizer, text, tmp_path):
    directory, model = models["base"]
    part = tmp_path / "part.txt"
    part.write_text(text.read_text(encoding="utf-8")[:3000], encoding="utf-8")
    answer = qx.json("perplexity", "-m", directory, "--text", part, "--convention", "sliding", "--ctx", 256,
                     "--stride", 100)
    ids = tokenizer(part.read_text(encoding="utf-8"))["input_ids"]
    losses = losses_of(model, sliding_windows(ids, 256, 100, None))
    assert sum(map(len, losses)) == len(ids) - 1
    check_perplexity(answer, losses)


def test_perplexity_mlx_lm(qx, models, conversations, text, tmp_path, monkeypatch):
    """mlx_lm.perplexity's own load_data and eval_ppl, on float32 weights, for chats and for plain rows; and
    Hugging Face on the tokens that its load_data gave."""
    mx = pytest.importorskip("mlx.core")
    import mlx_lm.perplexity as peer
    from mlx_lm.tuner.datasets import create_dataset
    from mlx_lm.utils import load

    mx.set_default_device(mx.cpu)
    directory = models["base"][0]
    model, own_tokenizer = load(str(directory))
    parts = paragraphs(text.read_text(encoding="utf-8"))[:80]
    plain = tmp_path / "plain.jsonl"
    plain.write_text("".join(json.dumps({"text": p}) + "\n" for p in parts), encoding="utf-8")
    for file, samples, length in ((conversations[1], 3, 300), (plain, 4, 128)):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        monkeypatch.setattr(peer, "load_dataset",
                            lambda args, tok, rows=rows: (create_dataset(rows, tok, types.SimpleNamespace()),))
        np.random.seed(123)
        data = peer.load_data(own_tokenizer, "any", samples, length)
        ppl, error = peer.eval_ppl(model, data)
        answer = qx.json("perplexity", "-m", directory, "--text", file, "--convention", "mlx-lm", "--ctx", length,
                         "--chunks", samples)
        check_perplexity(answer, losses_of(models["base"][1], [(row, 0) for row in data.tolist()]))
        assert answer["ppl"] == pytest.approx(ppl, rel=PPL_MLX)
        assert answer["stderr"] == pytest.approx(error, rel=2 * PPL_MLX)


def divergence_of(base, variant, windows):
    """Per token: KL, losses, whether the best token is the same."""
    kl, loss_base, loss, same = [], [], [], []
    for ids, first in windows:
        p, q = log_softmax(base, ids), log_softmax(variant, ids)
        for j in range(first, len(ids) - 1):
            kl.append(np.sum(np.exp(p[j]) * (p[j] - q[j])))
            loss_base.append(-p[j, ids[j + 1]])
            loss.append(-q[j, ids[j + 1]])
            same.append(p[j].argmax() == q[j].argmax())
    return map(np.array, (kl, loss_base, loss, same))


def check_divergence(answer, base, variant, windows):
    kl, loss_base, loss, same = divergence_of(base, variant, windows)
    n = len(kl)
    assert answer["tokens"] == n
    assert answer["kl_mean"] == pytest.approx(kl.mean(), abs=KL)
    assert answer["kl_stderr"] == pytest.approx(kl.std(ddof=1) / np.sqrt(n), abs=KL)
    for field, fraction in (("kl_median", 0.5), ("kl_p90", 0.9), ("kl_p95", 0.95), ("kl_p99", 0.99)):
        assert answer[field] == pytest.approx(np.quantile(kl, fraction), abs=KL_TOKEN)
    assert answer["kl_max"] == pytest.approx(kl.max(), abs=KL_TOKEN)
    assert answer["top1_agreement"] == pytest.approx(same.mean(), abs=1.5 / n)  # one near-tie
    assert answer["ppl_base"] == pytest.approx(np.exp(loss_base.mean()), rel=PPL)
    assert answer["ppl"] == pytest.approx(np.exp(loss.mean()), rel=PPL)
    ratio = loss - loss_base
    assert answer["ln_ppl_ratio"] == pytest.approx(ratio.mean(), abs=KL)
    assert answer["ln_ppl_ratio_stderr"] == pytest.approx(ratio.std(ddof=1) / np.sqrt(n), abs=KL)
    change = np.exp(-loss) - np.exp(-loss_base)
    assert answer["delta_p"] == pytest.approx(change.mean(), abs=KL)
    rms = np.sqrt(np.mean(change ** 2))
    assert answer["delta_p_rms"] == pytest.approx(rms, abs=KL)
    square = change ** 2
    assert answer["delta_p_rms_stderr"] == pytest.approx(0.5 / rms * square.std(ddof=1) / np.sqrt(n), abs=KL)


@pytest.mark.parametrize("ctx, chunks", [(512, 3), (2048, 1)])
def test_divergence(qx, models, tokenizer, text, tmp_path, ctx, chunks):
    """Without a cache (--together), from states in memory, and from a file: the first against Hugging Face, the others
    against the first, bit for bit."""
    (base_dir, base), (variant_dir, variant) = models["base"], models["q4-hi"]
    command = ["divergence", "-m", variant_dir, "--base", base_dir, "--text", text, "--ctx", ctx, "--chunks", chunks]
    answer = qx.json(*command, "--together")
    ids = tokenizer(text.read_text(encoding="utf-8").removesuffix("\n"))["input_ids"]
    check_divergence(answer, base, variant, llama_cpp_windows(ids, ctx, chunks))
    for more in ([], ["--base-cache", tmp_path / "states"], ["--base-cache", tmp_path / "states"]):
        assert qx.json(*command, *more)["variants"] == answer["variants"]


def test_divergence_on_chat_text(qx, models, tokenizer, conversations):
    (base_dir, base), (variant_dir, variant) = models["base"], models["q4-hi"]
    rows, file, plain = conversations
    ids = [i for row in rows
           for i in tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False)]
    command = ["divergence", "-m", variant_dir, "--base", base_dir, "--ctx", 512, "--chunks", 2]
    answer = qx.json(*command, "--text", file)
    assert answer["text"]["tokens_sha256"] == hash_of(ids)
    assert answer["text"]["chat"]
    check_divergence(answer, base, variant, llama_cpp_windows(ids, 512, 2))
    # Paragraphs of a plain text in pairs are the same conversations.
    same = qx.json(*command, "--text", plain, "--chat")
    assert same["text"]["tokens_sha256"] == hash_of(ids)
    assert same["variants"] == answer["variants"]
