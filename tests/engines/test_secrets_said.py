"""A refused argument is named without the secret in it: a CI keeps what is printed."""

import pytest

from append_prefill.engines.resolve import resolve_engine
from append_prefill.errors import UsageError
from append_prefill.workload.loading import load_profile


@pytest.mark.parametrize("simulated", [True, False])
def test_a_refusal_does_not_say_the_key(make_interpreter, tmp_path, simulated):
    python = make_interpreter(tmp_path / "python", sglang="0.5.23")
    engine = resolve_engine(
        "--sglang",
        "simulated" if simulated else str(python),
        profile=load_profile("cpu-nano"),
        server_args={"--server-arg": ["--api-key=hunter2"]},
        model=None,
        dummy_weights=None,
        root=tmp_path,
    )
    with pytest.raises(UsageError, match=r"--api-key=\*\*\*") as refused:
        engine.check()
    assert "hunter2" not in str(refused.value)
