# bash completion for qx. Verbs and options are read from the program's own help, so this file never lags behind.
# SPDX-License-Identifier: Apache-2.0
_qx() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W "$(qx --help 2>/dev/null | awk '/^Subcommands:/{on=1;next} on&&/^  [a-z]/{print $1}') --help --version" -- "$cur"))
    return
  fi
  if [[ $verb == data ]]; then
    local words="all arc_challenge arc_easy boolq hellaswag openbookqa piqa winogrande"
    if ((COMP_CWORD == 2)); then
      words="fetch check --help"
    elif [[ $cur == -* ]]; then
      words=$(qx data "${COMP_WORDS[2]}" --help 2>/dev/null | grep -oE '(^| |,)--?[a-z][a-z-]*' | tr -d ' ,' | sort -u)
    elif [[ $prev == --data ]]; then
      COMPREPLY=($(compgen -d -- "$cur"))
      return
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    return
  fi
  case $prev in
    --recipe) COMPREPLY=($(compgen -f -W "q2 q3 q4 q5 q6 q8 q4-hi q6-hi q8-hi qx63 qx63-hi qx64-hi qx65-hi qx86-hi qx64x qx86x-hi mixed_2_6 mixed_3_4 mixed_3_6 mixed_4_6 bf16 f16 f32" -- "$cur")); return ;;
    --tasks) COMPREPLY=($(compgen -W "all arc_challenge arc_easy boolq hellaswag openbookqa piqa winogrande" -- "$cur") $(compgen -f -X '!*.json' -- "$cur")); return ;;
    --fit) COMPREPLY=($(compgen -W "minmax mse gptq distill" -- "$cur")); return ;;
    --symmetric) COMPREPLY=($(compgen -W "none inputs roles" -- "$cur")); return ;;
    --budget) compopt -o nospace 2>/dev/null; COMPREPLY=($(compgen -W "like:" -- "$cur")); return ;;
    --rounding) COMPREPLY=($(compgen -W "cpu gpu" -- "$cur")); return ;;
    --dtype) COMPREPLY=($(compgen -W "bfloat16 float16 float32" -- "$cur")); return ;;
    --random) compopt -o nospace 2>/dev/null; COMPREPLY=($(compgen -S : -W "qwen3-0.6b qwen3-1.7b qwen3-4b qwen3-8b llama-3.2-1b smollm2-135m" -- "$cur")); return ;;
    --convention) COMPREPLY=($(compgen -W "$([[ $verb == eval ]] && echo lm-eval mlx-lm || echo llama.cpp mlx-lm sliding)" -- "$cur")); return ;;
    --text-format) COMPREPLY=($(compgen -W "auto text jsonl" -- "$cur")); return ;;
    --flips) [[ $verb == report ]] || COMPREPLY=($(compgen -W "all arc_challenge arc_easy boolq hellaswag openbookqa piqa winogrande" -- "$cur")); return ;;
    --metric) COMPREPLY=($(compgen -W "default acc acc_norm acc_bytes acc_token" -- "$cur")); return ;;
    --format) COMPREPLY=($(compgen -W "text md json csv html" -- "$cur")); return ;;
    --gate) compopt -o nospace 2>/dev/null; COMPREPLY=($(compgen -W "arc_challenge arc_easy boolq hellaswag openbookqa piqa winogrande average micro_average kl_mean top1_agreement" -- "$cur")); return ;;
    --precision) COMPREPLY=($(compgen -W "reference exact fast" -- "$cur")); return ;;
    --license) COMPREPLY=($(compgen -W "apache-2.0 mit bsd-3-clause gemma llama3.2 cc-by-4.0 cc-by-nc-4.0 other" -- "$cur")); return ;;
    --with | --runs | --draft-model) COMPREPLY=($(compgen -d -- "$cur")); return ;;
    --kv-bits | --base-kv-bits) COMPREPLY=($(compgen -W "32 16 8 4" -- "$cur")); return ;;
    --isa) COMPREPLY=($(compgen -W "scalar avx2 avxvnni avx512 avx512bf16" -- "$cur")); return ;;
  esac
  # The tasks of a run are the names of its answer logs.
  if [[ $verb == show && $COMP_CWORD == 3 && $cur != -* ]]; then
    COMPREPLY=($(compgen -W "$(cd -- "${COMP_WORDS[2]}" 2>/dev/null && ls answers-*.jsonl 2>/dev/null | sed 's/^answers-//; s/\.jsonl$//')" -- "$cur"))
    return
  fi
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$(qx "$verb" --help 2>/dev/null | grep -oE '(^| |,)--?[a-z][a-z-]*' | tr -d ' ,' | sort -u)" -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _qx qx
