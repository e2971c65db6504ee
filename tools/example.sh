#!/usr/bin/env bash
# The worked example of the docs: eight variants of SmolLM2-135M-Instruct on 300 real items of each task, with their
# distances and speeds, compared, reported and described. Writes docs/example; nothing in it is edited by hand.
#
# usage: QX_DATA=DIR [QX_TEXT=FILE] example.sh [WORK]        default: ${TMPDIR:-/tmp}/qx-example
#
# QX_DATA: folder of TASK.jsonl (`qx data fetch`). QX_TEXT: text for the divergence, as wikitext-2's test set; without
# it the example says nothing about distances. QX_EXAMPLE_ITEMS (300), QX_EXAMPLE_CHUNKS (20 windows of 512 tokens).
# QX: another program than build/qx. QX_EXAMPLE_DOCS: another folder than docs/example.
# Models and runs stay in WORK: what exists is used again, and an interrupted evaluation goes on where it was.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
qx=${QX:-$root/build/qx}
docs=${QX_EXAMPLE_DOCS:-$root/docs/example}
work=${1:-${TMPDIR:-/tmp}/qx-example}
items=${QX_EXAMPLE_ITEMS:-300}
chunks=${QX_EXAMPLE_CHUNKS:-20}
variants=(q8 q6 q4-hi q4 qx63-hi q3-hi q2-hi)
card_of=q4-hi
[[ -n ${QX_DATA:-} && -d ${QX_DATA:-} ]] || { echo "example.sh: set QX_DATA to a folder of TASK.jsonl: qx data fetch" >&2; exit 2; }
[[ -z ${QX_TEXT:-} || -f $QX_TEXT ]] || { echo "example.sh: QX_TEXT: no such file: $QX_TEXT" >&2; exit 2; }

say() { printf '\n== %s\n' "$*" >&2; }
note() { echo "example.sh: note: $*" >&2; }
has_verb() { "$qx" --help | grep -qE "^  $1 "; }
commands=()
# Prints a command as a person would type it in WORK, keeps it for the page, and runs it.
qx() {
  local shown= argument
  for argument in "$@"; do
    [[ $argument =~ ^[A-Za-z0-9_./=:,-]+$ ]] || argument=${argument@Q}
    shown+=" $argument"
  done
  commands+=("qx$shown")
  say "qx$shown"
  "$qx" "$@"
}

# Paths in the outputs are those of WORK, whatever the data lie in.
mkdir -p "$work/models" "$work/runs"
ln -sfn "$(cd "$QX_DATA" && pwd)" "$work/data"
text=
if [[ -n ${QX_TEXT:-} ]]; then
  text=$(basename "$QX_TEXT")
  ln -sfn "$(realpath "$QX_TEXT")" "$work/$text"
fi
unset QX_DATA
cd "$work"

gguf=$("$root/tools/fetch_smollm2.sh")
ln -sfn "$gguf" "$(basename "$gguf")"
if [[ -d models/bf16 ]]; then
  commands+=("qx import $(basename "$gguf") -o models/bf16")
else
  qx import "$(basename "$gguf")" -o models/bf16
fi
for recipe in "${variants[@]}"; do
  if [[ -d models/$recipe ]]; then
    commands+=("qx convert -m models/bf16 -o models/$recipe --recipe $recipe")
  else
    qx convert -m models/bf16 -o "models/$recipe" --recipe "$recipe"
  fi
done

models=(-m models/bf16)
runs=(runs/bf16)
for recipe in "${variants[@]}"; do
  models+=(-m "models/$recipe")
  runs+=("runs/$recipe")
done
qx eval "${models[@]}" --tasks all --data data --limit "$items" --plain -o runs

if [[ -n $text ]]; then
  missing=()
  for recipe in "${variants[@]}"; do
    [[ -f runs/$recipe/divergence.json ]] || missing+=(-m "models/$recipe")
  done
  divergence=(divergence --base models/bf16 --text "$text" --ctx 512 --chunks "$chunks" -o runs)
  if [[ ${#missing[@]} -gt 0 ]]; then
    "$qx" "${divergence[@]}" "${missing[@]}"
  fi
  commands+=("qx ${divergence[*]} ${models[*]:2}")
else
  note "QX_TEXT is not set: no divergence"
fi

for recipe in bf16 "${variants[@]}"; do
  bench=(bench -m "models/$recipe" -p 512 -n 128 -r 5 -o "runs/$recipe")
  if [[ -f runs/$recipe/bench.json ]]; then
    commands+=("qx ${bench[*]}")
  else
    qx "${bench[@]}"
  fi
done

# Written beside the old pages, which are replaced when all of it is there.
out=$work/out
rm -rf "$out" && mkdir -p "$out"
compare=(compare "${runs[@]}" --baseline bf16)
qx "${compare[@]}" >"$out/compare.txt"
"$qx" "${compare[@]}" --json >"$out/compare.json"
if "$qx" compare --help | tr '\n' ' ' | grep -qE -- '--format [^-]*\bmd\b'; then
  qx "${compare[@]}" --format md -o "$out/compare.md"
else
  note "qx compare has no --format md: compare.md is the text"
  { echo '```'; cat "$out/compare.txt"; echo '```'; } >"$out/compare.md"
fi
if has_verb card; then
  with=()
  for run in "${runs[@]}"; do [[ $run == "runs/$card_of" ]] || with+=("$run"); done
  qx card "runs/$card_of" --with "${with[@]}" --base bf16 --license apache-2.0 --language en \
    --base-model HuggingFaceTB/SmolLM2-135M-Instruct -o "$out/card.md"
  qx card --check "$out/card.md" --runs runs
else
  note "qx has no verb card: no card.md"
fi
if has_verb report; then
  qx report runs -o "$out/report.html" --baseline bf16 --title "SmolLM2-135M-Instruct, eight variants"
  if python3 "$root/tests/browser/screenshots.py" "$out/report.html" "$out/screenshots"; then
    cp "$out/screenshots/light.png" "$out/report.png"
  else
    note "no browser: no report.png"
  fi
  rm -rf "$out/screenshots"
else
  note "qx has no verb report: no report.html"
fi

# The page that holds them together.
{
  cat <<EOF
# Worked example: eight variants of SmolLM2-135M-Instruct
Written by \`make example\` (tools/example.sh) with $("$qx" --version | head -n 1); not edited by hand. $items real items of each
task, plain prompts, no examples. The source is a Q4_1 GGUF restored to bfloat16, so \`bf16\` is the base of this comparison and
not the model as it was published. Speeds are those of the machine named in the report.

EOF
  [[ -f $out/compare.md ]] && echo "- [compare.md](compare.md), [compare.txt](compare.txt): scores, paired differences, verdicts, recommendation by use"
  [[ -f $out/card.md ]] && echo "- [card.md](card.md): the model card of $card_of beside its siblings"
  [[ -f $out/report.html ]] && echo "- [report.html](report.html): the report page; download it, it needs no network"
  printf '\nThe commands, in one folder:\n\n```\n'
  printf '%s\n' "${commands[@]}" | sed "s|$out/||g"
  printf '```\n'
  if [[ -f $out/report.png ]]; then printf '\n![the report page](report.png)\n'; fi
} >"$out/README.md"

# A page of the docs tells nothing about where it was made.
rm "$out/compare.json"
if grep -lF -e "$root" -e "$(realpath data)" -e "$HOME/" "$out"/*.{md,txt,html} 2>/dev/null; then
  echo "example.sh: these files hold a path of this machine" >&2
  exit 1
fi
rm -rf "$docs" && mkdir -p "$docs"
cp "$out"/* "$docs/"
say "docs/example"
ls -l "$docs"
