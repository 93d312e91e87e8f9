"""Which wheels a kit is made of, and how they are made smaller."""

import zipfile

import pytest
from packaging.utils import parse_wheel_filename

from append_prefill.engines.kit import wheels
from append_prefill.engines.kit.chunks import MIB, KitError
from append_prefill.engines.kit.wheels import Collected, Wanted
from append_prefill.engines.versions.packages import KERNEL_PARTS
from tests.engines.kit.wheelhouse import index_in, make_wheel, noise


@pytest.fixture
def index(tmp_path, monkeypatch):
    return index_in(tmp_path, monkeypatch)


def names_of(collected: Collected) -> dict[str, str]:
    return {n: str(parse_wheel_filename(p.name)[1]) for n, p in collected.wheels.items()}


def test_requirements_are_followed_for_the_node(tmp_path, index):
    make_wheel(
        index,
        "sglang",
        "0.5.17",
        requires=(
            "alpha==2.0",
            "beta[fast]",
            "torch==2.11.0",
            "modelscope",
            "numpy>=2",
            "transformers==5.12.1",
            "winonly; sys_platform == 'win32'",
            "tests; extra == 'test'",
        ),
    )
    make_wheel(index, "alpha", "1.0")
    make_wheel(index, "alpha", "2.0", requires=("gamma", "torch"))
    make_wheel(
        index, "beta", "3.0", requires=("delta; extra == 'fast'", "epsilon; extra == 'slow'")
    )
    make_wheel(index, "gamma", tag="cp312-abi3-manylinux_2_28_x86_64")
    make_wheel(index, "gamma", tag="cp310-cp310-manylinux_2_28_x86_64")
    make_wheel(index, "delta", "1.0", requires=("sglang",))  # a cycle
    make_wheel(index, "transformers", "5.12.1")
    have = {"torch": "2.11.0+cu130", "numpy": "2.5.2", "transformers": "5.17.0"}
    collected = wheels.collect(Wanted("0.5.17", have=have), tmp_path / "wheels")
    assert names_of(collected) == {
        "sglang": "0.5.17",
        "alpha": "2.0",
        "beta": "3.0",
        "gamma": "1.0",
        "delta": "1.0",
        "transformers": "5.12.1",  # the node's version does not fit
    }
    assert collected.wheels["gamma"].name == "gamma-1.0-cp312-abi3-manylinux_2_28_x86_64.whl"
    assert collected.left_out == {"modelscope": ["sglang"]}


def test_torch_is_left_out_and_named_where_the_node_does_not_list_it(tmp_path, index):
    make_wheel(index, "sglang", "0.5.17", requires=("torch==2.11.0", "big"))
    collected = wheels.collect(Wanted("0.5.17", without=frozenset({"big"})), tmp_path / "wheels")
    assert collected.left_out == {"torch": ["sglang"], "big": ["sglang"]}


def test_a_stricter_requirement_met_later_replaces_the_wheel(tmp_path, index):
    make_wheel(index, "sglang", "0.5.17", requires=("alpha", "beta"))
    make_wheel(index, "alpha", "2.0")
    make_wheel(index, "alpha", "1.0")
    make_wheel(index, "beta", "1.0", requires=("alpha<2",))
    collected = wheels.collect(Wanted("0.5.17"), tmp_path / "wheels")
    assert names_of(collected)["alpha"] == "1.0"


def test_wheels_that_are_there_are_not_fetched_again(tmp_path, index, monkeypatch):
    make_wheel(tmp_path / "wheels", "sglang", "0.5.17", requires=("alpha",))
    make_wheel(tmp_path / "wheels", "alpha")
    monkeypatch.setattr(wheels.sys, "executable", "/nonexistent/python")
    assert set(wheels.collect(Wanted("0.5.17"), tmp_path / "wheels").wheels) == {
        "sglang",
        "alpha",
    }


def test_a_wheel_that_cannot_be_had_is_named(tmp_path, index):
    make_wheel(index, "sglang", "0.5.17", requires=("nowhere==3",))
    with pytest.raises(KitError, match=r"--without NAME.*nowhere==3"):
        wheels.collect(Wanted("0.5.17"), tmp_path / "wheels")


def test_have_reads_pip_freeze(tmp_path):
    file = tmp_path / "freeze.txt"
    file.write_text(
        "# node\nTorch==2.11.0+cu130\ntyping_extensions==4.15  # x\n"
        "local @ file:///wheels/local.whl\n-e git+https://example.com/x#egg=x\nplain\n\n"
    )
    assert wheels.read_have(file) == {
        "torch": "2.11.0+cu130",
        "typing-extensions": "4.15",
        "local": None,
        "plain": None,
    }


def test_repacking_drops_parts_and_their_record(tmp_path):
    wheel = make_wheel(
        tmp_path,
        "sglang-kernel",
        files={"sgl_kernel/flash_ops.abi3.so": b"fa3", "sgl_kernel/sm90/common_ops.so": b"ops"},
    )
    folder = tmp_path / "packed"
    folder.mkdir()
    again = wheels.repack(wheel, folder, [KERNEL_PARTS["flash_ops"]], stored=False)
    assert again.name == wheel.name
    with zipfile.ZipFile(again) as archive:
        assert archive.testzip() is None
        assert "sgl_kernel/flash_ops.abi3.so" not in archive.namelist()
        assert archive.read("sgl_kernel/sm90/common_ops.so") == b"ops"
        record = archive.read("sglang_kernel-1.0.dist-info/RECORD").decode()
    assert "flash_ops" not in record
    assert "sm90/common_ops.so" in record


def test_the_parts_of_a_kernel_wheel_are_sized_as_they_travel(tmp_path):
    files = {"sgl_kernel/flash_ops.abi3.so": noise(MIB), "sgl_kernel/sm90/a": b"a" * MIB}
    wheel = make_wheel(tmp_path, "sglang-kernel", files=files)
    sizes = wheels.part_sizes_bytes(wheel)
    assert sizes.keys() == KERNEL_PARTS.keys()
    assert sizes["flash_ops"] == pytest.approx(MIB, rel=0.01)
    assert 0 < sizes["sm90"] < 0.01 * MIB
    assert sizes["sm100"] == 0


def test_what_the_suite_needs_travels_too(tmp_path, index, monkeypatch):
    make_wheel(index, "sglang", "0.5.17")
    make_wheel(index, "pydantic", "2.99")
    monkeypatch.undo()  # of the index too
    asked = [r for r in wheels.suite_requirements() if r.name == "pydantic"]
    assert len(asked) == 1
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setattr(wheels, "suite_requirements", lambda: asked)
    monkeypatch.setattr(wheels, "NOT_DECLARED", ())
    collected = wheels.collect(Wanted("0.5.17"), tmp_path / "wheels")
    assert names_of(collected) == {"sglang": "0.5.17", "pydantic": "2.99"}


def test_a_requirement_without_a_bound_gets_the_one_that_works(tmp_path, index):
    make_wheel(index, "sglang", "0.5.11", requires=("kernels",))
    make_wheel(index, "kernels", "0.12.3")
    make_wheel(index, "kernels", "0.16.2")
    assert names_of(wheels.collect(Wanted("0.5.11"), tmp_path / "old"))["kernels"] == "0.12.3"
    make_wheel(index, "sglang", "0.5.17", requires=("kernels>=0.14",))
    assert names_of(wheels.collect(Wanted("0.5.17"), tmp_path / "new"))["kernels"] == "0.16.2"


def test_what_is_imported_and_not_declared_travels(tmp_path, index, monkeypatch):
    make_wheel(index, "sglang", "0.5.17")
    make_wheel(index, "dill", "0.4")
    monkeypatch.setattr(wheels, "NOT_DECLARED", ("dill",))
    collected = wheels.collect(Wanted("0.5.17"), tmp_path / "wheels")
    assert names_of(collected) == {"sglang": "0.5.17", "dill": "0.4"}
