#!/usr/bin/env bash
# Builds the wheel, installs it into a new virtual environment, and runs python/tests there. Skipped, with a word, where
# pip reaches no package index; with QX_PYTHON_STRICT=1 that is a failure.
# The libraries are those of the folder build, where there are any; QX_PYTHON_SCRATCH=1 builds all of it, as pip install does.
# Environment: QX_PYTHON_BIN (the Python, default python3), QX_BIN (the program, default build/qx).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${QX_PYTHON_BIN:-python3}
build=$root/build-python
venv=$build/venv
export QX_BIN=${QX_BIN:-$root/build/qx} PIP_DISABLE_PIP_VERSION_CHECK=1

rm -rf "$venv" "$build/wheel"
mkdir -p "$build"
"$python" -m venv "$venv"
# Pinned: what a new mypy finds in the package is not for an unrelated change to mend.
if ! "$venv/bin/python" -m pip install --quiet pytest==9.2.0 mypy==2.4.1 >"$build/pip.log" 2>&1; then
  echo "test_python.sh: pip installs nothing here ($(tail -n 1 "$build/pip.log")): the Python package is not tested" >&2
  [[ ${QX_PYTHON_STRICT:-} == 1 ]] && exit 1
  exit 0
fi
options=("-Cbuild-dir=$build/cmake")
if [[ -f $root/build/qx_libraries.cmake && ${QX_PYTHON_SCRATCH:-} != 1 ]]; then
  options=("-Cbuild-dir=$build/cmake-prebuilt" "-Ccmake.define.QX_PREBUILT=$root/build" "-Ccmake.define.QX_MPI=AUTO")
fi
"$venv/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$build/wheel" "${options[@]}" "$root"
wheels=("$build"/wheel/qx-*.whl)
"$venv/bin/python" -m pip install --quiet "${wheels[0]}"
echo "$(basename "${wheels[0]}"), $("$venv/bin/python" --version)"
# Not from the root: what is tested is what was installed.
cd "$build"
exec "$venv/bin/python" -m pytest "$root/python/tests" -q -rs -p no:cacheprovider "$@"
