"""Histories: columns, attributes, text."""

from __future__ import annotations

import copy
import math
import pickle

import pytest

from nnx.train import History
from nnx.train.history import SHOWN


def made(epochs=2):
    history = History()
    for i in range(epochs):
        history.append({"loss": 1.0 / (i + 1), "accuracy": 0.5, "rate": 1e-3, "seconds": 2.5})
    return history


def test_columns():
    history = made()

    assert list(history) == ["loss", "accuracy", "rate", "seconds"]
    assert history["loss"] == history.loss == [1.0, 0.5]
    assert dict(history)["accuracy"] == [0.5, 0.5]
    assert "loss" in history
    assert "validation_loss" not in history
    assert len(history.epochs) == 2


def test_a_figure_that_an_epoch_lacks_is_nan():
    history = made(1)
    history.append({"loss": 0.1, "validation_loss": 0.2})

    assert math.isnan(history.validation_loss[0])
    assert history.validation_loss[1] == 0.2
    assert math.isnan(history["accuracy"][1])


def test_unknown_columns():
    with pytest.raises(KeyError):
        made()["los"]
    with pytest.raises(AttributeError, match=r"no column 'los'; there are loss, accuracy, rate, seconds"):
        _ = made().los
    with pytest.raises(AttributeError, match="no epoch is over"):
        _ = History().loss


def test_epochs_are_copied():
    figures = {"loss": 1.0}
    history = History()
    history.append(figures)
    figures["loss"] = 2.0

    assert history.loss == [1.0]


def test_pickles_and_copies():
    history = made()

    assert dict(pickle.loads(pickle.dumps(history))) == dict(history)
    assert dict(copy.deepcopy(history)) == dict(history)


def test_text():
    history = made()
    history.append({"loss": 1e-7, "rate": 0.1, "seconds": 12.0})
    history.interrupted = True

    assert repr(history).splitlines() == [
        "epoch      loss  accuracy   rate  seconds",
        "    1    1.0000    0.5000  0.001     2.50",
        "    2    0.5000    0.5000  0.001     2.50",
        "    3  1.00e-07         -    0.1    12.00",
        "interrupted",
    ]
    assert repr(History()) == "<History of no epochs>"


def test_a_long_table_leaves_out_its_middle():
    lines = repr(made(100)).splitlines()

    assert len(lines) == 1 + SHOWN + 1
    assert set(lines[1 + SHOWN // 2].split()) == {"…"}
    assert lines[SHOWN // 2].split()[0] == "10"
    assert lines[SHOWN // 2 + 2].split()[0] == "91"
