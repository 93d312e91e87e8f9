"""The files against the vocabulary they stand for, by the library that servers read them with."""

import json
import random

import pytest
from jinja2 import Environment

from append_prefill.engines.model import materialise
from append_prefill.engines.tokenizer import TEMPLATE, write_tokenizer
from append_prefill.workload.boundary import draw_text
from append_prefill.workload.loading import load_profile
from append_prefill.workload.merging import LETTERS
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.wordlevel import decode, encode, encode_chat


def test_the_files_hold_the_vocabulary(tmp_path):
    write_tokenizer(tmp_path, 100)
    written = json.loads((tmp_path / "tokenizer.json").read_text())
    vocabulary = written["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(100))
    for token_id in range(14, 100):
        assert vocabulary[decode([token_id])] == token_id
    assert [vocabulary[word] for word in ["<|user|>", "w20", "<|end|>"]] == [4, 20, 7]
    assert {token["content"] for token in written["added_tokens"]} <= set(vocabulary)


def test_the_template_puts_the_markers_where_the_vocabulary_does():
    messages = [("system", "w20 w21"), ("user", "w22"), ("assistant", "w23 w24"), ("user", "w25")]
    rendered = (
        Environment(autoescape=False)
        .from_string(TEMPLATE)
        .render(
            messages=[{"role": role, "content": text} for role, text in messages],
            add_generation_prompt=True,
        )
    )
    assert encode(rendered) == encode_chat(messages)


def test_the_library_that_servers_read_the_files_with_makes_the_same_tokens(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path, 2000)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    rng, prompts = random.Random(1), PromptSource((1,), 2000)
    runs = ["".join(rng.choices(LETTERS, k=rng.randint(1, 12))) for _ in range(2000)]
    texts = ["w20 <|user|> w21", "w015 hello wA", "ABxxCD w64 w1999", " ".join(runs), *runs]
    for _ in range(200):
        parts = draw_text(prompts, Point(16, 16))
        texts += [parts.context, parts.context + parts.append]
    assert [theirs.encode(text).ids for text in texts] == [encode(text) for text in texts]


def test_a_vocabulary_without_room_is_refused(tmp_path):
    write_tokenizer(tmp_path, 79)
    with pytest.raises(ValueError, match="no room"):
        write_tokenizer(tmp_path, 78)


def test_a_profile_that_asks_for_it_gets_it_in_a_folder_of_its_own(tmp_path):
    with_it = materialise(load_profile("cpu-nano-chat").model, tmp_path)
    without = materialise(load_profile("cpu-nano").model, tmp_path)
    assert (with_it / "tokenizer.json").is_file()
    assert not (without / "tokenizer.json").exists()
    assert (with_it / "config.json").read_text() == (without / "config.json").read_text()
