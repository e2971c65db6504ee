"""A real model, where its file is there."""

import qx


def test_an_answer_of_smollm2(smollm2):
    model, tokenizer = qx.load(smollm2)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True
    )
    assert "Paris" in qx.generate(model, tokenizer, prompt=prompt, max_tokens=16)
    france, rome = qx.score(
        model, tokenizer, [("The capital of France is", " Paris"), ("The capital of France is", " Rome")]
    ).logprobs
    assert france > rome
