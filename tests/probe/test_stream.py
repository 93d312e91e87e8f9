"""What an event stream says, of bytes and stamps by hand."""

import orjson
import pytest

from append_prefill.probe.stream import Stream, read_stream
from append_prefill.probe.transport import Exchange


def read(*payloads, ends=b"data: [DONE]\n\n"):
    """Of events 2 ms apart, the first 3 ms after the request was sent."""
    sent_ns = 7_000_000
    events = [b"data: " + orjson.dumps(payload) + b"\n\n" for payload in payloads]
    stamped = [(sent_ns + 3_000_000 + 2_000_000 * n, event) for n, event in enumerate(events)]
    return read_stream(Exchange(sent_ns, [*stamped, (sent_ns + 50_000_000, ends)]))


CHUNK = {"choices": [{"delta": {"content": "x"}}], "usage": None}
COUNTED = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}


def test_events_have_their_times_since_the_request_was_sent():
    assert read(CHUNK, COUNTED) == Stream([(3.0, CHUNK), (5.0, COUNTED)], done=True)
    assert read({"text": "x"}, ends=b"") == Stream([(3.0, {"text": "x"})], done=False)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"usage": {"prompt_tokens": "3"}}, "prompt_tokens is no count"),
        ({"usage": [3]}, "an event whose token counts are no JSON object"),
        ({"usage": {"prompt_tokens": 3}, "output_ids": "ids"}, "output_ids are no list of ids"),
        # SGLang's own counts go before those of OpenAI's protocol.
        ({"usage": {}, "meta_info": {"cached_tokens": -1}}, "cached_tokens is no count"),
        ({"usage": {"cached_tokens": -1}, "meta_info": {}}, None),
    ],
)
def test_counts_of_either_protocol_are_looked_at(payload, error):
    found = read(CHUNK, payload)
    assert found.error == error
    assert found.payloads[:1] == [(3.0, CHUNK)]
    assert found.done is (error is None)
