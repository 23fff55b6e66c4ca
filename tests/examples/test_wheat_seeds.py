"""The data of the example wheat_seeds.py, and how it cuts them."""

from __future__ import annotations

import importlib
import math
import sys

import numpy as np
import pytest

from run_example import EXAMPLES


@pytest.fixture(scope="module")
def example():
    """The script as a module, with the modules that lie beside it."""
    before = set(sys.modules)
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module("wheat_seeds")
    finally:
        sys.path.remove(str(EXAMPLES))
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in {"wheat_seeds", "data", "options"}:
                del sys.modules[name]


@pytest.fixture
def seeds(example):
    """The reader."""
    return sys.modules["data.wheat_seeds"]


def test_shipped_table(seeds):
    x, labels = seeds.load()

    assert (x.shape, x.dtype) == ((210, 7), np.float32)
    assert labels.dtype == np.int32
    assert np.bincount(labels).tolist() == [70, 70, 70]
    assert x[0].tolist() == np.float32([15.26, 14.84, 0.871, 5.763, 3.312, 2.221, 5.22]).tolist()
    np.testing.assert_allclose(x[:, 2], 4 * math.pi * x[:, 0] / x[:, 1] ** 2, atol=0.01)  # the compactness
    document = (EXAMPLES / "data" / "README.md").read_text(encoding="utf-8")
    assert seeds.SHA256 in document
    assert f"{seeds.FILE.stat().st_size:,} bytes" in document


def test_changed_table(seeds, tmp_path):
    error = sys.modules["data.files"].DataError
    path = tmp_path / "seeds.csv"
    path.write_bytes(seeds.FILE.read_bytes().replace(b"15.26", b"15.27"))
    with pytest.raises(error, match=r"is not the published file .*git checkout"):
        seeds.load(path)
    with pytest.raises(error, match=r"cannot read .*gone\.csv"):
        seeds.load(tmp_path / "gone.csv")


def test_checkout_with_other_line_ends(seeds, tmp_path):
    path = tmp_path / "seeds.csv"
    path.write_bytes(seeds.FILE.read_bytes().replace(b"\n", b"\r\n"))

    assert np.array_equal(seeds.load(path)[0], seeds.load()[0])


def test_folds_are_disjoint_and_hold_everything(example):
    folds = list(example.folds(210, seed=0))

    assert [len(fold) for _, fold in folds] == [42] * 5
    assert sorted(np.concatenate([fold for _, fold in folds]).tolist()) == list(range(210))
    for train, fold in folds:
        assert sorted([*train.tolist(), *fold.tolist()]) == list(range(210))


def test_zero_rule_is_the_commonest_label(example):
    labels = np.asarray([0, 2, 2, 1])

    assert example.zero_rule(None, labels, np.zeros((3, 7)), None, quick=True).tolist() == [2, 2, 2]
