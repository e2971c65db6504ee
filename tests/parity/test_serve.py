"""`qx serve` against the clients it is made for: the official openai package, and lm-eval through its local-completions model.
"""
import concurrent.futures
import json
import os
import shutil
import signal
import subprocess

import jsonschema
import openai
import pytest

from test_eval import TASKS, read_lines, use_local_data

ITEMS = 12
KEY = "a-key-of-this-test"
# Qwen's way to show tools and their calls, in few lines.
TOOL_TEMPLATE = """{%- if tools %}<|im_start|>system
You may call functions: <tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>
For a call answer <tool_call>
{"name": .., "arguments": ..}
</tool_call><|im_end|>
{% endif %}{%- for m in messages %}<|im_start|>{{ 'user' if m.role == 'tool' else m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}
<tool_call>
{{ c.function | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"], "additionalProperties": False}}}
PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
                                           "mood": {"enum": ["good", "bad"]}},
          "required": ["name", "age", "mood"], "additionalProperties": False}


class Server:
    def __init__(self, program, *options):
        self.process = subprocess.Popen([program, "serve", "--port", "0", "--json", "--quiet", *map(str, options)],
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, "the server did not start"
        self.url = json.loads(line)["url"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=300) == 130


@pytest.fixture(scope="module")
def quantized(qx, smollm2, tmp_path_factory):
    target = tmp_path_factory.mktemp("serve") / "q4"
    qx("convert", "-m", smollm2, "-o", target, "--recipe", "q4-hi")
    tools = target.parent / "tools"
    shutil.copytree(target, tools)
    (tools / "chat_template.jinja").write_text(TOOL_TEMPLATE)
    return target, tools


@pytest.fixture(scope="module")
def server(qx, quantized, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY + "\n")
    running = Server(qx.path, "-m", quantized[0], "-m", quantized[1], "--api-key-file", keys, "--parallel", 8)
    yield running
    running.stop()


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0)


QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def test_models(client):
    assert [m.id for m in client.models.list()] == ["q4", "tools"]
    assert client.models.retrieve("tools").id == "tools"


def test_chat_is_what_generate_says(qx, client, quantized):
    answer = client.chat.completions.create(model="q4", messages=QUESTION, temperature=0, max_tokens=40)
    choice = answer.choices[0]
    own = qx.json("generate", "-m", quantized[0], "-p", QUESTION[0]["content"], "--max-tokens", 40)
    assert choice.message.content == own["text"]
    assert choice.finish_reason == own["finish_reason"]
    assert answer.usage.prompt_tokens == own["prompt_tokens"]
    assert answer.usage.completion_tokens == own["generation_tokens"]
    assert answer.usage.total_tokens == own["prompt_tokens"] + own["generation_tokens"]


def test_stream_is_the_whole_answer(client):
    options = dict(model="q4", messages=QUESTION, temperature=0.8, seed=7, max_tokens=40)
    whole = client.chat.completions.create(**options)
    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_n_seed_and_stop(client):
    options = dict(model="q4", messages=QUESTION, temperature=1, max_tokens=20, seed=3)
    three = client.chat.completions.create(**options, n=3)
    assert [c.index for c in three.choices] == [0, 1, 2]
    assert len({c.message.content for c in three.choices}) > 1
    assert client.chat.completions.create(**options).choices[0].message.content == three.choices[0].message.content
    stopped = client.chat.completions.create(model="q4", messages=QUESTION, temperature=0, max_tokens=40, stop=[" is Paris"])
    assert stopped.choices[0].message.content == "The capital of France"
    assert stopped.choices[0].finish_reason == "stop"


def test_logprobs_and_bias(client):
    options = dict(model="q4", messages=QUESTION, temperature=0, max_tokens=5)
    content = client.chat.completions.create(**options, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert len(content) == 5
    for entry in content:
        assert len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].token == entry.token and entry.top_logprobs[0].logprob == entry.logprob
        assert bytes(entry.bytes).decode() == entry.token
    first = client.post("/../tokenize", body={"content": content[0].token, "model": "q4"}, cast_to=object)["tokens"]
    banned = client.chat.completions.create(**options, logit_bias={str(first[0]): -100})
    assert not banned.choices[0].message.content.startswith(content[0].token)


def test_completions(client):
    answer = client.completions.create(model="q4", prompt=["The capital of France is", "One, two, three,"], max_tokens=4, temperature=0)
    assert [c.index for c in answer.choices] == [0, 1]
    assert answer.choices[0].text.startswith(" Paris")
    echoed = client.completions.create(model="q4", prompt="The capital of France is", max_tokens=0, temperature=0, echo=True, logprobs=1)
    assert echoed.choices[0].text == "The capital of France is"
    assert echoed.choices[0].logprobs.token_logprobs[0] is None
    streamed = client.completions.create(model="q4", prompt="The capital of France is", max_tokens=4, temperature=0, stream=True)
    assert "".join(c.choices[0].text for c in streamed) == answer.choices[0].text


def test_tools(client):
    options = dict(model="tools", messages=[{"role": "user", "content": "How will the weather be in Paris for 3 days?"}], tools=[WEATHER],
                   max_tokens=100)
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        answer = client.chat.completions.create(**options, temperature=1, seed=1, tool_choice=choice).choices[0]
        assert answer.finish_reason == "tool_calls"
        call = answer.message.tool_calls[0]
        assert call.function.name == "get_weather"
        jsonschema.validate(json.loads(call.function.arguments), WEATHER["function"]["parameters"])
    chunks = list(client.chat.completions.create(**options, temperature=1, seed=1, tool_choice="required", stream=True))
    calls = [c for chunk in chunks for c in chunk.choices[0].delta.tool_calls or []]
    assert [c.index for c in calls] == [0] and calls[0].function.name == "get_weather"
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    # The next turn, with the call and its result.
    message = answer.message.model_dump(exclude_none=True)
    turns = options["messages"] + [message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    text = client.chat.completions.create(**{**options, "messages": turns}, temperature=0).choices[0].message
    assert text.role == "assistant"
    with pytest.raises(openai.BadRequestError):  # this model's template has no tools
        client.chat.completions.create(**{**options, "model": "q4"})


@pytest.mark.parametrize("seed", range(4))
def test_json_schema(client, seed):
    schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    answer = client.chat.completions.create(model="q4", messages=[{"role": "user", "content": "Describe a person as JSON."}], temperature=1.2,
                                            seed=seed, n=2, max_tokens=200, response_format=schema)
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content), PERSON)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="q4", messages=QUESTION, response_format={
            "type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}})


def test_errors(client, server):
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0).models.list()
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-9", messages=QUESTION)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="q4", messages=QUESTION, temperature=-1)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="q4", prompt=[1] * 5000)
    assert caught.value.code == "context_length_exceeded"


def test_answers_do_not_depend_on_company(client):
    """The same greedy and seeded requests alone and eight at once."""
    prompts = [f"Write a sentence about the number {i}." for i in range(8)]

    def ask(i):
        return client.chat.completions.create(model="q4", messages=[{"role": "user", "content": prompts[i]}], max_tokens=24,
                                              temperature=0 if i % 2 else 0.9, seed=i).choices[0].message.content

    alone = [ask(i) for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == alone


def test_lm_eval_local_completions(qx, quantized, data_dir, monkeypatch, tmp_path):
    """lm-eval through the server gives the scores of qx eval, item by item."""
    from lm_eval import simple_evaluate

    use_local_data(monkeypatch, data_dir)
    model = quantized[0]
    running = Server(qx.path, "-m", model, "--precision", "reference")
    try:
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        result = simple_evaluate(model="local-completions", model_args=dict(
            model="q4", base_url=running.url + "/v1/completions", tokenizer=str(model), tokenizer_backend="huggingface", num_concurrent=4,
            max_length=2048), tasks=TASKS, limit=ITEMS, bootstrap_iters=1, log_samples=True)
    finally:
        running.stop()
    qx("eval", "-m", model, "--tasks", "all", "-o", tmp_path, "--data", data_dir, "--limit", ITEMS, "--plain", "--precision", "reference")
    for task in TASKS:
        own = read_lines(tmp_path / "q4" / f"answers-{task}.jsonl")
        theirs = sorted(result["samples"][task], key=lambda s: s["doc_id"])
        assert len(own) == len(theirs) == ITEMS
        for mine, other in zip(own, theirs):
            for choice, answers in zip(mine["choices"], other["filtered_resps"]):
                assert choice["ll"] == pytest.approx(float(answers[0]), abs=2e-3), (task, mine["index"])
        for metric in ("acc", "acc_norm"):
            if f"{metric},none" in result["results"][task]:
                mean = sum(m[metric] for m in own) / ITEMS
                assert mean == pytest.approx(result["results"][task][f"{metric},none"]), (task, metric)
