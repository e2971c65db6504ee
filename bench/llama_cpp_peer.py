"""llama.cpp through llama-cpp-python's low-level binding: making files, measuring prompt and generation, scoring.
Shared by the benchmarks of this folder; not a program. build_llama_cpp.sh makes the Python that can import this."""
import ctypes
import json
import math
import pathlib
import time

import gguf
import llama_cpp as L
import numpy as np

FTYPES = {"F16": L.LLAMA_FTYPE_MOSTLY_F16, "Q4_0": L.LLAMA_FTYPE_MOSTLY_Q4_0, "Q4_1": L.LLAMA_FTYPE_MOSTLY_Q4_1,
          "Q4_K_S": L.LLAMA_FTYPE_MOSTLY_Q4_K_S, "Q6_K": L.LLAMA_FTYPE_MOSTLY_Q6_K, "Q8_0": L.LLAMA_FTYPE_MOSTLY_Q8_0}
# Types of which every quantized tensor can be (pure): what a width's name promises, in bytes too.
SEED = 7


@L.llama_log_callback
def _silent(level, text, user_data):
    pass


def quiet():
    L.llama_log_set(_silent, ctypes.c_void_p(0))


def system_info():
    return L.llama_print_system_info().decode().strip()


def is_native():
    """Whether the library was built for this machine: what /proc/cpuinfo offers it must use."""
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    wanted = {"avx512_vnni": "AVX512_VNNI", "avx512_bf16": "AVX512_BF16", "avx2": "AVX2"}
    return all(f"{theirs} = 1" in system_info() for ours, theirs in wanted.items() if ours in flags)


def shape_config(name):
    return json.loads((pathlib.Path(__file__).resolve().parents[1] / f"shapes/{name}.json").read_text())


def shape_tensors(config):
    """(GGUF name, rows, columns) of every matrix, and (name, length) of every norm."""
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head = config.get("head_dim", hidden // heads)
    kv = config["num_key_value_heads"] * head
    yield "token_embd.weight", config["vocab_size"], hidden
    if not config["tie_word_embeddings"]:
        yield "output.weight", config["vocab_size"], hidden
    yield "output_norm.weight", hidden
    for layer in range(config["num_hidden_layers"]):
        for name, rows, cols in (("attn_q", heads * head, hidden), ("attn_k", kv, hidden), ("attn_v", kv, hidden),
                                 ("attn_output", hidden, heads * head), ("ffn_gate", inner, hidden), ("ffn_up", inner, hidden),
                                 ("ffn_down", hidden, inner)):
            yield f"blk.{layer}.{name}.weight", rows, cols
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", hidden
        if config["model_type"] == "qwen3":
            for name in ("attn_q_norm", "attn_k_norm"):
                yield f"blk.{layer}.{name}.weight", head


def write_random_gguf(shape, path):
    """A float16 file of a shape with random weights of normal size and no vocabulary but its size."""
    config = shape_config(shape)
    heads = config["num_attention_heads"]
    head = config.get("head_dim", config["hidden_size"] // heads)
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, config["model_type"])
    writer.add_tokenizer_model("none")
    for add, value in ((writer.add_vocab_size, config["vocab_size"]), (writer.add_context_length, config["max_position_embeddings"]),
                       (writer.add_embedding_length, config["hidden_size"]), (writer.add_block_count, config["num_hidden_layers"]),
                       (writer.add_feed_forward_length, config["intermediate_size"]), (writer.add_head_count, heads),
                       (writer.add_head_count_kv, config["num_key_value_heads"]), (writer.add_key_length, head),
                       (writer.add_value_length, head), (writer.add_rope_dimension_count, head),
                       (writer.add_rope_freq_base, config["rope_theta"]), (writer.add_layer_norm_rms_eps, config["rms_norm_eps"])):
        add(value)
    # One block of random numbers serves all matrices: speed does not depend on values, and 10^9 of them take minutes.
    block = np.random.default_rng(SEED).standard_normal(1 << 24, dtype=np.float32)
    for name, *size in shape_tensors(config):
        if len(size) == 1:
            writer.add_tensor(name, np.ones(size, np.float32))
            continue
        rows, cols = size
        values = (block / math.sqrt(cols)).astype(np.float16)
        repeats = -(-rows * cols // values.size)
        writer.add_tensor(name, np.tile(values, repeats)[:rows * cols].reshape(rows, cols))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(path)


def quantize(source, target, type_name, threads):
    """llama.cpp's own quantization, every tensor of the one type where its row length allows."""
    params = L.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.pure, params.allow_requantize = FTYPES[type_name], threads, True, True
    partial = target.with_suffix(".partial")
    if L.llama_model_quantize(str(source).encode(), str(partial).encode(), ctypes.byref(params)) != 0:
        raise SystemExit(f"llama.cpp cannot quantize {source} to {type_name}")
    partial.rename(target)


def bytes_per_token(path):
    """Weight bytes that one token reads: every matrix; of an embedding beside an output matrix only one row."""
    tensors = {t.name: t for t in gguf.GGUFReader(path).tensors if len(t.shape) == 2 and min(t.shape) > 1}
    total = sum(int(t.n_bytes) for t in tensors.values())
    embedding = tensors["token_embd.weight"]
    row = int(embedding.n_bytes) // int(embedding.shape[1])
    return total + row if "output.weight" not in tensors else total - int(embedding.n_bytes) + row


class Session:
    """One model and one context on the CPU."""

    def __init__(self, path, threads, context, batch=512, sequences=1, outputs_for_all=False):
        params = L.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = L.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        options = L.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch, options.n_seq_max = context, batch, batch, sequences
        options.n_threads = options.n_threads_batch = threads
        options.no_perf, options.kv_unified = True, True
        self.context = L.llama_init_from_model(self.model, options)
        if not self.context:
            raise SystemExit(f"llama.cpp cannot make a context for {path}")
        self.memory = L.llama_get_memory(self.context)
        self.vocab = L.llama_model_get_vocab(self.model)
        self.vocab_size = L.llama_vocab_n_tokens(self.vocab)

    def decode_last(self, tokens):
        """Appends tokens to sequence 0 and returns when the last one's logits are there."""
        array = (L.llama_token * len(tokens))(*tokens)
        if L.llama_decode(self.context, L.llama_batch_get_one(array, len(tokens))) != 0:
            raise SystemExit("llama_decode failed")
        L.llama_get_logits(self.context)

    def clear(self):
        L.llama_memory_clear(self.memory, True)

    def close(self):
        L.llama_free(self.context)
        L.llama_model_free(self.model)


def measure(path, threads, prompt, generate, depth, repeats):
    """Seconds of prompt and generation, the same work as `qx bench` does."""
    begin = time.perf_counter()
    session = Session(path, threads, max(prompt, depth + generate) + 8)
    load = time.perf_counter() - begin
    rng = np.random.default_rng(1)
    tokens = [int(t) for t in rng.integers(0, session.vocab_size, max(prompt, depth + generate) + 1)]
    times = {"prompt": [], "generate": []}
    for repeat in range(repeats + 1):  # the first one does not count
        session.clear()
        if prompt:
            begin = time.perf_counter()
            session.decode_last(tokens[:prompt])
            times["prompt"].append(time.perf_counter() - begin)
        session.clear()
        if depth:
            session.decode_last(tokens[:depth])
        steps = generate if repeat else min(generate, 4)
        begin = time.perf_counter()
        for i in range(steps):
            session.decode_last(tokens[depth + i:depth + i + 1])
        times["generate"].append(time.perf_counter() - begin)
    session.close()
    return {"load_s": load, "prompt_s": times["prompt"][1:], "generate_s": times["generate"][1:]}
