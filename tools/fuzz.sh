#!/usr/bin/env bash
# Runs every libFuzzer target for some seconds on a copy of its kept corpus; a crash or a leak fails. A failing input
# stays, and is printed in base64. With FUZZ_RUNS each does that many runs of a fixed seed instead, as repeatable as
# libFuzzer makes it, within SECONDS. One input that takes 20 seconds is a finding; with FUZZ_RUNS, where the machine's load
# is not to decide, five minutes, which is for ever all the same.
# usage: [FUZZ_RUNS=N] fuzz.sh SECONDS
set -euo pipefail

seconds=${1:?seconds}
export FUZZ_RUNS=${FUZZ_RUNS:-}
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
cmake --preset fuzz >/dev/null
targets=$(for f in fuzz/*_fuzz.cpp; do basename "$f" .cpp; done)
# shellcheck disable=SC2086
cmake --build build-fuzz -j "${JOBS:-$(nproc)}" --target $targets

run_one() {
  local target=$1 name=$2 seconds=$3 work slow=20
  [[ -n $FUZZ_RUNS ]] && slow=300
  work=$(mktemp -d)
  cp -r "fuzz/corpus/$name" "$work/corpus" 2>/dev/null || mkdir "$work/corpus"
  if "$target" -max_total_time="$seconds" ${FUZZ_RUNS:+-runs=$FUZZ_RUNS -seed=1} -rss_limit_mb=2048 \
      -timeout="$slow" -artifact_prefix="$work/" -print_final_stats=1 "$work/corpus" >"$work/log" 2>&1; then
    echo "fuzz $name: $(grep -oE 'number_of_executed_units: [0-9]+' "$work/log")${FUZZ_RUNS:+ of seed 1}, no findings"
    rm -rf "$work"
  else
    tail -n 40 "$work/log"
    echo "fuzz $name: FAILED, the input lies in $work"
    for input in "$work"/{crash,leak,oom,slow-unit,timeout}-*; do
      [[ -f $input ]] && { echo "$(basename "$input"):" && base64 -w 0 "$input" && echo; }
    done
    return 1
  fi
}
export -f run_one

find build-fuzz/fuzz -maxdepth 1 -name '*_fuzz' -type f | sort |
  xargs -P "$(nproc)" -I{} bash -c 'run_one "$1" "$(basename "$1" _fuzz)" "$2"' _ {} "$seconds"
