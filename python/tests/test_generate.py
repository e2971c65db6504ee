import json
import threading

import numpy as np
import pytest

import qx
from qx import generate, make_prompt_cache, stream_generate
from qx.sample_utils import make_logits_processors, make_sampler


def test_the_cards_snippet(tiny, capsys):
    model, tokenizer = qx.load(str(tiny))
    prompt = "hello"
    if tokenizer.chat_template is not None:
        messages = [{"role": "user", "content": prompt}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    response = generate(model, tokenizer, prompt=prompt, verbose=True)
    out = capsys.readouterr().out
    assert out.startswith("=" * 10 + "\n" + response)
    assert "tokens-per-sec" in out and "Peak memory" in out


def greedy(model, prompt, count):
    """Tokens one after the other from nothing but logits()."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(np.argmax(model.logits(tokens, last_only=True)[0])))
    return tokens[len(prompt) :]


def test_each_response_is_a_token_and_texts_add_up(loaded):
    model, tokenizer = loaded
    prompt = tokenizer.encode("Once upon")
    want = greedy(model, prompt, 12)
    assert tokenizer.eos_token_id not in want  # of this seed
    responses = list(stream_generate(model, tokenizer, prompt, max_tokens=12))
    assert [r.token for r in responses] == want
    assert "".join(r.text for r in responses) == tokenizer.decode(want)
    assert [r.finish_reason for r in responses] == [None] * 11 + ["length"]
    assert [r.generation_tokens for r in responses] == list(range(1, 13))
    assert all(r.prompt_tokens == len(prompt) for r in responses)
    assert responses[-1].generation_tps > 0 and responses[-1].prompt_tps > 0
    # The log-probabilities of the whole vocabulary, not a copy of the last ones.
    logits = model.logits(prompt, last_only=True)[0].astype(np.float64)
    reference = logits - np.log(np.sum(np.exp(logits)))
    assert responses[0].logprobs.shape == (model.vocab_size,) and responses[0].logprobs.dtype == np.float32
    np.testing.assert_allclose(responses[0].logprobs, reference, atol=1e-5)
    assert all(int(np.argmax(r.logprobs)) == r.token for r in responses)


def test_a_stop_token_ends_the_text(loaded):
    model, tokenizer = loaded
    prompt = tokenizer.encode("Once upon")
    want = greedy(model, prompt, 8)
    stop = want[5]
    responses = list(stream_generate(model, tokenizer, prompt, max_tokens=8, extra_eos_tokens=[stop]))
    at = want.index(stop)
    assert responses[-1].finish_reason == "stop" and responses[-1].generation_tokens == at
    assert "".join(r.text for r in responses) == tokenizer.decode(want[:at])


def test_a_stop_text_ends_the_text(loaded):
    model, tokenizer = loaded
    text = generate(model, tokenizer, "ab", max_tokens=20, temp=1.0, seed=5)
    stop = text[8:10]
    responses = list(stream_generate(model, tokenizer, "ab", max_tokens=20, temp=1.0, seed=5, stop=stop))
    assert "".join(r.text for r in responses) == text[: text.index(stop)]
    assert responses[-1].finish_reason == "stop"


def test_seeds_and_settings_of_sampling(loaded):
    model, tokenizer = loaded
    sampled = [generate(model, tokenizer, "ab", max_tokens=16, temp=1.0, seed=seed) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    by_name = generate(model, tokenizer, "ab", max_tokens=16, temp=0.9, top_p=0.8, min_p=0.01, top_k=50, seed=3,
                       repetition_penalty=1.3, logit_bias={97: -50.0})
    by_objects = generate(model, tokenizer, "ab", max_tokens=16, seed=3,
                          sampler=make_sampler(temp=0.9, top_p=0.8, min_p=0.01, top_k=50),
                          logits_processors=make_logits_processors({97: -50.0}, repetition_penalty=1.3))
    assert by_name == by_objects
    # A bias forces a token, by id and by text.
    assert generate(model, tokenizer, "ab", max_tokens=3, logit_bias={"z": 1000.0, 98: 5.0}) == "zzz"


@pytest.mark.parametrize(
    "wrong",
    [dict(temp=-1.0), dict(temp=float("nan")), dict(top_p=2.0), dict(top_k=100000), dict(max_tokens=0), dict(stop=""),
     dict(logit_bias={100000: 1.0}), dict(logit_bias={"no such token": 1.0}), dict(extra_eos_tokens=[-1])],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_value_errors(loaded, wrong):
    model, tokenizer = loaded
    with pytest.raises(ValueError):
        generate(model, tokenizer, "ab", **{"max_tokens": 2, **wrong})


@pytest.mark.parametrize("bias", ["x", None, [1.0]], ids=str)
def test_a_logit_bias_is_a_number(loaded, bias):
    model, tokenizer = loaded
    with pytest.raises(ValueError, match="logit_bias"):
        generate(model, tokenizer, "ab", max_tokens=2, logit_bias={5: bias})


def test_unknown_settings_and_samplers(loaded):
    model, tokenizer = loaded
    with pytest.raises(TypeError):
        generate(model, tokenizer, "ab", temperature=1.0)
    with pytest.raises(TypeError, match="qx.sample_utils"):
        generate(model, tokenizer, "ab", sampler=lambda logprobs: logprobs)


def test_prompts_that_do_not_fit(loaded):
    model, tokenizer = loaded
    with pytest.raises(qx.Error, match="no tokens"):
        generate(model, tokenizer, [])
    with pytest.raises(qx.Error, match="512"):
        generate(model, tokenizer, [1] * 513)
    last = list(stream_generate(model, tokenizer, [1] * 510, max_tokens=-1))[-1]
    assert last.finish_reason == "length" and last.generation_tokens == 2


def test_arrays_are_prompts_too(loaded):
    model, tokenizer = loaded
    assert generate(model, tokenizer, np.array([97, 98]), max_tokens=4) == generate(model, tokenizer, "ab", max_tokens=4)


def test_json_schema(loaded):
    model, tokenizer = loaded
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "on": {"type": "boolean"}},
              "required": ["n", "on"], "additionalProperties": False}  # fmt: skip
    for seed in range(3):
        text = generate(model, tokenizer, "ab", max_tokens=400, temp=1.0, seed=seed, json_schema=schema,
                        logit_bias={"}": 30.0, ",": 30.0})  # fmt: skip
        document = json.loads(text)
        assert set(document) == {"n", "on"} and isinstance(document["on"], bool)
    for wrong in ({"type": "nothing"}, {"type": object()}, "no schema"):
        with pytest.raises(ValueError, match="json_schema"):
            generate(model, tokenizer, "ab", json_schema=wrong)


def test_a_prompt_cache_gives_the_same_text_and_reuses_the_prompt(loaded):
    model, tokenizer = loaded
    cache = make_prompt_cache(model, 256)
    first = tokenizer.encode("The first prompt is a long one")
    sampling = dict(max_tokens=6, temp=8.0, seed=11)
    one = generate(model, tokenizer, first, prompt_cache=cache, **sampling)
    assert one == generate(model, tokenizer, first, **sampling) and len(set(one)) > 2
    held = cache.tokens
    assert held[: len(first)] == first and len(held) == len(first) + 5
    second = held + tokenizer.encode(" and more")
    *steps, last = stream_generate(model, tokenizer, second, prompt_cache=cache, **sampling)
    assert "".join(step.text for step in (*steps, last)) == generate(model, tokenizer, second, **sampling)
    assert last.reused_tokens == len(held)
    assert cache.keep_shared(first[:4]) == 4 and cache.tokens == first[:4]


def test_a_loop_of_ones_own(loaded):
    model, tokenizer = loaded
    prompt = tokenizer.encode("Once upon")
    cache = make_prompt_cache(model, 64)
    logits = cache.append(prompt)
    mine = []
    for _ in range(8):
        mine.append(int(np.argmax(logits)))
        logits = cache.append(mine[-1:])
    assert mine == greedy(model, prompt, 8)
    with pytest.raises(qx.Error, match="64"):
        cache.append([1] * 60)
    with pytest.raises(qx.Error):
        cache.append([])


def test_a_cache_serves_one_text_at_a_time_and_one_model(loaded, tiny):
    model, tokenizer = loaded
    cache = make_prompt_cache(model, 64)
    stream = stream_generate(model, tokenizer, "ab", max_tokens=8, prompt_cache=cache)
    next(stream)
    with pytest.raises(qx.Error, match="in use"):
        next(stream_generate(model, tokenizer, "ab", prompt_cache=cache))
    with pytest.raises(qx.Error, match="in use"):
        cache.append([1])
    stream.close()
    assert generate(model, tokenizer, "ab", max_tokens=2, prompt_cache=cache)
    other, _ = qx.load(tiny)
    with pytest.raises(qx.Error, match="another model"):
        generate(other, tokenizer, "ab", prompt_cache=cache)


def test_closing_a_stream_and_using_the_model_between_steps(loaded):
    model, tokenizer = loaded
    sampling = dict(max_tokens=8, temp=8.0, seed=2)
    want = generate(model, tokenizer, "ab", **sampling)
    stream = stream_generate(model, tokenizer, "ab", **sampling)
    texts = []
    for response in stream:
        texts.append(response.text)
        model.logits([1, 2, 3])
        generate(model, tokenizer, "other", max_tokens=2)
    assert "".join(texts) == want
    begun = stream_generate(model, tokenizer, "ab", max_tokens=8)
    next(begun)
    begun.close()
    assert list(begun) == []
    del begun
    abandoned = stream_generate(model, tokenizer, "ab", max_tokens=8)
    next(abandoned)
    del abandoned
    assert generate(model, tokenizer, "ab", **sampling) == want


def test_threads_share_a_model(loaded):
    model, tokenizer = loaded

    def text_of(prompt):
        return generate(model, tokenizer, prompt, max_tokens=20, temp=8.0, seed=9)

    want = {prompt: text_of(prompt) for prompt in ("one", "two", "three")}
    got = {}
    threads = [threading.Thread(target=lambda p=prompt: got.update({p: text_of(p)})) for prompt in want]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == want


def test_the_program_says_the_same(tiny, program):
    model, tokenizer = qx.load(tiny)
    answer = program("generate", "-m", tiny, "-p", "hello", "--max-tokens", 20, "--temp", 0.8, "--top-p", 0.9, "--seed", 4)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], add_generation_prompt=True)
    assert generate(model, tokenizer, prompt, max_tokens=20, temp=0.8, top_p=0.9, seed=4) == answer["text"]
