"""Stage 1 of the full parity run: what the real packages answer, request by request, kept in the cache folder.

    python oracle.py --models DIR --data DIR --cache DIR [--threads N] [SET ..]

A set is a model, a mode and items (sets.py). Its folder under the cache is named by a hash of all it depends on: the
weights, the tokenizer, the data, the mode and the packages' versions. A stopped run continues; a finished set is read.
"""
import argparse
import json
import os
import pathlib
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import sets  # noqa: E402


def run_set(spec, args):
    folder = sets.folder_of(spec, args.cache, args.models, args.data)
    done = folder / "done.json"
    if done.exists():
        print(f"{spec.name}: kept in {folder}")
        return
    import torch
    from lm_eval import simple_evaluate

    import lm

    torch.set_num_threads(args.threads)
    folder.mkdir(parents=True, exist_ok=True)
    sets.write_data(spec, args.data, folder / "data")
    lm.use_local_data(folder / "data")
    store = lm.Store(folder / "requests.jsonl")
    begin, before = time.time(), len(store.rows)
    directory = args.models / sets.PEER_MODELS[spec.model]
    engines = {"hflm": lm.StoredHflm, "cached": lm.CachedHflm, "mlx": lm.stored_mlxlm}
    peer = engines[spec.engine](directory, store)
    options = dict(apply_chat_template=True, fewshot_as_multiturn=spec.multiturn) if spec.chat else {}
    result = simple_evaluate(model=peer, tasks=lm.TASKS, limit=spec.items, bootstrap_iters=1, log_samples=True,
                             num_fewshot=spec.shots or None, fewshot_random_seed=spec.seed, **options)
    with (folder / "samples.jsonl").open("w") as out:
        for task in lm.TASKS:
            for row in sorted(result["samples"][task], key=lambda row: row["doc_id"]):
                kept = {"task": task, "index": row["doc_id"], "doc_hash": row["doc_hash"],
                        "requests": [list(a) for a in row["arguments"]],
                        "ll": [float(r[0][0]) for r in row["resps"]]}
                kept |= {m: float(row[m]) for m in ("acc", "acc_norm", "acc_bytes")}
                out.write(json.dumps(kept) + "\n")
    record = {"set": spec.name, "depends_on": sets.identity(spec, args.models, args.data),
              "results": {t: {k: v for k, v in result["results"][t].items() if "," in k} for t in lm.TASKS},
              "requests": len(store.rows)}
    temporary = folder / "done.json.part"
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.rename(done)
    print(f"{spec.name}: {len(store.rows) - before} requests in {time.time() - begin:.0f} s, {folder}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("sets", nargs="*", metavar="SET", default=[])
    args = parser.parse_args()
    import lm

    lm.use_all_metrics()
    for name in args.sets or sets.SETS:
        run_set(sets.SETS[name], args)


if __name__ == "__main__":
    main()
