#!/usr/bin/env bash
# Installs the peers at the versions of tests/parity/requirements.txt into a virtual environment outside the build, and
# prints the path of its Python. Environment: QX_PEERS (the virtual environment, default ~/.cache/qx/peers).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${QX_CACHE:-$HOME/.cache/qx}
venv=${QX_PEERS:-$cache/peers}
stamp=$venv/.qx-requirements
made() { cmp -s "$root/tests/parity/requirements.txt" "$stamp"; }
if ! made; then
  # Two may come at once: the second waits, and finds it made.
  mkdir -p "$(dirname "$venv")"
  exec 9>"$venv.lock"
  ! command -v flock >/dev/null || flock 9
fi
if ! made; then
  echo "Installing the peers into $venv (a few minutes, several GB)" >&2
  python3 -m venv "$venv" >&2
  "$venv/bin/python" -m pip install --quiet --no-compile --requirement "$root/tests/parity/requirements.txt" >&2
  cp "$root/tests/parity/requirements.txt" "$stamp"
fi
echo "$venv/bin/python"
