"""Tokenizers with their chat templates, under Hugging Face's names."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsIndex, overload

from . import _qx


def token_list(tokens: Iterable[int]) -> list[int]:
    """Token ids of a list, a NumPy array or any other iterable."""
    if hasattr(tokens, "tolist"):
        tokens = tokens.tolist()
    return [int(token) for token in tokens]


def one_token(tokens: SupportsIndex | Iterable[int]) -> int | None:
    """The token id, where this is one rather than several: an int, or a number of NumPy's or another package's."""
    if getattr(tokens, "ndim", 0):  # an array of one number is an array all the same
        return None
    try:
        return operator.index(tokens)  # type: ignore[arg-type]
    except TypeError:
        return None


class Tokenizer:
    """The tokenizer of a model directory. load() makes one; it may be used from any thread."""

    def __init__(self, raw: _qx.Tokenizer):
        self._raw = raw

    def __repr__(self) -> str:
        return f"<qx.Tokenizer of {self.name_or_path}, {self.vocab_size} tokens>"

    @property
    def name_or_path(self) -> str:
        """The model directory."""
        return self._raw.path

    @property
    def vocab_size(self) -> int:
        """The largest token id and 1."""
        return self._raw.vocab_size

    @property
    def bos_token(self) -> str | None:
        return self._raw.bos_token

    @property
    def eos_token(self) -> str | None:
        return self._raw.eos_token

    @property
    def bos_token_id(self) -> int | None:
        return self._raw.bos_token_id

    @property
    def eos_token_id(self) -> int | None:
        return self._raw.eos_token_id

    @property
    def chat_template(self) -> str | None:
        """The source of the chat template; None when the model has none."""
        return self._raw.chat_template

    @property
    def has_thinking(self) -> bool:
        """Whether the vocabulary has the marks between which a model thinks."""
        return self._raw.has_thinking

    @property
    def detokenizer(self) -> Detokenizer:
        """A new one for each text."""
        return Detokenizer(self)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text. Special tokens that occur in it are recognized."""
        return self._raw.encode(text, add_special_tokens)

    def decode(self, token_ids: SupportsIndex | Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of token ids."""
        token = one_token(token_ids)
        ids = token_list(token_ids) if token is None else [token]  # type: ignore[arg-type]
        return self._raw.decode(ids, skip_special_tokens)

    @overload
    def convert_ids_to_tokens(self, ids: SupportsIndex) -> str: ...
    @overload
    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]: ...
    def convert_ids_to_tokens(self, ids: SupportsIndex | Iterable[int]) -> str | list[str]:
        """Tokens as they stand in the vocabulary. IndexError for ids out of range."""
        one = one_token(ids)
        if one is not None:
            return self._raw.token_text(one)
        return [self._raw.token_text(token) for token in token_list(ids)]  # type: ignore[arg-type]

    def convert_tokens_to_ids(self, token: str) -> int | None:
        """The id of a token of the vocabulary, or None."""
        return self._raw.id_of(token)

    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        return_dict: bool = False,
        **variables: Any,
    ) -> Any:
        """The prompt of a conversation: token ids, or with tokenize=False the text.

        variables are further variables of the template, such as enable_thinking=False; like mlx-lm, qx sets
        enable_thinking by whether the model can think. With return_dict the ids are under "input_ids".
        """
        text = self._raw.render_chat(
            [dict(message) for message in conversation],
            None if tools is None else [dict(tool) for tool in tools],
            add_generation_prompt,
            continue_final_message,
            variables,
        )
        if not tokenize:
            return text
        ids = self.encode(text, add_special_tokens=False)
        return {"input_ids": ids, "attention_mask": [1] * len(ids)} if return_dict else ids


class Detokenizer:
    """The text of a growing sequence of tokens, as far as it is certain."""

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = False):
        self._tokenizer, self._skip = tokenizer, skip_special_tokens
        self.reset()

    def reset(self) -> None:
        """Begin another text."""
        self._raw = _qx.Detokenizer(self._tokenizer._raw, self._skip)
        self.text = ""
        self.last_segment = ""
        self.tokens: list[int] = []

    def add_token(self, token: int) -> None:
        """last_segment becomes what this token makes certain."""
        self.tokens.append(token)
        self._show(self._raw.push(token))

    def finalize(self) -> None:
        """last_segment becomes what was held back."""
        self._show(self._raw.finish())

    def _show(self, segment: str) -> None:
        self.last_segment = segment
        self.text += segment
