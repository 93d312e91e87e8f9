"""A server keeps sessions where the profile measures them and the version has them."""

import pytest

from append_prefill.engines.devices import cpu_device
from append_prefill.engines.resolve import resolve_engine
from append_prefill.engines.versions import SESSIONS_ARG
from append_prefill.workload.loading import load_profile


@pytest.mark.parametrize(
    ("version", "name", "there"),
    [
        ("0.5.23", "cpu-nano-chat", True),
        ("0.5.10", "cpu-nano-chat", True),
        ("0.5.9", "cpu-nano-chat", False),
        ("0.5.23", "cpu-nano", False),
    ],
)
def test_the_argument_is_there_where_it_is_known_and_used(
    make_interpreter, tmp_path, version, name, there
):
    engine = resolve_engine(
        "--sglang",
        str(make_interpreter(tmp_path / "python", sglang=version)),
        profile=load_profile(name),
        server_args={},
        model=None,
        dummy_weights=None,
        root=tmp_path,
    )
    assert (SESSIONS_ARG in engine._chosen(cpu_device())) is there
