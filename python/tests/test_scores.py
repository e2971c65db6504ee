import gc

import numpy as np
import pytest

import qx


def log_softmax(logits):
    logits = logits.astype(np.float64)
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


def test_logits_and_hidden_states_are_arrays_that_own_their_memory(loaded):
    model, tokenizer = loaded
    tokens = tokenizer.encode("Some text to read")
    logits, hidden = model.logits(tokens), model.hidden(tokens)
    assert logits.shape == (len(tokens), model.vocab_size) and logits.dtype == np.float32
    assert hidden.shape == (len(tokens), model.hidden_size) and hidden.dtype == np.float32
    assert logits.flags.c_contiguous and logits.flags.writeable and not logits.flags.owndata
    assert type(logits.base).__name__ != "ndarray"  # the memory is qx's, kept alive by the array
    copy = logits.copy()
    del hidden
    gc.collect()
    model.logits(tokens[::-1])
    assert np.array_equal(logits, copy)
    assert np.array_equal(model.logits(tokens, last_only=True), logits[-1:])


def test_long_texts_go_through_in_pieces(tmp_path_factory, loaded):
    model, _ = loaded
    tokens = [(7 * i) % 250 for i in range(512)]
    whole = model.logits(tokens)
    assert np.array_equal(model.logits(tokens[:100]), whole[:100])
    assert np.array_equal(model.logits(tokens, last_only=True)[0], whole[-1])


def test_wrong_tokens(loaded):
    model, _ = loaded
    for wrong in ([], [259], [-1], [0] * 513):
        with pytest.raises(qx.Error, match="tokens"):
            model.logits(wrong)
    with pytest.raises(TypeError):
        model.logits("text")


def test_scores_are_those_of_the_logits(loaded):
    model, tokenizer = loaded
    context, rest = tokenizer.encode("The capital of"), tokenizer.encode(" France is Paris")
    scores = qx.score(model, tokenizer, [(context, rest), (context, rest[:3])])
    logprobs = log_softmax(model.logits(context + rest))
    want = [logprobs[len(context) - 1 + i, token] for i, token in enumerate(rest)]
    np.testing.assert_allclose(scores.of_pair(0), want, atol=2e-5)
    np.testing.assert_allclose(scores.of_pair(1), want[:3], atol=2e-5)
    np.testing.assert_allclose(scores.logprobs, [sum(want), sum(want[:3])], atol=2e-4)
    assert scores.offsets.tolist() == [0, len(rest), len(rest) + 3] and scores.tokens.tolist() == [len(rest), 3]
    assert scores.token_best[0] == int(np.argmax(logprobs[len(context) - 1]))
    assert scores.greedy.dtype == np.bool_ and not scores.greedy[0] and scores.truncated == 0
    best = [int(np.argmax(logprobs[len(context) - 1]))]
    assert qx.score(model, tokenizer, [(context, best)]).greedy.tolist() == [True]


def test_texts_are_encoded_by_lm_evals_rule_and_arrays_are_tokens(loaded):
    model, tokenizer = loaded
    texts = qx.score(model, tokenizer, [("A context ", "and more")])
    ids = qx.score(model, tokenizer, [(np.array(tokenizer.encode("A context")), tokenizer.encode(" and more"))])
    assert texts.logprobs.tolist() == ids.logprobs.tolist()
    cut = qx.score(model, tokenizer, [([1] * 600, [2, 3])])
    assert cut.truncated == 1


def test_wrong_pairs(loaded):
    model, tokenizer = loaded
    with pytest.raises(qx.Error, match="pair 1"):
        qx.score(model, tokenizer, [([1], [2]), ([1], [])])
    with pytest.raises(qx.Error, match="pair 0"):
        qx.score(model, tokenizer, [("a", [2])])
    with pytest.raises(qx.Error, match="259"):
        qx.score(model, tokenizer, [([259], [2])])
    assert qx.score(model, tokenizer, []).logprobs.shape == (0,)


def test_progress_of_scores(loaded):
    model, tokenizer = loaded
    heard = []
    qx.score(model, tokenizer, [([i % 200], [1, 2]) for i in range(1500)], progress=heard.append)
    assert heard[0][:4] == ("scoring", 0, 1500, "pairs") and heard[-1].done == 1500
    assert isinstance(heard[0], qx.Progress)


def test_the_program_says_the_same(tiny, loaded, program, tmp_path):
    model, tokenizer = loaded
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{"context": "The capital of France is", "continuation": " Paris"}\n')
    theirs = program("score", "-m", tiny, "--requests", requests)["scores"][0]
    ours = qx.score(model, tokenizer, [("The capital of France is", " Paris")])
    assert (theirs["ll"], theirs["tokens"], theirs["greedy"]) == (ours.logprobs[0], ours.tokens[0], ours.greedy[0])
