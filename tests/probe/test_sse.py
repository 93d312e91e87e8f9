from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from append_prefill.probe.sse import Event, parse_events

text = st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"-").replace(b"\r", b"-"))


@st.composite
def written_events(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, bytes]]]:
    """A stream, and its events as (offset just past the event's last byte, data)."""
    newline = draw(st.sampled_from([b"\n", b"\r\n"]))
    stream = b""
    expected = []
    for lines in draw(st.lists(st.lists(text, min_size=1, max_size=3), max_size=5)):
        for line in lines:
            noise = draw(st.sampled_from([b"", b": a comment", b"event: word", b"id", b"retry: 3"]))
            if noise:
                stream += noise + newline
            stream += b"data: " + line + newline
        stream += newline
        expected.append((len(stream), b"\n".join(lines)))
        stream += newline * draw(st.integers(0, 2))
    return stream, expected


@settings(derandomize=True, deadline=None)
@given(written_events(), st.data())
def test_how_a_stream_is_cut_changes_only_stamps_and_those_are_of_the_last_byte(
    written: tuple[bytes, list[tuple[int, bytes]]], data: st.DataObject
) -> None:
    stream, expected = written
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [
        (stamp, stream[start:end])
        for stamp, (start, end) in enumerate(pairwise([0, *cuts, len(stream)]))
    ]
    ends = list(accumulate(len(piece) for _, piece in chunks))
    events = parse_events(chunks)
    assert [event.data for event in events] == [data for _, data in expected]
    assert [event.stamp_ns for event in events] == [
        next(stamp for stamp, chunk_end in enumerate(ends) if chunk_end >= end)
        for end, _ in expected
    ]


def test_data_lines_join_and_one_space_goes() -> None:
    assert parse_events([(7, b"data:a\ndata:  b\ndata\n\n")]) == [Event(7, b"a\n b\n")]


def test_an_event_that_never_ended_and_one_without_data_are_none() -> None:
    assert parse_events([(1, b"event: ping\n\n: hello\n\ndata: half\n")]) == []


def test_coalesced_events_share_a_stamp_and_a_split_one_takes_the_later() -> None:
    chunks = [(1, b"data: a\n\ndata: b\n\nda"), (2, b"ta: c\n"), (3, b"\n")]
    assert parse_events(chunks) == [Event(1, b"a"), Event(1, b"b"), Event(3, b"c")]
