"""Text and chat: what comes over the wire, how much of it is cached, and what it costs."""

from __future__ import annotations

import orjson
import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.protocol import Settings
from append_prefill.workload.wordlevel import decode, encode, encode_chat
from tests.planted.client import Stream, client_of, quick_server

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "system", "content": "w20 w21"}, {"role": "user", "content": "w30 w31 w32"}]


def chat_body(messages, tokens: int = 4, *, stream: bool = False, **more):
    return {"model": "x", "messages": messages, "max_tokens": tokens, "stream": stream, **more}


def chat(client, messages, tokens: int = 4, **more):
    response = client.post(CHAT, json=chat_body(messages, tokens, **more))
    assert response.status_code == 200
    return response.json()


def streamed(client, body, path: str = CHAT) -> Stream:
    with client.stream("POST", path, json=body) as response:
        result = Stream(response.status_code)
        for line in filter(None, response.iter_lines()):
            data = line.removeprefix("data: ")
            result.done = data == "[DONE]"
            if not result.done:
                result.events.append(orjson.loads(data))
    return result


@pytest.fixture
def client():
    with quick_server() as server, client_of(server) as opened:
        yield opened


def test_a_text_is_the_same_prompt_as_its_ids(client):
    sampling = {"max_new_tokens": 3}
    ids = list(range(100, 140))
    client.stream_generate(ids, 0)
    body = {"text": decode([*ids, 9]), "sampling_params": sampling}
    meta = client.post("/generate", json=body).json()["meta_info"]
    assert (meta["prompt_tokens"], meta["cached_tokens"]) == (41, 40)


def test_a_reply_is_spoken_and_comes_back_as_its_ids(client):
    answer = client.whole_generate(range(100, 140), 5).json()
    assert answer["text"].startswith(" w")
    assert encode(answer["text"]) == answer["output_ids"]
    stream = client.stream_generate(range(200, 240), 3)
    assert [encode(event["text"]) for event in stream.events] == [
        event["output_ids"][:k] for k, event in enumerate(stream.events, 1)
    ]


def test_a_chat_is_answered_as_openai_does(client):
    answer = chat(client, MESSAGES)
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "x"
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert len(encode(choice["message"]["content"])) == 4
    assert choice["finish_reason"] == "length"
    assert answer["usage"] == {
        "prompt_tokens": 10,
        "total_tokens": 14,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 0},
        "reasoning_tokens": 0,
    }


def test_a_chats_stream_brings_the_role_first_and_the_usage_last(client):
    body = chat_body(MESSAGES, 3, stream=True, stream_options={"include_usage": True})
    stream = streamed(client, body)
    assert stream.done
    role, *contents, finish, usage = stream.events
    assert role["choices"][0]["delta"]["role"] == "assistant"
    assert role["choices"][0]["delta"]["content"] == ""
    texts = [event["choices"][0]["delta"]["content"] for event in contents]
    assert [len(encode(text)) for text in texts] == [1, 1, 1]
    assert "".join(texts) == chat(client, MESSAGES, 3)["choices"][0]["message"]["content"]
    assert finish["choices"][0]["finish_reason"] == "length"
    assert "content" not in finish["choices"][0]["delta"]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 3
    assert {event["object"] for event in stream.events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in stream.events}) == 1
    without = streamed(client, chat_body(MESSAGES, 3, stream=True))
    assert len(without.events) == 5
    assert all(event["choices"] for event in without.events)


def test_the_next_turn_finds_all_of_the_last_but_its_last_token(client):
    """What a real 0.5.23 answered to the same: 20 prompt tokens, 13 cached."""
    reply = chat(client, MESSAGES)["choices"][0]["message"]["content"]
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": reply},
        {"role": "user", "content": "w40 w41"},
    ]
    usage = chat(client, messages)["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (20, 13)


def test_a_chat_is_the_prompt_that_its_template_makes(client):
    client.stream_generate(encode_chat([("system", "w20 w21"), ("user", "w30 w31 w32")]), 0)
    # An exact repeat computes its last token again.
    assert chat(client, MESSAGES)["usage"]["prompt_tokens_details"]["cached_tokens"] == 9


def test_retokenizing_and_the_template_cost_every_token_cached_or_not():
    cost = Cost(floor_ms=1, new_token_us=0, cached_token_us=0, text_us=30, template_us=20)
    with quick_server(cost=cost) as server, client_of(server) as client:
        context, text = list(range(100, 500)), decode(range(100, 500))
        client.stream_generate(context, 0)
        told = streamed(client, chat_body([{"role": "user", "content": text}], 1, stream=True))
        assert told.done
        body = {"text": f"{text} w9", "sampling_params": {"max_new_tokens": 1}}
        latency_s = client.post("/generate", json=body).json()["meta_info"]["e2e_latency"]
        served = list(server.served)
    assert [s.form_ms for s in served] == [0, pytest.approx(403 * 0.05), pytest.approx(401 * 0.03)]
    assert [s.prefill_ms for s in served] == [1, 1, 1]
    assert latency_s == pytest.approx((401 * 0.03 + 1) / 1000)


def test_text_that_is_slow_shows_to_a_client():
    slow = Cost(floor_ms=1, new_token_us=0, cached_token_us=0, text_us=500)
    with quick_server(cost=slow) as server, client_of(server) as client:
        ids = list(range(100, 300))
        client.stream_generate(ids)
        body = {"text": decode(ids), "sampling_params": {"max_new_tokens": 1}}
        assert client.post("/generate", json=body).elapsed.total_seconds() >= 0.1
        assert [s.form_ms for s in server.served] == [0, 100]


@pytest.mark.parametrize(("version", "said"), [("0.5.21", None), ("0.5.22", {"cached_tokens": 0})])
def test_usage_of_a_prompt_of_which_nothing_was_cached(version, said):
    settings = Settings(sglang_version=version)
    with quick_server(settings=settings) as server, client_of(server) as client:
        assert chat(client, MESSAGES)["usage"]["prompt_tokens_details"] == said


def test_a_chat_without_a_limit_fills_the_context():
    settings = Settings(context_length_tokens=40)
    cost = Cost(floor_ms=1, decode_ms=0)
    with quick_server(settings=settings, cost=cost) as server, client_of(server) as client:
        body = {"messages": MESSAGES}
        usage = client.post(CHAT, json=body).json()["usage"]
        assert (usage["prompt_tokens"], usage["total_tokens"]) == (10, 38)
        assert chat(client, MESSAGES, 3, max_completion_tokens=2)["usage"]["total_tokens"] == 12


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": []}, "Messages cannot be empty."),
        ({}, "messages must be a list"),
        ({"messages": [{"role": "robot", "content": "w20"}]}, "'robot' is none of system"),
        ({"messages": [{"role": "user"}]}, "a role and a text"),
        ({"messages": [{"role": "user", "content": 7}]}, "a role and a text"),
        ({"messages": ["w20"]}, "a role and a text"),
        ({"messages": MESSAGES, "max_tokens": -1}, "max_tokens"),
        ({"messages": MESSAGES, "max_tokens": 200_000, "stream": True}, "maximum context length"),
    ],
)
def test_a_chat_that_is_refused_is_a_400_even_in_a_stream(client, body, words):
    response = client.post(CHAT, json=body)
    assert response.status_code == 400
    assert response.json()["object"] == "error"
    assert words in response.json()["message"]


def test_faults_strike_chats_as_well():
    body = chat_body(MESSAGES, 3, stream=True)
    for faults, lengths in (
        (Faults(coalesce=2), [2, 1]),
        (Faults(no_tokens=1), []),
        (Faults(stream_error=1), []),
    ):
        with quick_server(faults) as server, client_of(server) as client:
            stream = streamed(client, body)
            assert stream.done
            contents = [e["choices"][0]["delta"] for e in stream.events if "choices" in e]
            assert [len(encode(d["content"])) for d in contents if d.get("content")] == lengths
            assert ["error" in e for e in stream.events[:1]] in ([], [faults.stream_error == 1])
