"""How much of a conversation each SGLang version finds in its cache, turn by turn.

    python -m benchmarks.turns --sglang ENV --sglang OTHER
    python -m benchmarks.turns --sglang ENV --server-arg=--disable-overlap-schedule

A turn's prompt is all before it, the model's own replies included, plus new tokens. Each version is
launched as the profile launches it and holds conversations of five turns: one whose replies have
fifty tokens, one whose replies have one, one whose replies end on a stop token, and eight at once.
With `--out DIR` the answers go to a file for each version.

Prints for each turn but the first how many of the tokens before it were cached, and of how many
that the version should have kept: all, less the tail that its table names. Of the eight at once it
prints how often how many fewer were cached.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from append_prefill.engines.devices import DeviceLock
from append_prefill.engines.versions import uncached_tail_in
from append_prefill.engines.waiting import await_ready
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from benchmarks.servers import device_of, engine_of, prompts_of

TURNS = 5
FIRST_TOKENS, NEW_TOKENS = 100, 20
# One id in twenty ends a reply that is drawn at random: most end before fifty tokens, at lengths of
# their own. The greedy reply of a model without weights repeats one token.
STOPS = 20
# Another run has the device for as long as it measures.
LOCK_S = 1800


@dataclass(frozen=True)
class Ending:
    """How replies end: after `reply_tokens`, or before on a token of `stop_ids`.

    `at_once`: how many such conversations are held at the same time, each with replies of one token
    more than the last one's, so that one's reply often ends as another's prompt comes.
    """

    name: str
    reply_tokens: int
    stop_ids: Sequence[int] = ()
    at_once: int = 1

    def body(self, ids: Sequence[int]) -> dict[str, Any]:
        how = (
            {"temperature": 1, "stop_token_ids": list(self.stop_ids)}
            if self.stop_ids
            else {"temperature": 0, "ignore_eos": True}
        )
        sampling = {"max_new_tokens": self.reply_tokens, **how}
        return {"input_ids": list(ids), "sampling_params": sampling}


def endings(profile: Profile) -> list[Ending]:
    vocabulary = int((profile.model.config or {})["vocab_size"])
    stops = range(0, vocabulary, STOPS)
    return [
        Ending("fifty", 50),
        Ending("one", 1),
        Ending("stop", 50, stops),
        Ending("eight at once", 5, at_once=8),
    ]


def converse(
    client: httpx.Client, new: Iterator[list[int]], ending: Ending
) -> list[dict[str, Any]]:
    """A row a turn. `before_tokens` were sent or generated in the turns before it."""
    held: list[int] = []
    rows = []
    for number in range(1, TURNS + 1):
        before = len(held)
        held += next(new)
        answer = client.post("/generate", json=ending.body(held)).raise_for_status().json()
        meta = answer["meta_info"]
        held += answer["output_ids"]
        told = ("prompt_tokens", "cached_tokens", "completion_tokens", "finish_reason")
        row = {"replies": ending.name, "turn": number, "before_tokens": before}
        rows.append(row | {key: meta[key] for key in told})
    return rows


def new_tokens(profile: Profile, seed: int) -> Iterator[list[int]]:
    prompts = prompts_of(profile, seed)
    context, new = prompts.draw(Point(FIRST_TOKENS - NEW_TOKENS, NEW_TOKENS))
    yield [*context, *new]
    while True:
        yield prompts.suffix(NEW_TOKENS)


def launch(value: str, profile: Profile, more: Sequence[str], folder: Path) -> dict[str, Any]:
    """Launch one SGLang, hold each conversation, stop it: what was sent and answered."""
    engine = engine_of("--sglang", value, profile, more)
    server = engine.start(device_of(profile), folder / "server.log")
    try:
        await_ready([server])
        rows: list[dict[str, Any]] = []
        with httpx.Client(base_url=server.base_url, trust_env=False, timeout=120) as client:
            for number, ending in enumerate(endings(profile)):
                each = range(ending.at_once)
                news = [new_tokens(profile, 100 * number + k) for k in each]
                longer = [replace(ending, reply_tokens=ending.reply_tokens + k) for k in each]
                with ThreadPoolExecutor(ending.at_once) as pool:
                    held = pool.map(partial(converse, client), news, longer)
                    rows += [row for turns in held for row in turns]
    finally:
        server.stop()
    return {"sglang": engine.version, "server_args": list(server.server_args), "turns": rows}


def kept(found: Mapping[str, Any], ending: Ending) -> str:
    """`cached/expected` of the tokens before each turn, from the second turn on."""
    overlap_off = "--disable-overlap-schedule" in found["server_args"]
    tail = uncached_tail_in({"disable_overlap_schedule": overlap_off}, found["sglang"])
    rows = [row for row in found["turns"] if row["replies"] == ending.name and row["turn"] > 1]
    pairs = [(row["cached_tokens"], row["before_tokens"] - tail) for row in rows]
    if ending.at_once == 1:
        return " ".join(f"{cached}/{expected}" for cached, expected in pairs)
    fewer = Counter(expected - cached for cached, expected in pairs)
    return ", ".join(f"{tokens} fewer: {times}" for tokens, times in sorted(fewer.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sglang", action="append", required=True)
    parser.add_argument("--server-arg", action="append", default=[])
    parser.add_argument("--profile", default="cpu-nano")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    profile = load_profile(options.profile)
    print("| SGLang | " + " | ".join(ending.name for ending in endings(profile)) + " |")
    for value in options.sglang:
        with DeviceLock(device_of(profile), timeout_s=LOCK_S), TemporaryDirectory() as folder:
            found = launch(value, profile, options.server_arg, Path(folder))
        cells = [kept(found, ending) for ending in endings(profile)]
        print(f"| {' | '.join([found['sglang'], *cells])} |", flush=True)
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
            name = "".join([found["sglang"], *options.server_arg])
            # A turn a line, to be read and compared.
            rows = ",\n".join(f"  {json.dumps(row)}" for row in found.pop("turns"))
            text = f'{json.dumps(found)[:-1]}, "turns": [\n{rows}\n]}}\n'
            (options.out / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
