"""The tokenizer that ships with the suite: `workload.wordlevel` as Hugging Face's files.

A geometry has no tokenizer, and a real one would have to be downloaded. This one splits at spaces
and looks words up, which is less work than a real one's merges: what it costs is a lower bound.
What is no word is merged by BPE, which runs of letters are (`workload.merging`).
"""

from __future__ import annotations

import json
from pathlib import Path

from append_prefill.records.store import write_whole
from append_prefill.workload.merging import MERGES, RUNS
from append_prefill.workload.wordlevel import END_ID, MARKERS, ROLE_IDS, UNKNOWN_ID, spelled

UNKNOWN = "<unk>"

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|> {{ message['content'] }} "
    + MARKERS[END_ID]
    + " {% endfor %}{% if add_generation_prompt %}"
    + MARKERS[ROLE_IDS["assistant"]]
    + "{% endif %}"
)
"""What `wordlevel.encode_chat` does, in Jinja: a marker before each message, one after it."""


def write_tokenizer(folder: Path, vocab_size: int) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` for ids below `vocab_size`.

    Raises ValueError for a vocabulary that has no room for the markers and the letters.
    """
    special = {UNKNOWN_ID: UNKNOWN, **MARKERS}
    if vocab_size <= max(RUNS):
        raise ValueError(
            f"a vocabulary of {vocab_size} ids has no room for the template's markers and the "
            "letters that merge"
        )
    vocabulary = {spelled(token_id): token_id for token_id in range(vocab_size)}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token_id,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token_id, content in sorted(special.items())
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": UNKNOWN,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": False,
            # A word of the vocabulary is its own token, whatever could be merged of it.
            "ignore_merges": True,
            "vocab": vocabulary,
            "merges": [" ".join(pair) for pair in MERGES],
        },
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": UNKNOWN,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    for name, content in (("tokenizer.json", tokenizer), ("tokenizer_config.json", config)):
        path = folder / name
        text = json.dumps(content, separators=(",", ":")) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)
