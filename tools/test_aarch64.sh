#!/usr/bin/env bash
# Cross-builds qx for 64-bit ARM and tests it under qemu-user: unit tests; the kernels on three processors, of which each
# can run one table more than the one before; the end-to-end tests; on SmolLM2, the same bytes as this machine's program.
# usage: test_aarch64.sh      needs build/qx and build/tests/e2e_test of this machine (make build)
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=${JOBS:-$(nproc)}
build=build-aarch64
say() { printf '\n-- [%3ds] %s\n' "$SECONDS" "$*"; }

say "build"
root=$(tools/aarch64_sysroot.sh)
cmake --preset aarch64 -DQX_AARCH64_SYSROOT="$root" >/dev/null
unit_tests=(base_test kernels_test machine_test quant_test model_test convert_test)
cmake --build "$build" -j "$jobs" --target qx "${unit_tests[@]}"

# Death tests start their own program again, which qemu-user leaves to the kernel. It accepts every advice about memory and follows none.
export GTEST_FILTER='-*DeathTest.*:PagePrefetchTest.BringsTheRangesIn' GTEST_BRIEF=1
emulated=(qemu-aarch64 -L /usr/aarch64-linux-gnu)
can_run() {  # CPU TABLE: that table can be chosen by name on that processor
  QEMU_CPU=$1 QX_ISA=$2 GTEST_FILTER='Table.*' "${emulated[@]}" "$build/src/kernels/kernels_test" >/dev/null 2>&1
}
say "choice of kernels"
for wanted in 'cortex-a53 neon' 'cortex-a76 neon-dotprod' 'max neon-i8mm'; do
  can_run $wanted || { echo "test_aarch64.sh: $wanted cannot be chosen" >&2; exit 1; }
done
for unwanted in 'cortex-a53 neon-dotprod' 'cortex-a76 neon-i8mm'; do
  ! can_run $unwanted || { echo "test_aarch64.sh: $unwanted can be chosen" >&2; exit 1; }
done

say "unit tests, all kernels"
ctest --test-dir "$build" --output-on-failure -j "$jobs" \
  -R '^(base_test|kernels_test|machine_test|quant_test|model_test|convert_test|kernels_no_shared_symbols)$'
# Each processor runs the tables that it offers; one that used more than it has would end by an illegal instruction.
for cpu in cortex-a53 cortex-a76; do
  say "kernels on $cpu"
  QEMU_CPU=$cpu GTEST_FILTER='IntegerLinear.EveryR*:QuantizeRow.*:Linear.*:Math.*:Attention.*:Logits.*' "${emulated[@]}" \
    "$build/src/kernels/kernels_test"
done
unset GTEST_FILTER

# The program as a file that can be executed like any other.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '#!/bin/sh\nexec qemu-aarch64 -L /usr/aarch64-linux-gnu "%s" "$@"\n' "$PWD/$build/qx" >"$work/qx"
chmod +x "$work/qx"

say "end to end, tiny models"
# Those that are not about evaluating: its thousands of forward passes take minutes here.
TEST_TMPDIR=$work QX_TEST_PROGRAM=$work/qx build/tests/e2e_test \
  --gtest_filter='Cli.*:*Tiny.Plan*:*Tiny.Threads*:*Tiny.Quantized*:*Tiny.Tokenize*'

say "SmolLM2: the same bytes as on this machine"
gguf=$(tools/fetch_smollm2.sh 2>/dev/null) || { echo "SmolLM2 cannot be fetched: left out"; exit 0; }
build/qx import --quiet "$gguf" -o "$work/base" >/dev/null
for recipe in q4-hi qx63-hi; do
  build/qx convert --quiet -m "$work/base" -o "$work/$recipe" --recipe $recipe >/dev/null
done
"$work/qx" convert --quiet -m "$work/base" -o "$work/q4-hi-arm" --recipe q4-hi >/dev/null
cmp "$work/q4-hi/model.safetensors" "$work/q4-hi-arm/model.safetensors"
echo "converted: the same file"

answer() {  # PROGRAM MODEL PRECISION: token ids and log-probabilities
  "$1" generate --quiet -m "$2" --ignore-chat-template -p 'The capital of France is' --max-tokens 5 --precision "$3" \
    --json --logprobs 3 >"$work/out.json"
  python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); print(r["tokens"], r["logprobs"])' "$work/out.json"
}
compare() {  # CPU RECIPE PRECISION
  answer build/qx "$work/$2" "$3" >"$work/here"
  QEMU_CPU=$1 answer "$work/qx" "$work/$2" "$3" >"$work/there"
  cmp "$work/here" "$work/there"
  echo "$2, $3, $1: the same token ids and log-probabilities"
}
for cpu in cortex-a53 cortex-a76 max; do
  for recipe in q4-hi qx63-hi; do
    for precision in exact fast; do compare $cpu $recipe $precision; done
  done
done
compare max q4-hi reference
say "done"
