"""Files of weights: what is written comes back, and what is broken says so."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping

import numpy as np
import pytest

import nnx
from nnx.interop import safetensors as room


class Holder:
    def __init__(self, **arrays):
        self._arrays = arrays

    def arrays(self) -> Mapping[str, object]:
        return self._arrays


def model(flag="cpu", seed=0):
    rng = nnx.Generator(seed)
    return nnx.Sequential(nnx.Linear(3, 4, rng=rng), nnx.relu, nnx.Dropout(0.5, rng=rng), nnx.Linear(4, 2, rng=rng)).to(
        flag
    )


def test_a_model_comes_back(flag, tmp_path):
    saved, other = model(flag), model("cpu", seed=1)
    path = tmp_path / "model.safetensors"

    nnx.save_weights(path, saved)
    other.load(nnx.load_weights(path))

    expected = {name: nnx.to_numpy(array) for name, array in saved.arrays().items()}
    found = other.arrays()
    assert found.keys() == expected.keys()
    assert {"0.weight", "3.bias"} < found.keys()
    assert set(saved.buffers()) <= found.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])
    x = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(nnx.to_numpy(saved(nnx.asarray(x, device=flag))), other(x), rtol=1e-5)


def test_frozen_parameters_are_written_too(tmp_path):
    frozen = model().freeze("0.*")

    nnx.save_weights(tmp_path / "w", frozen)

    assert "0.weight" in nnx.load_weights(tmp_path / "w")


@pytest.mark.parametrize(
    "dtype", "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64".split()
)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_dtypes_and_shapes(tmp_path, dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)

    nnx.save_weights(tmp_path / "w", Holder(a=array))
    found = nnx.load_weights(tmp_path / "w")["a"]

    assert found.dtype == array.dtype
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)
    assert found.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6.0).reshape(2, 3).T,
        np.arange(6.0)[::-1],
        np.arange(12.0)[::2],
        np.broadcast_to(np.float32(3), (2, 2)),
        np.arange(6, dtype=">f4"),
    ],
    ids=["fortran", "transposed", "reversed", "strided", "broadcast", "big-endian"],
)
def test_memory_layouts(tmp_path, array):
    nnx.save_weights(tmp_path / "w", Holder(a=array))

    np.testing.assert_array_equal(nnx.load_weights(tmp_path / "w")["a"], array)


def test_the_file_is_one_of_the_safetensors_format(tmp_path):
    from safetensors import safe_open

    nnx.save_weights(tmp_path / "w", model())

    with safe_open(tmp_path / "w", framework="np") as opened:
        assert opened.metadata() == {"format": "nnx", "version": "1"}
        assert set(opened.keys()) == set(model().arrays())


def test_dtype_that_no_file_holds(tmp_path):
    with pytest.raises(nnx.DTypeError, match=r"a has dtype complex128.* cast the model first"):
        nnx.save_weights(tmp_path / "w", Holder(a=np.zeros(2, complex)))
    assert os.listdir(tmp_path) == []


def test_bfloat16_is_refused(tmp_path):
    torch = pytest.importorskip("torch")

    with pytest.raises(nnx.DTypeError, match="bfloat16"):
        nnx.save_weights(tmp_path / "w", Holder(a=torch.zeros(2, dtype=torch.bfloat16)))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "w"
    nnx.save_weights(path, Holder(a=np.ones(3)))
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        nnx.save_weights(path, Holder(a=np.zeros(3)))

    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w"]


def test_the_file_appears_whole(tmp_path, monkeypatch):
    """Before the rename the new file is complete and flushed; the old one is in place until then."""
    path = tmp_path / "w"
    nnx.save_weights(path, Holder(a=np.ones(3)))
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(room.os, "fsync", lambda fd: (events.append("flush"), fsync(fd)))

    def rename(source, target):
        np.testing.assert_array_equal(nnx.load_weights(source)["a"], np.zeros(3))
        np.testing.assert_array_equal(nnx.load_weights(target)["a"], np.ones(3))
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(room.os, "replace", rename)
    nnx.save_weights(path, Holder(a=np.zeros(3)))

    assert events[:2] == ["flush", "rename"]
    np.testing.assert_array_equal(nnx.load_weights(path)["a"], np.zeros(3))


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and links")
def test_permissions_and_links_are_those_of_a_plain_write(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "target")

    nnx.save_weights(tmp_path / "link", Holder(a=np.ones(1)))

    assert (tmp_path / "link").is_symlink()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "target")]
    assert modes[0] == modes[1]


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        nnx.save_weights(tmp_path / "no" / "w", model())


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        nnx.load_weights(tmp_path / "nothing")


def file_of(tmp_path):
    nnx.save_weights(tmp_path / "w", Holder(a=np.ones((4, 4))))
    return (tmp_path / "w").read_bytes()


@pytest.mark.parametrize("kept", [1, 7, 8, 20, -100, -1])
def test_every_truncation_is_called_one(tmp_path, kept):
    whole = file_of(tmp_path)
    (tmp_path / "w").write_bytes(whole[:kept])

    with pytest.raises(nnx.StateError, match=r"is truncated: its .* at byte \d+, the file at byte \d+; restore it"):
        nnx.load_weights(tmp_path / "w")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda whole: b"", "is empty"),
        (lambda whole: b"PK\x03\x04" + whole, "is not a safetensors file"),
        (lambda whole: b"\x89HDF\r\n\x1a\n and so on", "is not a safetensors file"),
        (lambda whole: b"a plain text file, some lines long", "is not a safetensors file"),
        (lambda whole: whole + b"more", "is damaged"),
        (lambda whole: whole[:8] + b"{?" + whole[10:], "is damaged: its header"),
        (lambda whole: len(b'{"a":1} ').to_bytes(8, "little") + b'{"a":1} ', "is damaged: its header"),
        (lambda whole: whole.replace(b"F64", b"F99"), "is damaged"),
        (lambda whole: whole.replace(b'"nnx"', b'"abc"'), "was not written by nnx.save_weights .* 'abc'"),
        (lambda whole: whole.replace(b'"1"', b'"9"'), "version '9' .* update nnx"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, change, message):
    whole = file_of(tmp_path)
    changed = change(whole)
    assert changed != whole
    (tmp_path / "w").write_bytes(changed)

    with pytest.raises(nnx.StateError, match=message) as caught:
        nnx.load_weights(tmp_path / "w")
    assert str(tmp_path / "w") in str(caught.value)


def test_a_file_of_another_library_says_how_to_read_it(tmp_path):
    from safetensors.numpy import load_file, save_file

    save_file({"weight": np.eye(2)}, tmp_path / "w", metadata={"format": "pt"})

    with pytest.raises(nnx.StateError, match="safetensors.numpy.load_file"):
        nnx.load_weights(tmp_path / "w")
    assert load_file(tmp_path / "w").keys() == {"weight"}


def test_the_header_is_json_that_names_each_array(tmp_path):
    whole = file_of(tmp_path)
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])

    assert header["a"]["shape"] == [4, 4]
    assert header["a"]["dtype"] == "F64"


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder .*nowhere does not exist: make it first"):
        nnx.save_weights(tmp_path / "nowhere" / "model.safetensors", model())
