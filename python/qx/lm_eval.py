"""A model class for lm-eval (lm-evaluation-harness), so that the harness itself runs on qx.

On the command line, with all options of lm_eval:

    python -m qx.lm_eval --model qx --model_args pretrained=models/q4-hi --tasks arc_easy

lm-eval knows models by a list of its own and looks for no others, so this module registers the class "qx" and then runs
lm_eval's command. In Python, importing it is enough:

    import lm_eval, qx.lm_eval
    lm_eval.simple_evaluate("qx", "pretrained=models/q4-hi", tasks=["arc_easy"])
"""

from __future__ import annotations

import copy
import logging
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from . import _qx
from .generation import generate
from .models import load
from .scoring import score

_log = logging.getLogger(__name__)

_WINDOW = 512  # requests that are scored together
_IGNORED = ("batch_size", "max_batch_size", "device", "trust_remote_code")


@register_model("qx")
class QxLM(TemplateLM):
    """pretrained: a model directory. precision, kv_bits, threads, allow_swap: those of qx.load(). max_length: tokens that
    the model reads at most (default: its context). max_gen_toks: of an answer, where a task names no number.
    add_bos_token: whether texts get the tokenizer's special tokens (default: as the tokenizer does it).
    enable_thinking and chat_template_args: variables of the chat template. think_end_token: what ends the thinking that
    is cut from answers. batch_size and device are accepted and mean nothing: qx packs requests itself.
    """

    backend = "causal"

    def __init__(
        self,
        pretrained: str,
        precision: str = "exact",
        kv_bits: int = 32,
        threads: int | None = None,
        allow_swap: bool = False,
        max_length: int | None = None,
        max_gen_toks: int = 256,
        add_bos_token: bool | None = None,
        enable_thinking: bool | None = None,
        chat_template_args: dict[str, Any] | None = None,
        think_end_token: str | None = None,
        **other: Any,
    ):
        super().__init__()
        unknown = sorted(set(other) - set(_IGNORED))
        if unknown:
            raise ValueError(f"model_args: got {', '.join(unknown)}, which the model qx does not know")
        self.model, self.tokenizer = load(
            pretrained, precision=precision, kv_bits=kv_bits, threads=threads, allow_swap=allow_swap
        )
        if max_length is not None and not 1 <= max_length <= self.model.context:
            raise ValueError(f"max_length: got {max_length}, expected 1 to the model's {self.model.context}")
        self._max_length = max_length or self.model.context
        self._max_gen_toks = max_gen_toks
        self._add_bos_token = add_bos_token
        self._think_end_token = think_end_token
        self._template_args = dict(chat_template_args or {})
        if enable_thinking is not None:
            self._template_args["enable_thinking"] = enable_thinking

    @property
    def eot_token_id(self) -> int:
        eos = self.tokenizer.eos_token_id
        if eos is None:
            raise ValueError(f"{self.tokenizer.name_or_path}: the tokenizer has no EOS token")
        return eos

    @property
    def prefix_token_id(self) -> int:
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    @property
    def max_length(self) -> int:
        return self._max_length

    @property
    def max_gen_toks(self) -> int:
        return self._max_gen_toks

    @property
    def batch_size(self) -> int:
        return 1

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name_or_path.replace("/", "__")

    def get_model_info(self) -> dict[str, Any]:
        """What the harness puts into its results file."""
        return {
            "qx_version": _qx.__version__,
            "qx_commit": _qx.commit,
            "qx_kernels": _qx.kernels(),
            "qx_precision": self.model.precision,
            "qx_kv_bits": self.model.kv_bits,
        }

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        if add_special_tokens is None:
            prefix = self.tokenizer.decode([self.prefix_token_id])
            begun = bool(prefix) and string.startswith(prefix)
            add_special_tokens = False if begun else self._add_bos_token is not False
        return self.tokenizer.encode(string, add_special_tokens=add_special_tokens)

    def tok_decode(self, tokens: int | list[int], skip_special_tokens: bool = True) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        def render(messages: list[dict[str, str]]) -> str:
            return self.tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
                **self._template_args,
            )

        try:
            return render(chat_history)
        except _qx.Error:
            if all(message["role"] != "system" for message in chat_history):
                raise
            # As lm-eval does it for templates that know no system role.
            _log.warning("the chat template failed; it is applied again without the system message")
            return render([message for message in chat_history if message["role"] != "system"])

    def _cut(self, context: list[int], continuation: list[int]) -> tuple[list[int], list[int]]:
        """lm-eval's rule: the model reads max_length tokens, the last of which it does not."""
        if not continuation:
            raise ValueError("got a continuation without tokens, expected at least one")
        if len(continuation) > self.max_length:
            raise ValueError(
                f"got a continuation of {len(continuation)} tokens, expected at most max_length {self.max_length}"
            )
        surplus = len(context) + len(continuation) - (self.max_length + 1)
        return (context[surplus:] if surplus > 0 else context), continuation

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        # In the order of their tokens, so that contexts that share a beginning are computed together.
        order = sorted(range(len(requests)), key=lambda i: requests[i][1] + requests[i][2])
        results: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        with tqdm(total=len(requests), desc="Running loglikelihood requests", disable=disable_tqdm) as bar:
            for begin in range(0, len(order), _WINDOW):
                window = order[begin : begin + _WINDOW]
                scores = score(self.model, self.tokenizer, [self._cut(*requests[i][1:]) for i in window])
                for i, logprob, greedy in zip(window, scores.logprobs.tolist(), scores.greedy.tolist(), strict=True):
                    results[i] = (logprob, greedy)
                    if requests[i][0] is not None:
                        self.cache_hook.add_partial("loglikelihood", requests[i][0], results[i])
                bar.update(len(window))
        return results

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        windows: list[tuple[None, list[int], list[int]]] = []
        owners: list[int] = []
        for owner, request in enumerate(requests):
            (text,) = request.args
            for window in get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            ):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(owner)
        totals = [0.0] * len(requests)
        scores = self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm)
        for owner, (logprob, _) in zip(owners, scores, strict=True):
            totals[owner] += logprob
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        eos = self.tok_decode([self.eot_token_id], skip_special_tokens=False)
        texts = []
        for request in tqdm(requests, desc="Running generate_until requests", disable=disable_tqdm):
            context, given = request.args
            kwargs = dict(normalize_gen_kwargs(copy.deepcopy(given), self.max_gen_toks))
            until = handle_stop_sequences(kwargs.pop("until", None), eos=eos)
            max_tokens = kwargs.pop("max_gen_toks")
            room = self.max_length - max_tokens
            if room <= 0:
                raise ValueError(f"max_gen_toks: got {max_tokens}, expected less than max_length {self.max_length}")
            settings = _sampling(kwargs)
            # Where thinking is cut away, a stop text within it ends nothing.
            stop = [] if self._think_end_token else [text for text in until if text and text != eos]
            text = generate(
                self.model,
                self.tokenizer,
                self.tok_encode(context)[-room:],
                max_tokens=max_tokens,
                stop=stop,
                skip_special_tokens=True,
                **settings,
            )
            text = postprocess_generated_text(text, stop=until, think_end_token=self._think_end_token)
            self.cache_hook.add_partial("generate_until", request.args, text)
            texts.append(text)
        return texts


def _sampling(kwargs: dict[str, Any]) -> dict[str, Any]:
    """qx's settings of Hugging Face's names. Without do_sample the best token is taken."""
    names = {"temperature": "temp", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed",
             "repetition_penalty": "repetition_penalty"}  # fmt: skip
    sampled = kwargs.pop("do_sample", False)
    unknown = sorted(set(kwargs) - set(names))
    if unknown:
        raise ValueError(f"generation settings: got {', '.join(unknown)}, which the model qx does not know")
    settings = {names[name]: value for name, value in kwargs.items() if value is not None}
    if not sampled:
        settings["temp"] = 0.0
    return settings


def main() -> None:
    """lm_eval's command, with the model qx."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
