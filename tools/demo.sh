#!/usr/bin/env bash
# The main job on a real model, start to end: import SmolLM2-135M-Instruct, convert it to two MLX variants, let each
# answer a question, evaluate all three on the shipped tasks, compare. What exists already is used again.
# usage: demo.sh [DIRECTORY]     default: demo/ in the repository
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/demo}
qx=$root/build/qx
unset QX_DATA  # the demo evaluates on the tasks that ship with the program
mkdir -p "$out/models"

say() { printf '\n== %s\n' "$*"; }

say "1. The model: SmolLM2-135M-Instruct (GGUF, Q4_1)"
gguf=$("$root/tools/fetch_smollm2.sh")
echo "$gguf"

base=$out/models/base
say "2. Import it as a Hugging Face directory in bfloat16: $base"
[[ -d $base ]] || "$qx" import "$gguf" -o "$base"
"$qx" inspect "$base"

for recipe in q4-hi qx63-hi; do
  say "3. Convert to $recipe: $out/models/$recipe"
  [[ -d $out/models/$recipe ]] || "$qx" convert -m "$base" -o "$out/models/$recipe" --recipe "$recipe"
  "$qx" inspect "$out/models/$recipe"
done

for recipe in q4-hi qx63-hi; do
  say "4. Ask $recipe: What is the capital of France?"
  "$qx" generate -m "$out/models/$recipe" -p "What is the capital of France?" --max-tokens 40
done

say "5. Evaluate the base and both variants on the seven shipped tasks: $out/runs"
"$qx" eval -m "$base" -m "$out/models/q4-hi" -m "$out/models/qx63-hi" --tasks all -o "$out/runs"

say "6. Compare"
"$qx" compare "$out/runs/base" "$out/runs/q4-hi" "$out/runs/qx63-hi" --baseline base | tee "$out/comparison.txt"
"$qx" compare "$out/runs/base" "$out/runs/q4-hi" "$out/runs/qx63-hi" --baseline base --json >"$out/comparison.json"

say "Where everything lies"
cat <<EOF
models       $out/models/{base,q4-hi,qx63-hi}
answers      $out/runs/*/answers-*.jsonl, results.json, run.json
comparison   $out/comparison.txt, $out/comparison.json
Use your own task files with: qx eval --data DIR; another recipe: qx plan -m $base --recipe qx86-hi
EOF
