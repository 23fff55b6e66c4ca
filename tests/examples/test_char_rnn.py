"""The character model: its text, its table of bigrams, and the whole script in its short form."""

from __future__ import annotations

import importlib
import os
import sys

import numpy as np
import pytest

import nnx
from run_example import EXAMPLES, available, figure, run

SCRIPT = "char_rnn.py"


@pytest.fixture(scope="module")
def example():
    """The script as a module, with the modules that lie beside it."""
    before = set(sys.modules)
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module("char_rnn")
    finally:
        sys.path.remove(str(EXAMPLES))
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in {"char_rnn", "data", "options"}:
                del sys.modules[name]


@pytest.fixture
def shakespeare(example):
    return sys.modules["data.shakespeare"]


# --- the text ---------------------------------------------------------------------------------


def test_shipped_text(shakespeare):
    text = shakespeare.load_small()

    assert len(text) == 99_843
    assert len(set(text)) == 61
    assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.")
    document = (EXAMPLES / "data" / "README.md").read_text()
    assert shakespeare.SMALL_SHA256 in document
    assert shakespeare.FULL_SHA256 in document


def test_shipped_text_is_the_beginning_of_the_full_one(example, shakespeare):
    if not os.environ.get("NNX_DATA_DIR"):
        pytest.skip("NNX_DATA_DIR is not set")
    try:
        full = shakespeare.load_full()
    except sys.modules["data.files"].DataError as error:
        pytest.skip(str(error))
    assert len(full) == 1_115_394
    assert full.startswith(shakespeare.load_small())


def test_changed_text(example, shakespeare, tmp_path):
    error = sys.modules["data.files"].DataError
    path = tmp_path / "text.txt"
    path.write_bytes(shakespeare.SMALL.read_bytes()[:-1])
    with pytest.raises(error, match=r"is not the published file .*git checkout"):
        shakespeare.load_small(path)
    with pytest.raises(error, match=r"cannot read .*gone\.txt"):
        shakespeare.load_small(tmp_path / "gone.txt")


def test_a_checkout_with_other_line_ends(shakespeare, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(shakespeare.SMALL.read_bytes().replace(b"\n", b"\r\n"))
    assert shakespeare.load_small(path) == shakespeare.load_small()


# --- its parts --------------------------------------------------------------------------------


def test_pieces_are_the_text_in_order(example):
    ids = np.arange(32 * 10 + 5)
    pieces = list(example.pieces(ids, 4, nnx.device("cpu")))

    assert [x.shape for x, _ in pieces] == [(32, 4), (32, 4), (32, 2)]
    x, y = (np.concatenate(parts, axis=1) for parts in zip(*pieces, strict=True))
    np.testing.assert_array_equal(x.reshape(-1), ids[:320])
    np.testing.assert_array_equal(y, x + 1)


def test_bigrams(example):
    ids, unseen = np.asarray([0, 1, 0, 1, 0, 0]), np.asarray([0, 1, 1])
    # of 0: twice 1, once 0, plus one each; of 1: twice 0, plus one each
    expected = -(np.log(3 / 5) + np.log(1 / 4)) / 2
    assert example.bigrams(ids, unseen, 2) == pytest.approx(expected)


def test_the_loss_does_not_depend_on_where_the_text_is_cut(example):
    device = nnx.device("cpu")
    model = example.CharacterModel(5, 4, "rnn", device)
    ids = np.random.default_rng(0).integers(0, 5, 32 * 12 + 1).astype(np.int32)
    whole, cut = (example.evaluate(model, ids, length, device) for length in (12, 5))
    assert cut == pytest.approx(whole, rel=1e-5)


def test_what_is_written_follows_the_model(example):
    device = nnx.device("cpu")
    model = example.CharacterModel(3, 4, "lstm", device)
    model.head.weight, model.head.bias = 0 * model.head.weight, np.asarray([-99, 99, -99], "float32")
    assert example.write(model, "\nab", 7, nnx.Generator(0), device) == "aaaaaaa"


# --- the script -------------------------------------------------------------------------------


@pytest.mark.parametrize("device", [available(flag) for flag in ("cpu", "cuda", "torch")])
def test_quick_run(device, tmp_path):
    result = run(SCRIPT, "--quick", "--device", device, folder=tmp_path)

    assert result.returncode == 0, result.stderr
    table = figure(r"a table of bigrams: ([\d.]+) nats", result.stdout)
    tested = figure(r"test loss ([\d.]+) nats", result.stdout)
    assert figure(r"([\d.]+) nats below the table of bigrams", result.stdout) == pytest.approx(
        table - tested, abs=0.002
    )
    assert str(nnx.device(device)) in result.stdout
    assert "\r" not in result.stderr  # no progress bar where nobody watches


@pytest.mark.parametrize(
    ("device", "cell"), [available("torch", "rnn"), available("strict", "rnn"), ("cpu", "lstm"), ("cpu", "gru")]
)
def test_one_epoch(device, cell, tmp_path):
    result = run(SCRIPT, "--quick", "--epochs", "1", "--device", device, "--cell", cell, folder=tmp_path)

    assert result.returncode == 0, result.stderr
    assert figure(r"test loss ([\d.]+) nats", result.stdout) < np.log(57)  # of a guess among all characters


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    result = run(SCRIPT, "--quick", "--hidden", "8", "--epochs", "2", "--plot", "p.svg", folder=tmp_path)

    assert result.returncode == 0, result.stderr
    assert "<svg" in (tmp_path / "p.svg").read_text()


def test_help(tmp_path):
    result = run(SCRIPT, "--help", folder=tmp_path)

    assert result.returncode == 0
    for option in "device full quick cell hidden epochs rate seed plot".split():
        assert f"--{option}" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "abacus"], "abacus"),
        (["--full"], "NNX_DATA_DIR is"),
        (["--cell", "brain"], "invalid choice: 'brain'"),
        (["--hidden", "0"], "'0' is not a positive integer"),
    ],
)
def test_mistake_is_one_line(arguments, message, tmp_path):
    result = run(SCRIPT, *arguments, folder=tmp_path, NNX_DATA_DIR=str(tmp_path))

    assert result.returncode in {1, 2}
    assert "Traceback" not in result.stderr
    assert message in result.stderr.splitlines()[-1]
