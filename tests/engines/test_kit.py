"""The offline kit, with wheels made by hand and a stand-in index: no network."""

import hashlib
import json
import lzma
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from append_prefill.engines import kit
from append_prefill.engines.kit import MIB, KitError, Wanted

HERE = ".".join(map(str, sys.version_info[:2]))


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: tuple[str, ...] = (),
    files: dict[str, bytes] | None = None,
    tag: str = "py3-none-any",
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    content = {f"{module}/__init__.py": f"__version__ = {version!r}\n".encode()} | (files or {})
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {r}\n" for r in requires)
    content[f"{info}/METADATA"] = metadata.encode()
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    content[f"{info}/RECORD"] = "".join(f"{n},,{len(c)}\n" for n, c in content.items()).encode()
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in content.items():
            archive.writestr(member, data)
    return path


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that `pip download` reads instead of an index."""
    return index_in(tmp_path, monkeypatch)


def index_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = folder / "index"
    place.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    return place


def names_of(collected: kit.Collected) -> dict[str, str]:
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
    collected = kit.collect(Wanted("0.5.17", have=have), tmp_path / "wheels")
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
    collected = kit.collect(Wanted("0.5.17", without=frozenset({"big"})), tmp_path / "wheels")
    assert collected.left_out == {"torch": ["sglang"], "big": ["sglang"]}


def test_a_stricter_requirement_met_later_replaces_the_wheel(tmp_path, index):
    make_wheel(index, "sglang", "0.5.17", requires=("alpha", "beta"))
    make_wheel(index, "alpha", "2.0")
    make_wheel(index, "alpha", "1.0")
    make_wheel(index, "beta", "1.0", requires=("alpha<2",))
    collected = kit.collect(Wanted("0.5.17"), tmp_path / "wheels")
    assert names_of(collected)["alpha"] == "1.0"


def test_wheels_that_are_there_are_not_fetched_again(tmp_path, index, monkeypatch):
    make_wheel(tmp_path / "wheels", "sglang", "0.5.17", requires=("alpha",))
    make_wheel(tmp_path / "wheels", "alpha")
    monkeypatch.setattr(kit.sys, "executable", "/nonexistent/python")
    assert set(kit.collect(Wanted("0.5.17"), tmp_path / "wheels").wheels) == {"sglang", "alpha"}


def test_a_wheel_that_cannot_be_had_is_named(tmp_path, index):
    make_wheel(index, "sglang", "0.5.17", requires=("nowhere==3",))
    with pytest.raises(KitError, match=r"--without NAME.*nowhere==3"):
        kit.collect(Wanted("0.5.17"), tmp_path / "wheels")


def test_have_reads_pip_freeze(tmp_path):
    file = tmp_path / "freeze.txt"
    file.write_text(
        "# node\nTorch==2.11.0+cu130\ntyping_extensions==4.15  # x\n"
        "local @ file:///wheels/local.whl\n-e git+https://example.com/x#egg=x\nplain\n\n"
    )
    assert kit.read_have(file) == {
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
    again = kit.repack(wheel, folder, [kit.PARTS["flash_ops"]], stored=False)
    assert again.name == wheel.name
    with zipfile.ZipFile(again) as archive:
        assert archive.testzip() is None
        assert "sgl_kernel/flash_ops.abi3.so" not in archive.namelist()
        assert archive.read("sgl_kernel/sm90/common_ops.so") == b"ops"
        record = archive.read("sglang_kernel-1.0.dist-info/RECORD").decode()
    assert "flash_ops" not in record
    assert "sm90/common_ops.so" in record


@pytest.fixture(scope="module")
def built_once(tmp_path_factory):
    """A kit of two small wheels and a kernel wheel larger than a share, in 4-MiB shares."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        index = index_in(folder, patch)
        make_wheel(index, "sglang", "0.5.17", requires=("sglang-kernel", "tiny"))
        make_wheel(index, "tiny", files={"tiny/data": b"t" * 1000})
        big = noise(5 * MIB)
        files = {"sgl_kernel/sm90/ops.so": big + big, "sgl_kernel/sm100/ops.so": noise(MIB, 2)}
        make_wheel(index, "sglang-kernel", "0.4.5", files=files)
        arguments = ["build", "--sglang", "0.5.17", "--out", str(folder / "kit")]
        arguments += ["--share-mib", "4", "--python", HERE, "--without", "sm100"]
        assert kit.main(arguments) == 0
    return folder / "kit"


@pytest.fixture
def built(built_once, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(built_once, tmp_path / "kit")


def shares_of(out: Path) -> list[Path]:
    return sorted(out.glob("share-*"))


def test_shares_keep_their_size_and_recompression_pays(built, capsys):
    shares = shares_of(built)
    # The second copy of the 5 MiB of noise is out of deflate's sight and within xz's.
    assert len(shares) == 2
    for share in shares:
        assert sum(f.stat().st_size for f in share.iterdir()) <= 4 * MIB
    manifest = json.loads((shares[0] / "manifest.json").read_text())
    assert manifest["shares"] == ["share-01", "share-02"]
    assert manifest["without"] == ["sm100"]
    entry = next(w for w in manifest["wheels"] if w["wheel"].startswith("sglang_kernel"))
    assert entry["xz"]
    assert len(entry["parts"]) == 2


def test_install_needs_only_the_shares_and_the_file_in_them(built, tmp_path):
    moved = [tmp_path / f"carried-{n}" for n in range(2)]
    for share, place in zip(shares_of(built), moved, strict=True):
        shutil.copytree(share, place)
    target = tmp_path / "site"
    command = [sys.executable, "-S", str(moved[0] / "kit.py"), "install", "--target", str(target)]
    command += ["--shares", *map(str, reversed(moved))]
    # -S hides the suite and its packages; pip runs in its own process and is found again.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"SGLang 0.5.17 installed: export PYTHONPATH={target}"
    assert hashlib.sha256((target / "sgl_kernel/sm90/ops.so").read_bytes()).digest() == (
        hashlib.sha256(noise(5 * MIB) * 2).digest()
    )
    assert not (target / "sgl_kernel/sm100").exists()
    env = {**os.environ, "PYTHONPATH": str(target)}
    code = "import sglang, tiny; print(sglang.__version__)"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    )
    assert ran.stdout == "0.5.17\n"
    again = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert again.stdout.strip() == f"SGLang 0.5.17 is already in {target}."
    assert not list(tmp_path.glob("kit-*"))  # nothing left behind beside the target


def test_a_missing_share_is_named(built, tmp_path):
    with pytest.raises(KitError, match="these shares are missing: share-02"):
        kit.install(shares_of(built)[:1], tmp_path / "site")


def test_a_damaged_part_is_named(built, tmp_path):
    share = shares_of(built)[1]
    part = max(share.glob("*.whl*"), key=lambda p: p.stat().st_size)
    data = bytearray(part.read_bytes())
    data[1000] ^= 1
    part.write_bytes(bytes(data))
    with pytest.raises(KitError, match=rf"{part.name} is damaged"):
        kit.install(shares_of(built), tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_shares_of_two_kits_do_not_mix(built, tmp_path):
    other = shares_of(built)[1] / "manifest.json"
    other.write_text(other.read_text().replace("0.5.17", "0.5.11"))
    with pytest.raises(KitError, match="2 different kits"):
        kit.install(shares_of(built), tmp_path / "site")


def test_another_python_is_refused(built, tmp_path):
    for share in shares_of(built):
        path = share / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"python": "3.9"}))
    with pytest.raises(KitError, match=r"for Python 3\.9, this is"):
        kit.install(shares_of(built), tmp_path / "site")


def test_check_verifies_and_installs_nothing(built, tmp_path, capsys):
    shares = list(map(str, shares_of(built)))
    target = tmp_path / "site"
    assert kit.main(["install", "--shares", *shares, "--target", str(target), "--check"]) == 0
    assert "3 wheels are whole" in capsys.readouterr().out
    assert not target.exists()


def test_a_folder_that_is_no_share_is_refused(tmp_path, capsys):
    arguments = ["install", "--shares", str(tmp_path), "--target", str(tmp_path / "site")]
    assert kit.main(arguments) == 2
    assert "is no share of a kit" in capsys.readouterr().err


@pytest.mark.parametrize("size", [1, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 7 * MIB])
def test_files_are_cut_where_a_share_is_full(tmp_path, size):
    """At, just below and just above the room of a share: no empty part, no empty share."""
    file = tmp_path / "a-1-py3-none-any.whl"
    file.write_bytes(noise(size))
    small = tmp_path / "b-1-py3-none-any.whl"
    small.write_bytes(b"b")
    room = 2 * MIB
    about = {"sglang": "1", "python": HERE}
    shares = kit.write_shares(
        [(file, file), (small, small)], tmp_path, room + kit.SHARE_RESERVE_BYTES, about
    )
    assert len(shares) == -(-(size + 1) // room)
    manifest = json.loads((shares[0] / "manifest.json").read_text())
    for entry in manifest["wheels"]:
        assert sum(part["bytes"] for part in entry["parts"]) == entry["bytes"]
        assert all(part["bytes"] > 0 for part in entry["parts"])
    assert kit.install(shares, tmp_path / "site", dry_run=True).endswith("2 wheels are whole.")


def test_a_share_too_small_for_anything_is_refused(tmp_path):
    with pytest.raises(KitError, match="too small"):
        kit.write_shares([], tmp_path, MIB, {})


def test_plan_prints_sizes_and_what_could_stay(tmp_path, index, capsys):
    make_wheel(index, "sglang", "0.5.17", requires=("sglang-kernel", "modelscope"))
    files = {"sgl_kernel/flash_ops.abi3.so": noise(3 * MIB), "sgl_kernel/sm100/a": noise(MIB, 2)}
    make_wheel(index, "sglang-kernel", "0.4.5", files=files)
    arguments = ["plan", "--sglang", "0.5.17", "--out", str(tmp_path / "kit")]
    assert kit.main([*arguments, "--without", "flash_ops"]) == 0
    out = capsys.readouterr().out
    assert "3.0 MiB of it flash_ops (left out)" in out
    assert "1.0 MiB of it sm100 (--without sm100 saves it)" in out
    assert "1.0 MiB  in 2 wheels: 1 shares of 60 MiB" in out
    assert "left out: modelscope (asked for by sglang)" in out
    assert not list((tmp_path / "kit").glob("share-*"))


def test_xz_is_what_the_node_reads(built):
    packed = list((built / "packed").glob("*.xz"))
    assert len(packed) == 1
    with lzma.open(packed[0]) as stream:
        assert stream.read(2) == b"PK"
