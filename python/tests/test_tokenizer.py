import numpy as np
import pytest

import qx


def test_texts_become_ids_and_back(loaded):
    _, tokenizer = loaded
    text = "Grüße, 世界 😀\n"
    ids = tokenizer.encode(text)
    assert all(isinstance(i, int) for i in ids)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("a<|im_end|>")[-1] == tokenizer.eos_token_id == 258
    assert tokenizer.decode([97, 258], skip_special_tokens=True) == tokenizer.decode([97])


def test_one_token_is_any_integer(loaded):
    _, tokenizer = loaded
    for one in (97, np.int64(97), np.uint16(97), np.array(97)):
        assert tokenizer.decode(one) == "a"
        assert tokenizer.convert_ids_to_tokens(one) == tokenizer.convert_ids_to_tokens(97)
    assert tokenizer.decode(np.array([97])) == "a"
    assert tokenizer.convert_ids_to_tokens(np.array([97])) == [tokenizer.convert_ids_to_tokens(97)]
    with pytest.raises(TypeError):
        tokenizer.decode(1.5)


def test_special_tokens_under_hugging_faces_names(loaded):
    _, tokenizer = loaded
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")
    assert (tokenizer.bos_token_id, tokenizer.vocab_size) == (256, 259)
    assert tokenizer.convert_tokens_to_ids("<|im_start|>") == 257
    assert tokenizer.convert_tokens_to_ids("no such token") is None
    assert tokenizer.convert_ids_to_tokens([257, 258]) == ["<|im_start|>", "<|im_end|>"]
    assert tokenizer.convert_ids_to_tokens(257) == "<|im_start|>"
    for wrong in (-1, 259):
        with pytest.raises(IndexError):
            tokenizer.convert_ids_to_tokens(wrong)


def test_chat_template(loaded):
    _, tokenizer = loaded
    messages = [{"role": "user", "content": "hi"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    assert ids == tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"] == ids
    assert "{% for m in messages %}" in tokenizer.chat_template
    with pytest.raises(qx.Error):
        tokenizer.apply_chat_template([{"role": "user", "content": {1, 2}}])


def test_a_model_without_a_template(tiny, tmp_path):
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((tiny / file).read_bytes())
    tokenizer = qx.load_tokenizer(tmp_path)
    assert tokenizer.chat_template is None
    with pytest.raises(qx.Error, match="chat template"):
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}])


def test_detokenizer_holds_back_half_characters(loaded):
    _, tokenizer = loaded
    ids = tokenizer.encode("a😀")
    detokenizer = tokenizer.detokenizer
    segments = []
    for i in ids:
        detokenizer.add_token(i)
        segments.append(detokenizer.last_segment)
    assert segments == ["a", "", "", "", "😀"]
    detokenizer.finalize()
    assert detokenizer.text == "a😀" and detokenizer.tokens == ids
    detokenizer.reset()
    detokenizer.add_token(ids[1])
    detokenizer.finalize()
    assert detokenizer.text == "\ufffd"
