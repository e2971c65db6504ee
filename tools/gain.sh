#!/usr/bin/env bash
# The honest gain of a searched plan with fitted codes over the plain recipes of the same bytes, on SmolLM2 with permuted
# channels: calibration on the first 40 % of a text, candidates chosen on the next 20 %, every figure from the last 40 %,
# from chat answers, and from the seven tasks, none of which anything was chosen by. Writes docs/gain.
#
# usage: QX_TEXT=FILE QX_DATA=DIR gain.sh [WORK]           default: ${TMPDIR:-/tmp}/qx-gain
#
# QX_TEXT: wikitext-2's raw test set. QX_DATA: folder of TASK.jsonl. QX_GAIN_ITEMS (300) of each task. QX: another
# program than build/qx. QX_GAIN_DOCS: another folder than docs/gain. QX_GAIN_STEPS: some of "prepare plain search
# distances more tasks tables" (default: all; more: distilled scales, and a search for mse codes). What exists in WORK is used again.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
qx=${QX:-$root/build/qx}
docs=${QX_GAIN_DOCS:-$root/docs/gain}
work=${1:-${TMPDIR:-/tmp}/qx-gain}
items=${QX_GAIN_ITEMS:-300}
steps=${QX_GAIN_STEPS:-prepare plain search distances more tasks tables}
recipes=(q4-hi qx63-hi q3-hi)
[[ -f ${QX_TEXT:-} ]] || { echo "gain.sh: set QX_TEXT to wikitext-2-raw-test.txt" >&2; exit 2; }
[[ -d ${QX_DATA:-} ]] || { echo "gain.sh: set QX_DATA to a folder of TASK.jsonl: qx data fetch" >&2; exit 2; }
data=$(cd "$QX_DATA" && pwd)
text=$(realpath "$QX_TEXT")
unset QX_DATA QX_TEXT
mkdir -p "$work/runs"
ln -sfn "$text" "$work/wiki.txt"
ln -sfn "$data" "$work/data"
cd "$work"

wants() { [[ " $steps " == *" $1 "* ]]; }
# Runs a command unless its output is there; keeps it, and the time it took, for the page.
make_file() {
  local target=$1 start
  shift
  if [[ ! -e $target ]]; then
    printf '\n== qx %s\n' "$*" >&2
    start=$EPOCHREALTIME
    "$qx" "$@"
    python3 -c 'import sys; print(f"{float(sys.argv[2]) - float(sys.argv[1]):.0f} s\tqx", *sys.argv[3:])' \
      "$start" "$EPOCHREALTIME" "$@" >>times.txt
  fi
}
# Measured distances of a text, as JSON.
distances() {
  local target=$1
  shift
  [[ -e $target ]] && return
  printf '\n== qx %s > %s\n' "$*" "$target" >&2
  "$qx" "$@" --json >"$target.partial"
  mv "$target.partial" "$target"
}

if wants prepare; then
  gguf=$("$root/tools/fetch_smollm2.sh")
  make_file base import "$gguf" -o base --permute-channels 1
  make_file calibration calibrate -m base --text wiki.txt --share 0.4 --windows 48 -o calibration
  # From the first line that begins after 60 % of the characters; 20 % lie between it and the calibration.
  [[ -e test.txt ]] || python3 -c 'text = open("wiki.txt", encoding="utf-8").read()
cut = text.index("\n", int(len(text) * 0.6)) + 1
open("test.txt", "w", encoding="utf-8").write(text[cut:])'
  [[ -e tasks.txt ]] || "$root/tools/gain/task_texts.py" data "$items" >tasks.txt
  [[ -e chat.jsonl ]] || "$root/tools/gain/chat_answers.sh" "$qx" base "$root/tools/gain/prompts.txt" chat.jsonl
fi

if wants plain; then
  for recipe in "${recipes[@]}"; do
    make_file "$recipe" convert -m base -o "$recipe" --recipe "$recipe"
    make_file "$recipe-gptq" convert -m base -o "$recipe-gptq" --recipe "$recipe" --fit gptq --calibration calibration
  done
  make_file q4-hi-mse convert -m base -o q4-hi-mse --recipe q4-hi --fit mse --calibration calibration
fi

if wants search; then
  make_file sensitivity.json sensitivity -m base --calibration calibration -o sensitivity.json --validate 60
  for recipe in "${recipes[@]}"; do
    make_file "best-$recipe.json" search -m base --calibration calibration --sensitivity sensitivity.json \
      --budget "like:$recipe" --text wiki.txt --skip 0.4 --share 0.2 -o "best-$recipe.json"
    make_file "best-$recipe" convert -m base -o "best-$recipe" --recipe "best-$recipe.json" --fit gptq \
      --calibration calibration
  done
fi

if wants distances; then
  all=()
  for recipe in "${recipes[@]}"; do all+=(-m "$recipe" -m "$recipe-gptq" -m "best-$recipe"); done
  distances wiki.json divergence "${all[@]}" -m q4-hi-mse --base base --text test.txt --chunks 16 --precision exact --quiet
  # Another domain than the calibration's.
  for domain in chat.jsonl tasks.txt; do
    distances "${domain%%.*}.json" divergence -m q4-hi -m q4-hi-gptq -m best-q4-hi --base base --text "$domain" \
      --chunks 16 --precision exact --quiet
  done
fi

if wants more; then
  for name in q4-hi-gptq best-q4-hi; do
    make_file "$name-distilled" distill -m "$name" --base base --calibration calibration -o "$name-distilled"
  done
  make_file sensitivity-mse.json sensitivity -m base --calibration calibration --fit mse -o sensitivity-mse.json --validate 0
  make_file best-q4-hi-mse.json search -m base --calibration calibration --sensitivity sensitivity-mse.json \
    --budget like:q4-hi -o best-q4-hi-mse.json
  make_file best-q4-hi-mse convert -m base -o best-q4-hi-mse --recipe best-q4-hi-mse.json --fit mse \
    --calibration calibration
  distances wiki-more.json divergence -m q4-hi-gptq-distilled -m best-q4-hi-distilled -m best-q4-hi-mse --base base \
    --text test.txt --chunks 16 --precision exact --quiet
fi

if wants tasks; then
  "$qx" eval -m base -m qx63-hi -m best-qx63-hi --tasks all --data data --limit "$items" --plain -o runs --quiet
  "$qx" compare runs/base runs/qx63-hi runs/best-qx63-hi --baseline base --format md -o compare.md --force
  "$qx" compare runs/base runs/qx63-hi runs/best-qx63-hi --baseline qx63-hi --format md -o compare-plain.md --force
fi

if wants tables; then
  mkdir -p "$docs"
  "$root/tools/gain/tables.py" . >"$docs/README.md"
  for recipe in "${recipes[@]}"; do cp "best-$recipe.json" "$docs/"; done
  if grep -nF -e "$root" -e "$data" -e "$HOME/" -e "$PWD" "$docs"/*; then
    echo "gain.sh: these files hold a path of this machine" >&2
    exit 1
  fi
  echo "$docs/README.md" >&2
fi
