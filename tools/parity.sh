#!/usr/bin/env bash
# Runs tests/parity with the peers at their pinned versions (tools/peers.sh).
# Environment: QX_PEERS (the virtual environment, default ~/.cache/qx/peers), QX_DATA (real task files), QX_TEXT
# (a text file), QX_EXTRA_TOKENIZERS (folders with a tokenizer.json), QX_TEMPLATES (a folder of chat templates, see
# tests/parity/collect_templates.py), QX_PARITY_STRICT=1 (a skip is a failure), JOBS (files of tests at once, default 1).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=$("$root/tools/peers.sh")
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# A file's tests share models, so each file stays with one process; what takes long uses one thread of the peers.
at_once=()
((${JOBS:-1} > 1)) && at_once=(--numprocesses "$JOBS" --dist loadfile)
exec "$python" -m pytest "$root/tests/parity" -q -rs -p no:cacheprovider "${at_once[@]}" "$@"
