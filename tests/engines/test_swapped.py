"""An environment's copy with another version of a package, made by pip from wheels at hand."""

from __future__ import annotations

import pytest

from append_prefill.engines.defaults import defaults_of, packages_of
from append_prefill.engines.swapped import is_copyable, swapped_environment, swapped_folder
from append_prefill.errors import InfrastructureError
from tests.engines.installed import installed_python, unpack, wheel


@pytest.fixture
def held(tmp_path, monkeypatch):
    """An environment with `ablated_a` 2 and `ablated_b` 1, and an index of wheels of both."""
    monkeypatch.setenv("APPEND_PREFILL_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    python = installed_python(tmp_path / "env", "0.5.23")
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    for name, version in (("ablated_a", "1"), ("ablated_a", "2"), ("ablated_b", "1")):
        wheel(tmp_path / "wheels", name, version)
    unpack(tmp_path / "wheels", "ablated_a", "2", site)
    unpack(tmp_path / "wheels", "ablated_b", "1", site)
    return defaults_of(python)


def test_one_package_is_another_version_and_the_original_is_as_before(held, tmp_path):
    swaps = {"ablated-a": "1", "ablated-b": None}
    python = swapped_environment(held, swaps, tmp_path / "log")
    assert is_copyable(held)
    assert python.parent.parent == swapped_folder(held, swaps)
    assert python.parent.parent.name.startswith("sglang-0.5.23+ablated-a-1+ablated-b-none+")
    found = packages_of(python)
    assert found.pop("ablated-a") == "1"
    assert found == {n: v for n, v in held.packages.items() if not n.startswith("ablated")}
    assert packages_of(tmp_path / "env" / "bin" / "python") == held.packages
    (one,) = (tmp_path / "env").glob("lib/python*/site-packages/sglang/__init__.py")
    assert one.stat().st_nlink == 2
    (file,) = (tmp_path / "env").glob("lib/python*/site-packages/ablated_a.py")
    assert file.read_text() == "VERSION = '2'\n"
    assert "ablated" in (tmp_path / "log").read_text()


def test_it_is_made_once_and_again_where_it_is_not_whole(held, tmp_path):
    python = swapped_environment(held, {"ablated-a": "1"}, tmp_path / "log")
    (file,) = python.parent.parent.glob("lib/python*/site-packages/ablated_a.py")
    file.write_text("# ours\n")
    assert swapped_environment(held, {"ablated-a": "1"}, tmp_path / "log") == python
    assert file.read_text() == "# ours\n"
    (info,) = python.parent.parent.glob("lib/python*/site-packages/ablated_a-1.dist-info")
    (info / "METADATA").unlink()
    swapped_environment(held, {"ablated-a": "1"}, tmp_path / "log")
    assert file.read_text() == "VERSION = '1'\n"


def test_a_version_that_cannot_be_had_leaves_nothing(held, tmp_path):
    with pytest.raises(InfrastructureError, match=r"install --no-deps ablated-a==7.*status 1"):
        swapped_environment(held, {"ablated-a": "7"}, tmp_path / "log")
    assert not swapped_folder(held, {"ablated-a": "7"}).exists()
    assert packages_of(tmp_path / "env" / "bin" / "python") == held.packages
