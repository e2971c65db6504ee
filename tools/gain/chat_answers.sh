#!/usr/bin/env bash
# Conversations of one question and the model's own answer, as JSON lines: usage: chat_answers.sh QX MODEL PROMPTS OUT
set -euo pipefail
qx=$1 model=$2 prompts=$3 out=$4
seed=0
while IFS= read -r prompt; do
  seed=$((seed + 1))
  "$qx" generate -m "$model" -p "$prompt" --temp 0.7 --seed "$seed" --max-tokens 300 --json --quiet |
    python3 -c 'import json, sys
answer = json.load(sys.stdin)["text"]
print(json.dumps({"messages": [{"role": "user", "content": sys.argv[1]}, {"role": "assistant", "content": answer}]}))' "$prompt"
done <"$prompts" >"$out.partial"
mv "$out.partial" "$out"
