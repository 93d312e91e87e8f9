"""Server-sent events out of stamped bytes: pure, and run after the clock has stopped."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its data, and the stamp (ns) of the chunk that brought its last byte."""

    stamp_ns: int
    data: bytes


def parse_events(chunks: Sequence[tuple[int, bytes]]) -> list[Event]:
    """The complete events of a stream given as (stamp_ns, bytes) in the order of arrival.

    Follows the HTML standard's event stream: `data` lines of one event are joined by a newline,
    one space after the colon is dropped, comments and other fields are passed over, an event
    without data is none, and one that its blank line never ended is dropped. Lines end in LF or
    CRLF; a lone CR, which the standard allows and no server sends, is not a line's end. How the
    stream was cut into chunks changes no event, only the stamps.
    """
    stream = b"".join(data for _, data in chunks)
    chunk_ends = list(accumulate(len(data) for _, data in chunks))
    events: list[Event] = []
    lines: list[bytes] = []
    start = 0
    while (newline := stream.find(b"\n", start)) >= 0:
        line = stream[start:newline].removesuffix(b"\r")
        start = newline + 1
        if line:
            field, _, value = line.partition(b":")
            if field == b"data":
                lines.append(value.removeprefix(b" "))
        elif lines:
            # The first chunk whose end lies past the newline brought it; empty chunks never do.
            stamp_ns, _ = chunks[bisect_left(chunk_ends, start)]
            events.append(Event(stamp_ns, b"\n".join(lines)))
            lines = []
    return events
