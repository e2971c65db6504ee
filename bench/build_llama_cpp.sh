#!/usr/bin/env bash
# Builds llama-cpp-python for exactly this machine (its own CMake flags, GGML_NATIVE) from its PyPI source package, with
# its server's packages and gguf beside it, in a virtual environment of its own, and prints the path of that Python.
# usage: build_llama_cpp.sh [DIRECTORY]     default: ${QX_CACHE:-$HOME/.cache/qx}/llama      takes about ten minutes
set -euo pipefail

target=${1:-${QX_CACHE:-$HOME/.cache/qx}/llama}
python=$target/bin/python
if ! "$python" -c 'import llama_cpp, gguf, uvicorn' 2>/dev/null; then
  python3 -m venv "$target" >&2
  export CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_OPENMP=ON ${CMAKE_ARGS:-}"
  "$target/bin/pip" install --quiet gguf >&2
  "$target/bin/pip" install --quiet --no-binary llama-cpp-python "llama-cpp-python[server]==${LLAMA_CPP_PYTHON_VERSION:-0.3.36}" >&2
fi
echo "$python"
