"""Cutting into chunks, verifying and installing: what the node runs."""

import json
import lzma
import sys

import pytest

from append_prefill.engines.kit import chunks
from append_prefill.engines.kit.chunks import MIB, KitError
from tests.engines.kit.wheelhouse import noise

HERE = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture
def shares(tmp_path):
    """Two chunks of a recompressed file, which lies in both, and one that travels as it is."""
    big = tmp_path / "big-1-py3-none-any.whl"
    big.write_bytes(noise(3 * MIB))
    packed = tmp_path / f"{big.name}.xz"
    packed.write_bytes(lzma.compress(big.read_bytes(), preset=0))
    small = tmp_path / "small-1-py3-none-any.whl"
    small.write_bytes(b"small")
    about = {"sglang": "0.5.17", "python": HERE}
    shares = chunks.write_shares(
        [(packed, big), (small, small)], tmp_path / "kit", share_bytes(2 * MIB), about
    )
    assert len(shares) == 2
    return shares


def share_bytes(room: int) -> int:
    return room + chunks.SHARE_RESERVE_BYTES


def test_a_missing_share_is_named(shares, tmp_path):
    with pytest.raises(KitError, match="these chunks are missing: share-02"):
        chunks.install(shares[:1], tmp_path / "site")


def test_a_damaged_part_is_named(shares, tmp_path):
    part = max(shares[1].glob("*.whl*"), key=lambda p: p.stat().st_size)
    data = bytearray(part.read_bytes())
    data[1000] ^= 1
    part.write_bytes(bytes(data))
    with pytest.raises(KitError, match=rf"{part.name} is damaged"):
        chunks.install(shares, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_wheel_that_is_not_what_was_packed_is_named(shares, tmp_path):
    for share in shares:
        manifest = json.loads((share / "manifest.json").read_text())
        manifest["wheels"][0]["sha256"] = manifest["wheels"][1]["sha256"]
        (share / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(KitError, match="big-1-py3-none-any.whl is not what was packed"):
        chunks.install(shares, tmp_path / "site")


def test_shares_of_two_kits_do_not_mix(shares, tmp_path):
    other = shares[1] / "manifest.json"
    other.write_text(other.read_text().replace("0.5.17", "0.5.11"))
    with pytest.raises(KitError, match="2 different kits"):
        chunks.install(shares, tmp_path / "site")


def test_another_python_is_refused(shares, tmp_path):
    for share in shares:
        path = share / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"python": "3.9"}))
    with pytest.raises(KitError, match=r"for Python 3\.9, this is"):
        chunks.install(shares, tmp_path / "site")


@pytest.mark.parametrize("size", [1, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 7 * MIB])
def test_files_are_cut_where_a_share_is_full(tmp_path, size):
    """At, just below and just above the room of a chunk: no empty part, no empty chunk."""
    file = tmp_path / "a-1-py3-none-any.whl"
    file.write_bytes(noise(size))
    small = tmp_path / "b-1-py3-none-any.whl"
    small.write_bytes(b"b")
    room = 2 * MIB
    about = {"sglang": "1", "python": HERE}
    shares = chunks.write_shares([(file, file), (small, small)], tmp_path, share_bytes(room), about)
    assert len(shares) == -(-(size + 1) // room)
    manifest = json.loads((shares[0] / "manifest.json").read_text())
    for entry in manifest["wheels"]:
        assert sum(part["bytes"] for part in entry["parts"]) == entry["bytes"]
        assert all(part["bytes"] > 0 for part in entry["parts"])
    assert chunks.install(shares, tmp_path / "site", dry_run=True).endswith("2 wheels are whole.")


def test_a_share_too_small_for_anything_is_refused(tmp_path):
    with pytest.raises(KitError, match="too small"):
        chunks.write_shares([], tmp_path, MIB, {})
