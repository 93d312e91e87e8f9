"""One device's time: prefills one after the other, decodes between or beside them. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

Span = tuple[int, int]


class Timeline:
    """When the device prefills, in ns of one clock, and what decodes make of the time.

    `interference` is the share of a prefill's time for which decodes stand still. Written under the
    scheduler's lock; `due_ns` may be asked without it, since `spans` is replaced as a whole.
    """

    def __init__(self, interference: float) -> None:
        self._interference = interference
        self.spans: tuple[Span, ...] = ()
        self._free_ns = 0

    def start_ns(self, ready_ns: int) -> int:
        """When a prefill that is ready by then would begin: after all those before it."""
        return max(ready_ns, self._free_ns)

    def prefill(
        self,
        ready_ns: int,
        chunks_ns: Sequence[int],
        *,
        step_ns: int,
        decodes: Callable[[int], int],
    ) -> int:
        """Queue a prefill of these chunks; when its last one ends.

        Between two chunks the requests that decode get a step of `step_ns`, for as much of it as a
        prefill would have kept them from; `decodes` says how many there are at a time.
        """
        at_ns = self.start_ns(ready_ns)
        gap_ns = int(step_ns * self._interference)
        for number, chunk_ns in enumerate(chunks_ns):
            if number and gap_ns and decodes(at_ns):
                at_ns += gap_ns
            self.spans = (*self.spans, (at_ns, at_ns + chunk_ns))
            at_ns += chunk_ns
        self._free_ns = at_ns
        return at_ns

    def due_ns(self, from_ns: int, work_ns: int) -> int:
        """When decoding that began at `from_ns` has gone on for `work_ns`.

        As far as is known now: a prefill that comes before then moves it back.
        """
        at_ns, left_ns, spans = from_ns, work_ns, self.spans
        for index in range(bisect.bisect_left(spans, (from_ns, 0)), len(spans)):
            start_ns, end_ns = spans[index]
            if left_ns <= start_ns - at_ns:
                break
            left_ns -= start_ns - at_ns
            beside_ns = int((end_ns - start_ns) * (1 - self._interference))
            if left_ns <= beside_ns:
                return start_ns + int(left_ns / (1 - self._interference))
            left_ns -= beside_ns
            at_ns = end_ns
        return at_ns + left_ns

    def forget_before(self, ns: int | None) -> None:
        """Drop the prefills that began before `ns`, None: all. Nobody decodes since before it."""
        first = len(self.spans) if ns is None else bisect.bisect_left(self.spans, (ns, 0))
        self.spans = self.spans[first:]
