#!/usr/bin/env bash
# Installs the peers at pinned versions into a virtual environment outside the build, and runs tests/parity.
# Environment: QX_PEERS (the virtual environment, default ~/.cache/qx/peers), QX_DATA (real task files), QX_TEXT
# (a text file), QX_EXTRA_TOKENIZERS (folders with a tokenizer.json), QX_PARITY_STRICT=1 (a skip is a failure).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${QX_CACHE:-$HOME/.cache/qx}
venv=${QX_PEERS:-$cache/peers}
stamp=$venv/.qx-requirements
if ! cmp -s "$root/tests/parity/requirements.txt" "$stamp"; then
  echo "Installing the peers into $venv (a few minutes, several GB)"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --requirement "$root/tests/parity/requirements.txt"
  cp "$root/tests/parity/requirements.txt" "$stamp"
fi
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec "$venv/bin/python" -m pytest "$root/tests/parity" -q -rs -p no:cacheprovider "$@"
