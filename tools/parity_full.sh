#!/usr/bin/env bash
# The full parity run: lm-eval and mlx_lm.evaluate themselves on SmolLM2 and on its q4-hi, compared with `qx eval`
# choice by choice. Writes tests/parity/full/results.json and the table in docs/parity.md.
#
#   QX_DATA=FOLDER tools/parity_full.sh [SET ..]        all sets, or those named (tests/parity/full/sets.py)
#
# QX_DATA holds the seven TASK.jsonl in the data sets' own schema, 300 rows or more each. The first run takes about 90
# minutes of one core, and continues where it was stopped: every answer of the peers is kept under
# ~/.cache/qx/parity-full by a hash of weights, data, mode and versions. With sets named, results.json stays as it is.
# Environment: QX_DATA; QX_BIN (the program, default build/qx); QX_CACHE; QX_PEERS (tools/peers.sh); JOBS (threads).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
: "${QX_DATA:?names the folder of real task files: QX_DATA=FOLDER make parity-full}"
data=$(cd "$QX_DATA" && pwd)
for task in arc_challenge arc_easy boolq hellaswag openbookqa piqa winogrande; do
  rows=$(wc -l <"$data/$task.jsonl")
  ((rows >= 300)) || { echo "$data/$task.jsonl: got $rows rows, expected 300 or more" >&2; exit 1; }
done
qx=${QX_BIN:-$root/build/qx}
cache=${QX_CACHE:-$HOME/.cache/qx}/parity-full
threads=${JOBS:-$(nproc)}
python=$("$root/tools/peers.sh")

models=$cache/models
mkdir -p "$models"
"$qx" import "$("$root/tools/fetch_smollm2.sh")" -o "$models/smollm2" --force --quiet >/dev/null
"$qx" convert -m "$models/smollm2" -o "$models/q4-hi" --recipe q4-hi --force --quiet >/dev/null
"$qx" convert -m "$models/q4-hi" -o "$models/q4-hi-f32" --recipe f32 --force --quiet >/dev/null

export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
common=(--models "$models" --data "$data" --cache "$cache" --threads "$threads")
"$python" "$root/tests/parity/full/oracle.py" "${common[@]}" "$@"
keep=()
(($#)) || keep=(--results "$root/tests/parity/full/results.json" --page "$root/docs/parity.md")
"$python" "$root/tests/parity/full/compare.py" --qx "$qx" "${common[@]}" "${keep[@]}" "$@"
