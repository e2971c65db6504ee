#!/usr/bin/env python3
"""mlx-lm's own ways to a better quantization (gptq, dynamic_quant, awq, dwq) on the same model, calibration text and bytes as qx's, judged by
`qx divergence` on text that none of them saw.

Every run is the peer's own main() with its own defaults except for what RUNS says. What is changed around it, and why:
- its load_data gives the windows that `qx calibrate --share 0.4 --windows 48` reads: the first 40 % of the text's tokens, 48 windows of
  512 at even distances. (The peers fetch texts of their own from the network.)
- it runs on a float32 copy of the model and the result is rounded to bfloat16: without a GPU mlx multiplies bfloat16 14 times slower.
- dwq, awq: quantized_matmul is replaced by a product with the dequantized matrix (the same function): mlx's own takes 30 times as long here.
- batches of one window in place of several, for memory; sums over windows are the same.
mlx's wheel for Linux multiplies with the reference BLAS, on one thread, 20 times slower than OpenBLAS; if the library is found
(Debian: libopenblas0-pthread), it is put before it with LD_PRELOAD.

usage: peers_quant.py --qx build/qx --base DIR --text wikitext-2-raw-test.txt --work DIR [--only gptq-4-32,..] [--threads 2]
       [--record FILE.json]      makes what is missing in --work (a run that was cut off starts again), then measures and prints a table
       peers_quant.py .. --measure-only                                                          prints what there is

The Python that runs this needs mlx-lm, mlx[cpu] and tokenizers (tests/parity/requirements.txt).
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time

SHARE, WINDOWS, CTX = 0.4, 48, 512
OPENBLAS = ["/usr/lib/x86_64-linux-gnu/libopenblas.so.0", "/usr/lib/aarch64-linux-gnu/libopenblas.so.0"]

# name: (method, arguments of its main, plain recipe whose bytes must not be exceeded, what it is built on)
RUNS = {
    "dynamic-sensitivities": ("dynamic_quant", ["--target-bpw", "5.0"], None, "float32"),
    "dynamic-q4-hi": ("dynamic_quant", ["--target-bpw", "4.97"], "q4-hi", "dynamic-sensitivities"),
    "dynamic-qx63-hi": ("dynamic_quant", ["--target-bpw", "4.805"], "qx63-hi", "dynamic-sensitivities"),
    "gptq-4-32": ("gptq", ["--bits", "4", "--group-size", "32", "--fallback-bits", "4", "--fallback-group-size", "32"], "q4-hi", "float32"),
    "gptq-default": ("gptq", [], "q4-hi", "float32"),
    "gptq-4-64-5-64": ("gptq", ["--fallback-bits", "5"], "qx63-hi", "float32"),
    "awq-4-32": ("awq", ["--bits", "4", "--group-size", "32", "--n-grid", "10", "--num-samples", "16"], "q4-hi", "float32"),
    "dwq-4-32": ("dwq", ["--bits", "4", "--group-size", "32", "--batch-size", "1", "--learning-rate", "1e-5", "--num-samples", "48",
                         "--max-seq-length", "513"], "q4-hi", "float32"),
    "dwq-dynamic-qx63-hi": ("dwq", ["--batch-size", "1", "--learning-rate", "1e-5", "--num-samples", "48", "--max-seq-length", "513"],
                            "qx63-hi", "dynamic-qx63-hi"),
    "awq-4-64-5-64": ("awq", ["--bits", "4", "--group-size", "64", "--embed-bits", "5", "--embed-group-size", "64", "--n-grid", "10",
                              "--num-samples", "16"], "qx63-hi", "float32"),
}
PLAIN = ["q4-hi", "qx63-hi", "q3-hi", "mixed_3_6"]


def even_windows(count, length, first_share, last_share, text, base):
    """`count` windows of `length` tokens, as choose_windows in src/calibrate/calibrate.cpp takes them."""
    import tokenizers

    ids = tokenizers.Tokenizer.from_file(str(base / "tokenizer.json")).encode(text.read_text(), add_special_tokens=False).ids
    first, last = int(len(ids) * first_share), int(len(ids) * last_share)
    whole = (last - first) // CTX
    taken = min(count, whole)
    begins = [first + i * whole // taken * CTX for i in range(taken)]
    return [ids[b:b + length] for b in begins]


def matmul_with_dequantized():
    """Replaces mlx's quantized_matmul by the same function on the dequantized matrix, differentiable in scales and biases."""
    import mlx.core as mx

    codes_of = {}

    def product(x, w, /, scales, biases, transpose=True, group_size=64, bits=4, mode="affine", **_):
        assert transpose and mode == "affine"
        if id(w) not in codes_of:
            one = mx.ones(scales.shape, dtype=mx.float32)
            codes = mx.dequantize(w, scales=one, biases=mx.zeros_like(one), group_size=group_size, bits=bits)
            mx.eval(codes)
            codes_of[id(w)] = (w, codes.reshape(*scales.shape, group_size))  # w is kept, so that its id stays its own
        codes = codes_of[id(w)][1]
        matrix = codes * scales[..., None].astype(mx.float32) + biases[..., None].astype(mx.float32)
        return x @ matrix.reshape(matrix.shape[0], -1).T

    mx.quantized_matmul = product


def round_to_bfloat16(directory):
    """All floating tensors of an mlx directory become bfloat16 (codes stay)."""
    import mlx.core as mx

    for file in sorted(directory.glob("*.safetensors")):
        tensors = {k: v.astype(mx.bfloat16) if v.dtype == mx.float32 else v for k, v in mx.load(str(file)).items()}
        mx.eval(tensors)
        mx.save_safetensors(str(file) + ".new.safetensors", tensors, metadata={"format": "mlx"})
        os.replace(str(file) + ".new.safetensors", file)
    config = json.loads((directory / "config.json").read_text())
    config["torch_dtype"] = "bfloat16"
    config.pop("dtype", None)
    (directory / "config.json").write_text(json.dumps(config, indent=1))


def run_one(name, args):
    """One peer, in this process."""
    import functools
    import importlib

    import mlx.core as mx

    method, options, _, origin = RUNS[name]
    module = importlib.import_module(f"mlx_lm.quant.{method}")
    target = args.work / name
    argv = [f"mlx_lm.{method}", "--model", str(args.work / "float32"), "--mlx-path", str(target)] + options

    def windows(_tokenizer, num_samples=-1, sequence_length=CTX):
        count = WINDOWS if num_samples < 0 else min(num_samples, WINDOWS)
        return mx.array(even_windows(count, sequence_length, 0, SHARE, args.text, args.base))

    module.load_data = windows
    if method == "gptq":
        module.gptq_quantize = functools.partial(module.gptq_quantize, batch_size=1)
    elif method == "dynamic_quant":
        module.estimate_sensitivities = functools.partial(module.estimate_sensitivities, batch_size=1)
        if origin == "dynamic-sensitivities":  # no forward pass is needed any more, and bits a weight are those of bfloat16 scales
            argv[2] = str(args.base)
            argv += ["--sensitivities", str(next((args.work / origin).glob("*_sensitivities.json")))]
        else:
            target.mkdir(parents=True, exist_ok=True)
            os.chdir(target)  # the file of sensitivities is written to the current directory
    elif method == "dwq":
        # Validation windows come from the 20 % after the calibration part.
        module.load_data = lambda _t, _path, count, length: tuple(
            [(w, 0) for w in even_windows(n, length, a, b, args.text, args.base)] for n, a, b in ((count, 0, SHARE), (4, SHARE, 0.6)))
        module.dwq_quantize = functools.partial(module.dwq_quantize, dtype=mx.float32)
        matmul_with_dequantized()
        if origin != "float32":
            argv += ["--quantized-model", str(args.work / (origin + "-f32"))]
    elif method == "awq":
        matmul_with_dequantized()
    sys.argv = argv
    module.main()
    round_to_bfloat16(target)


def float32_copy_of_quantized(source, target):
    """The scales, biases and norms of a quantized directory in float32, for dwq."""
    import mlx.core as mx

    shutil.copytree(source, target, dirs_exist_ok=True)
    for file in target.glob("*.safetensors"):
        tensors = {k: v.astype(mx.float32) if v.dtype == mx.bfloat16 else v for k, v in mx.load(str(file)).items()}
        mx.eval(tensors)
        mx.save_safetensors(str(file) + ".new.safetensors", tensors, metadata={"format": "mlx"})
        os.replace(str(file) + ".new.safetensors", file)


def make(name, args):
    """Runs one peer in a process of its own; its record is WORK/NAME.json, written when it has finished."""
    record = args.work / f"{name}.json"
    if record.exists() and json.loads(record.read_text())["rc"] == 0:
        return
    origin = RUNS[name][3]
    if origin != "float32" and not (args.work / f"{origin}.json").exists():
        make(origin, args)
    if RUNS[name][0] == "dwq" and origin != "float32" and not (args.work / (origin + "-f32")).exists():
        float32_copy_of_quantized(args.work / origin, args.work / (origin + "-f32"))
    env = dict(os.environ, OPENBLAS_NUM_THREADS=str(args.threads), TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    blas = next((p for p in OPENBLAS if os.path.exists(p)), None)
    if blas:
        env["LD_PRELOAD"] = blas
    command = [sys.executable, __file__, "--one", name, "--base", str(args.base), "--text", str(args.text), "--work", str(args.work), "--qx", args.qx]
    print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
    begin, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(args.work / f"{name}.log", "w") as log:
        rc = subprocess.run(command, env=env, stdout=log, stderr=subprocess.STDOUT).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    record.write_text(json.dumps({
        "name": name, "method": f"mlx_lm.{RUNS[name][0]}", "options": RUNS[name][1], "rc": rc, "wall_s": round(time.time() - begin),
        "cpu_s": round(cpu), "blas": "OpenBLAS" if blas else "reference", "date": time.strftime("%Y-%m-%d")}))
    print(f"{time.strftime('%H:%M:%S')} {name}: rc {rc}, {time.time() - begin:.0f} s, {cpu:.0f} s of processor time", flush=True)


def test_text(args):
    """The text from the first line that begins after 60 % of its characters."""
    path = args.work / "test.txt"
    text = args.text.read_text()
    path.write_text(text[text.index("\n", int(0.6 * len(text))) + 1:])
    return path


def tensor_bytes(directory):
    total = 0
    for file in directory.glob("*.safetensors"):
        with open(file, "rb") as f:
            header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        total += sum(v["data_offsets"][1] - v["data_offsets"][0] for k, v in header.items() if k != "__metadata__")
    return total


def measure(names, args):
    text = test_text(args)
    for plain in PLAIN:
        if not (args.work / plain).exists():
            subprocess.run([args.qx, "convert", "-m", str(args.base), "-o", str(args.work / plain), "--recipe", plain], check=True, stdout=sys.stderr)
    rows = {}
    for name in PLAIN + names:
        finished = args.work / f"{name}.json"
        if name not in PLAIN and not (finished.exists() and json.loads(finished.read_text())["rc"] == 0):
            continue
        cached = args.work / f"{name}.divergence.json"
        if not cached.exists():
            command = [args.qx, "divergence", "-m", f"{name}={args.work / name}", "--base", str(args.base), "--text", str(text), "--chunks", "16",
                       "--base-cache", str(args.work / "base.states"), "--precision", "reference", "--json", "--worst", "5000", "--quiet",
                       "--threads", str(args.threads)]
            cached.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        d = json.loads(cached.read_text())
        rows[name] = {k: d[k] for k in ("kl_mean", "kl_stderr_windows", "top1_agreement", "ppl", "ppl_base")}
        rows[name]["bytes"] = tensor_bytes(args.work / name)
        if name not in PLAIN:
            rows[name].update(json.loads(finished.read_text()))
            rows[name]["budget_of"] = RUNS[name][2]
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qx", default="build/qx")
    parser.add_argument("--base", type=pathlib.Path, required=True)
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--only", help="names of runs, separated by commas; else all: " + " ".join(RUNS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--record", type=pathlib.Path)
    parser.add_argument("--make-only", action="store_true")
    parser.add_argument("--measure-only", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.base, args.text, args.work = args.base.resolve(), args.text.resolve(), args.work.resolve()
    args.qx = str(pathlib.Path(args.qx).resolve())
    if args.one:
        return run_one(args.one, args)
    args.work.mkdir(parents=True, exist_ok=True)
    if not (args.work / "float32").exists():
        subprocess.run([args.qx, "convert", "-m", str(args.base), "-o", str(args.work / "float32"), "--recipe", "f32"], check=True, stdout=sys.stderr)
    names = args.only.split(",") if args.only else list(RUNS)
    if not args.measure_only:
        for name in names:
            make(name, args)
    if args.make_only:
        return
    rows = measure([n for n in names if RUNS[n][2]], args)
    for name, r in rows.items():
        print(f"| {name} | {r['bytes'] / 1e6:.2f} | {r['kl_mean']:.4f} ± {r['kl_stderr_windows']:.4f} | {100 * r['top1_agreement']:.1f} % | {r['ppl']:.2f} |"
              f" {r.get('cpu_s', 0) / 60:.1f} |")
    if args.record:
        args.record.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
