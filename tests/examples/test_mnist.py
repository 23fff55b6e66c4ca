"""The MNIST example: its data, its reader, and the whole script in its short form."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import importlib
import os
import sys
import threading

import numpy as np
import pytest

import nnx
import run_example
from run_example import EXAMPLES, figure

IMAGES = "train-images-idx3-ubyte.gz"


@pytest.fixture(scope="module")
def mnist():
    """The reader, which the script finds as `data.mnist` because it lies beside it."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module("data.mnist")
    finally:
        sys.path.remove(str(EXAMPLES))
        for name in [name for name in sys.modules if name == "data" or name.startswith("data.")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def full(mnist):
    """The full set, where this machine has it."""
    if not os.environ.get("NNX_DATA_DIR"):
        pytest.skip("NNX_DATA_DIR is not set")
    try:
        return mnist.load_full()
    except mnist.DataError as error:
        pytest.skip(str(error))


def idx(array, code=8):
    """A gzip-compressed IDX file."""
    header = bytes([0, 0, code, array.ndim]) + np.asarray(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes(), mtime=0)


run = functools.partial(run_example.run, "mnist.py")


# --- the shipped file -------------------------------------------------------------------------


def test_shipped_file_is_balanced(mnist):
    data = mnist.load_small()

    assert data.train_images.shape == (10_000, 28, 28)
    assert data.test_images.shape == (2_000, 28, 28)
    assert {array.dtype for array in data} == {np.dtype(np.uint8)}
    assert np.bincount(data.train_labels).tolist() == [1000] * 10
    assert np.bincount(data.test_labels).tolist() == [200] * 10
    assert data.train_images.max() == 255
    assert mnist.SMALL.stat().st_size < 2_100_000


def test_shipped_images_are_all_different(mnist):
    data = mnist.load_small()
    images = np.concatenate([data.train_images, data.test_images])

    assert len({image.tobytes() for image in images}) == 12_000


def test_documents_name_the_checksums(mnist):
    text = (EXAMPLES / "data" / "README.md").read_text()

    assert mnist.SMALL_SHA256 in text
    assert f"{mnist.SMALL.stat().st_size:,} bytes" in text
    assert all(name in text and sha256 in text for name, sha256 in mnist.FULL_SHA256.items())


def test_generator_makes_the_shipped_file_again(mnist, full):
    maker = importlib.import_module("data.make_mnist_small")

    assert maker.pack(maker.subset(full)) == mnist.SMALL.read_bytes()


def test_full_set(full):
    assert [array.shape for array in full] == [(60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)]
    assert np.bincount(full.train_labels).min() == 5421
    assert full.test_labels[:5].tolist() == [7, 2, 1, 0, 4]


# --- missing and corrupt files ----------------------------------------------------------------


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_missing_shipped_file(mnist, tmp_path):
    with pytest.raises(mnist.DataError, match=r"cannot read .*gone\.npz .*git checkout") as error:
        mnist.load_small(tmp_path / "gone.npz")
    one_sentence(error)


@pytest.mark.parametrize("harm", [lambda b: b[:-1], lambda b: b[:1000], lambda b: b"", lambda b: b"X" + b[1:]])
def test_corrupt_shipped_file(mnist, tmp_path, harm):
    path = tmp_path / "mnist_small.npz"
    path.write_bytes(harm(mnist.SMALL.read_bytes()))

    with pytest.raises(mnist.DataError, match=r"not the published file \(SHA-256 .* expected .*git checkout") as error:
        mnist.load_small(path)
    one_sentence(error)


def test_python_without_bzip2(mnist, monkeypatch):
    monkeypatch.setattr("zipfile.bz2", None)

    with pytest.raises(mnist.DataError, match="module bz2"):
        mnist.load_small()


def test_idx_round_trip(mnist, tmp_path):
    array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "x.gz").write_bytes(idx(array))

    np.testing.assert_array_equal(mnist.read_idx(tmp_path / "x.gz"), array)


ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(idx(ARRAY)[:-9], "truncated", id="truncated gzip"),
        pytest.param(idx(ARRAY)[:30] + b"\xff\xff" + idx(ARRAY)[32:], "truncated or is no gzip", id="damaged gzip"),
        pytest.param(b"<html>not found</html>", "no gzip file", id="a web page"),
        pytest.param(b"", "not an IDX file", id="empty"),
        pytest.param(gzip.compress(b"\0\0\x08"), "not an IDX file", id="three bytes"),
        pytest.param(gzip.compress(b"\0\0\x08\x03\0\0"), "not an IDX file", id="header cut"),
        pytest.param(gzip.compress(b"PK\3\4 something else"), "not an IDX file", id="another format"),
        pytest.param(idx(ARRAY, code=0x0D), "not an IDX file of unsigned bytes", id="floats"),
        pytest.param(gzip.compress(gzip.decompress(idx(ARRAY))[:-5]), "24 bytes .* holds 19", id="elements missing"),
        pytest.param(gzip.compress(gzip.decompress(idx(ARRAY)) + b"\0"), "24 bytes .* holds 25", id="elements left"),
        pytest.param(idx(ARRAY), "not the published file", id="checksum"),
    ],
)
def test_corrupt_idx_file(mnist, tmp_path, content, message):
    path = tmp_path / IMAGES
    path.write_bytes(content)

    with pytest.raises(mnist.DataError, match=message) as error:
        mnist.read_idx(path, mnist.FULL_SHA256[IMAGES])
    assert str(path) in one_sentence(error)
    assert "fetch it again" in one_sentence(error)


def test_missing_full_file(mnist, tmp_path, monkeypatch):
    monkeypatch.setenv("NNX_DATA_DIR", str(tmp_path))

    with pytest.raises(mnist.DataError, match=r"NNX_DATA_DIR is .* neither .* nor .* exists: put") as error:
        mnist.load_full()
    one_sentence(error)


@pytest.mark.parametrize("subfolder", ["", "mnist"])
def test_full_file_is_found_in_the_folder_or_its_subfolder(mnist, tmp_path, monkeypatch, subfolder):
    folder = tmp_path / subfolder
    folder.mkdir(exist_ok=True)
    (folder / IMAGES).write_bytes(b"broken")
    for name in mnist.FULL_SHA256:
        (folder / name).write_bytes(b"broken")
    monkeypatch.setenv("NNX_DATA_DIR", str(tmp_path))

    with pytest.raises(mnist.DataError, match="no gzip file") as error:
        mnist.load_full()
    assert str(folder / IMAGES) in str(error.value)


# --- the download -----------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """No data folder, and a cache folder of the test's own."""
    pooch = pytest.importorskip("pooch")
    monkeypatch.delenv("NNX_DATA_DIR", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "nnx" / "mnist"


@pytest.fixture
def mirror(mnist, tmp_path, monkeypatch):
    """A server on this machine, with four small files in the place of the published ones."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    arrays = [ARRAY, np.array([3, 1], np.uint8), ARRAY[:1], np.array([7], np.uint8)]
    sums = {}
    for name, array in zip(mnist.FULL_SHA256, arrays, strict=True):
        (folder / name).write_bytes(idx(array))
        sums[name] = hashlib.sha256(idx(array)).hexdigest()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}/"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(mnist, "FULL_SHA256", sums)
    monkeypatch.setattr(mnist, "MIRRORS", (base + "nothing-here/", base))
    yield folder, asked
    server.shutdown()
    server.server_close()


def test_download_once_from_the_second_mirror(mnist, cache, mirror):
    _, asked = mirror

    first = mnist.load_full()
    requests = len(asked)
    second = mnist.load_full()

    np.testing.assert_array_equal(first.train_images, ARRAY)
    assert first.test_labels.tolist() == [7]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert sorted(path.name for path in cache.iterdir()) == sorted(mnist.FULL_SHA256)
    assert requests == len(asked) >= 8  # the first mirror was asked in vain, and then nobody again


def test_corrupt_cached_file_is_downloaded_again(mnist, cache, mirror):
    mnist.load_full()
    (cache / IMAGES).write_bytes(b"damaged")

    np.testing.assert_array_equal(mnist.load_full().train_images, ARRAY)


def test_download_with_a_wrong_checksum(mnist, cache, mirror):
    folder, _ = mirror
    (folder / IMAGES).write_bytes(b"something else")

    with pytest.raises(mnist.DataError, match=f"cannot download {IMAGES} .*SHA256 hash") as error:
        mnist.load_full()
    one_sentence(error)
    assert not (cache / IMAGES).exists()


def test_no_network(mnist, cache, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", ("http://127.0.0.1:1/",))

    with pytest.raises(mnist.DataError, match=r"cannot download .* set NNX_DATA_DIR"):
        mnist.load_full()


def test_no_pooch(mnist, monkeypatch):
    monkeypatch.delenv("NNX_DATA_DIR", raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)

    with pytest.raises(mnist.DataError, match=r"pip install 'nnx-array\[examples\]'"):
        mnist.load_full()


# --- the script -------------------------------------------------------------------------------


def available(flag):
    try:
        nnx.device(flag)
    except nnx.NnxError as error:
        return pytest.param(flag, marks=pytest.mark.skip(reason=str(error)))
    return flag


@pytest.mark.parametrize("device", [available(flag) for flag in ("cpu", "cuda", "torch", "jax", "strict")])
def test_quick_run(device, tmp_path):
    result = run("--quick", "--device", device, folder=tmp_path)

    assert result.returncode == 0, result.stderr
    assert figure(r"test accuracy ([\d.]+)%", result.stdout) > 50
    assert figure(r"([\d,]+) images a second", result.stdout) > 0
    assert str(nnx.device(device)) in result.stdout
    assert nnx.device(device).backend.version() in result.stdout
    assert (tmp_path / "mnist.safetensors").is_file()
    assert "\r" not in result.stderr  # no progress bar where nobody watches


@pytest.mark.parametrize(
    ("device", "arguments", "form"),
    [
        pytest.param("cpu", ["--no-capture"], "eager, float32"),
        run_example.available("jax", ["--capture"], "captured, float32"),
        run_example.available("torch", ["--precision", "bfloat16"], "bfloat16"),
        run_example.available("cuda", ["--no-capture"], "eager, float32"),
        run_example.available("cuda", ["--precision", "bfloat16", "--capture"], "captured, bfloat16"),
    ],
)
def test_forms(device, arguments, form, tmp_path):
    result = run("--quick", "--device", device, *arguments, folder=tmp_path)

    assert result.returncode == 0, result.stderr
    assert form in result.stdout
    assert figure(r"test accuracy ([\d.]+)%", result.stdout) > 50


def test_captured_and_eager_runs_give_the_same_weights(tmp_path):
    for name, form in (("a", "--capture"), ("b", "--no-capture")):
        assert run("--quick", "--device", "cpu", form, "--save", name, folder=tmp_path).returncode == 0
    a, b = (nnx.load_weights(tmp_path / name) for name in ("a", "b"))

    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_same_seed_same_weights(tmp_path):
    for name in ("a", "b", "c"):
        assert run("--quick", "--seed", int(name == "c"), "--save", name, folder=tmp_path).returncode == 0
    a, b, c = (nnx.load_weights(tmp_path / name) for name in ("a", "b", "c"))

    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not np.array_equal(a["1.weight"], c["1.weight"])


def test_plot_and_saved_weights(mnist, tmp_path):
    pytest.importorskip("matplotlib")
    result = run("--quick", "--hidden", "32", "--plot", "p.png", "--save", "w.safetensors", folder=tmp_path)

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    model = nnx.Sequential(
        nnx.Dropout(0.1), nnx.Linear(784, 32), nnx.relu, nnx.Dropout(0.3), nnx.Linear(32, 10), device="cpu"
    )
    model.load(nnx.load_weights(tmp_path / "w.safetensors"))
    data = mnist.load_small()
    guesses = model(data.test_images.reshape(-1, 784).astype(np.float32) / 255).argmax(axis=1)
    accuracy = figure(r"test accuracy ([\d.]+)%", result.stdout)
    assert 100 * np.mean(guesses == data.test_labels) == pytest.approx(accuracy, abs=0.006)


def test_help(tmp_path):
    result = run("--help", folder=tmp_path)

    assert result.returncode == 0
    for option in "device full quick epochs batch-size rate hidden seed save plot capture precision".split():
        assert f"--{option}" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "abacus"], "abacus"),
        (["--precision", "bfloat16"], "precision='bfloat16'"),
        (["--precision", "int8"], "invalid choice: 'int8'"),
        (["--full"], "NNX_DATA_DIR is"),
        (["--epochs", "0"], "'0' is not a positive integer"),
        (["--batch-size", "-1"], "'-1' is not a positive integer"),
        (["--save", "nowhere/w.safetensors"], "does not exist"),
        (["--plot", "p.txt"], ".png, .svg or .pdf"),
        (["--quick", "--rate", "1e30"], "loss"),
    ],
)
def test_mistake_is_one_line(arguments, message, tmp_path):
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    result = run(*arguments, folder=tmp_path, NNX_DATA_DIR=str(tmp_path))

    assert result.returncode in {1, 2}
    assert "Traceback" not in result.stderr
    assert message in result.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
