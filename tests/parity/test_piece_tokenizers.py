"""Tokenizers built like those of Llama 2 and Mistral (SentencePiece's, with bytes to fall back to), Gemma, Mistral's
Tekken and DeepSeek, against the `tokenizers` package. What these models' files have is in the table of
docs/tokenizer.md; the vocabularies are trained here."""
import json
import random

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from test_tokenizer import N_STRINGS, added, check, copy, save, trained, training_text  # noqa: F401

MARK = "▁"
BYTES = [f"<0x{b:02X}>" for b in range(256)]
# DeepSeek-V3's three expressions and Mistral's Tekken, from their tokenizer.json.
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
            r"|\s*[\r\n]+|\s+(?!\S)|\s+"]
DEEPSEEK_LLM = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+"]
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
          r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


@pytest.fixture(scope="module")
def pieces():
    """A vocabulary of text pieces: <unk>, <s>, </s>, the 256 bytes, then what BPE makes of some text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(vocab_size=4000, limit_alphabet=300, show_progress=False,
                                  special_tokens=["<unk>", "<s>", "</s>", *BYTES])
    tokenizer.train_from_iterator(training_text(), trainer)
    document = json.loads(tokenizer.to_str())
    assert MARK in document["model"]["vocab"] and len(document["model"]["merges"]) > 1000
    return added(document, ("<unk>", {}), ("<s>", {}), ("</s>", {}))


def bos_template(document):
    bos = document["model"]["vocab"]["<s>"]
    return {"type": "TemplateProcessing", "pair": [],
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [bos], "tokens": ["<s>"]}}}


def styled(pieces, normalizer=None, pre_tokenizer=None, decoder=None):
    document = copy(pieces)
    document["post_processor"] = bos_template(document)
    tokenizer = Tokenizer.from_str(json.dumps(document))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    document = json.loads(tokenizer.to_str())
    if pre_tokenizer is None:
        document["pre_tokenizer"] = None
    return document


def fallback_decoder(strip):
    steps = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strip else []))


STYLES = {
    # Llama 2's, Mistral 7B's first: a mark in front of every stretch between special tokens.
    "legacy": dict(normalizer=normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)]),
                   decoder=fallback_decoder(True)),
    "mistral": dict(pre_tokenizer=pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="first", split=False),
                    decoder=fallback_decoder(True)),
    "gemma": dict(normalizer=normalizers.Replace(" ", MARK), pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"),
                  decoder=fallback_decoder(False)),
    "metaspace": dict(pre_tokenizer=pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always", split=True),
                      decoder=decoders.Metaspace(replacement=MARK, prepend_scheme="always", split=True)),
    "never": dict(normalizer=normalizers.NFKC(),
                  pre_tokenizer=pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="never", split=True),
                  decoder=decoders.Metaspace(replacement=MARK, prepend_scheme="never", split=True)),
}


@pytest.mark.parametrize("style", STYLES)
def test_pieces(qx, pieces, style, tmp_path):
    directory = save(styled(pieces, **STYLES[style]), tmp_path / "m")
    check(qx, directory, seed=40, n=N_STRINGS, tmp_path=tmp_path)


@pytest.mark.parametrize("seed", range(30))
def test_random_pieces(qx, pieces, seed, tmp_path):
    """Missing bytes, unknown tokens, added tokens of all kinds, words that are tokens."""
    rng = random.Random(seed)
    style = dict(STYLES[rng.choice(list(STYLES))])
    if rng.random() < 0.3:
        style["pre_tokenizer"] = pre_tokenizers.Sequence([
            rng.choice([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split(Regex(r"\s+"), "merged_with_next")]),
            pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme=rng.choice(["always", "first", "never"]), split=rng.random() < 0.5)])
    document = styled(pieces, **style)
    model = document["model"]
    model["fuse_unk"] = rng.random() < 0.5
    model["ignore_merges"] = rng.random() < 0.3
    if rng.random() < 0.3:
        model["byte_fallback"] = False
    if rng.random() < 0.3:
        model["unk_token"] = None
    if rng.random() < 0.4:
        for name in rng.sample(BYTES, 40):  # ids keep holes
            del model["vocab"][name]
    tokens = [("<unk>", {}), ("<s>", {}), ("</s>", {})]
    tokens += rng.sample([("<a b>", dict(normalized=True, special=False)), ("<mask>", dict(lstrip=True)), ("[X]", dict(rstrip=True)),
                          ("  ", dict(special=False)), (f"{MARK}{MARK}{MARK}", dict(special=False)), ("é", dict(special=False)),
                          ("the", dict(single_word=True, special=False))], rng.randint(0, 4))
    size = max(model["vocab"].values()) + 1
    missing = size - len(model["vocab"])
    document = added(document, *tokens)
    if missing:  # new tokens are numbered by the count of the vocabulary, which holes make collide
        document["added_tokens"] = [t for t in document["added_tokens"] if t["id"] < size]
    directory = save(document, tmp_path / "m")
    check(qx, directory, seed=200 + seed, n=300, tmp_path=tmp_path)


@pytest.mark.parametrize("name, patterns", [("deepseek-v3", DEEPSEEK), ("deepseek-llm", DEEPSEEK_LLM), ("tekken", [TEKKEN])])
def test_byte_level_families(qx, trained, name, patterns, tmp_path):  # noqa: F811
    document = added(copy(trained), ("<｜begin▁of▁sentence｜>", {}), ("<｜User｜>", dict(special=False)), ("[INST]", {}))
    tokenizer = Tokenizer.from_str(json.dumps(document))
    steps = [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]
    if name == "deepseek-llm":
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    document = json.loads(tokenizer.to_str())
    document["model"]["ignore_merges"] = name == "tekken"
    directory = save(document, tmp_path / "m")
    check(qx, directory, seed=50, n=N_STRINGS, tmp_path=tmp_path)


def test_stream_equals_decode(qx, pieces, tmp_path):
    """A run of byte tokens that is not UTF-8 as a whole is one mark of damage a byte, as in the package."""
    directory = save(styled(pieces, **STYLES["mistral"]), tmp_path / "m")
    reference = Tokenizer.from_file(str(directory / "tokenizer.json"))
    byte = {b: reference.token_to_id(f"<0x{b:02X}>") for b in range(256)}
    hello = reference.encode("hi there", add_special_tokens=False).ids
    for ids in ([byte[0xE4], byte[0xBD], byte[0xA0]], [byte[0x0A], byte[0xFF]], hello + [byte[0xF0]] + hello, [byte[0x20], *hello]):
        text = qx("tokenize", "-m", directory, "--decode", " ".join(map(str, ids))).stdout
        assert text == reference.decode(ids, skip_special_tokens=False) + "\n"
