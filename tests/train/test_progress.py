"""What is shown: bars in a terminal, lines in a file, nothing unless asked elsewhere."""

from __future__ import annotations

import io
import math
import os
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import nnx
from nnx.train import progress as room
from nnx.train.progress import Bars, Lines, Quiet, choose, summary_line

FIGURES = {
    "loss": 0.21314,
    "accuracy": 0.93521,
    "validation_loss": 0.22411,
    "validation_accuracy": 0.9301,
    "rate": 0.001,
    "seconds": 12.34,
}


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def fileno(self):
        return 2


@pytest.fixture
def terminal(monkeypatch):
    """Makes standard error a terminal, and every step due to be shown. To be called in the test itself."""

    def attach(columns=80):
        written = Terminal()
        monkeypatch.setattr(sys, "stderr", written)
        monkeypatch.setattr(room.os, "get_terminal_size", lambda descriptor: os.terminal_size((columns, 24)))
        return written

    monkeypatch.setattr(room, "INTERVAL", 0.0)
    return attach


def screen(written, columns=80):
    """The lines that a terminal shows in the end."""
    lines = []
    for line in written.getvalue().split("\n"):
        shown = ""
        for part in line.split("\r"):
            assert len(part) < columns, part
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def fit(**options):
    x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    model = nnx.Linear(1, 2, rng=nnx.Generator(0))
    trainer = nnx.Trainer(
        model, loss=nnx.losses.cross_entropy, optimizer=nnx.optim.SGD(0.1), metrics=[nnx.metrics.accuracy]
    )
    y = (x[:, 0] > 0).astype(np.int64)
    return trainer.fit((x, y), validation=(x, y), **{"epochs": 3, "batch_size": 4} | options)


def test_nothing_where_there_is_no_terminal(capfd):
    fit()

    assert capfd.readouterr() == ("", "")


def test_lines_where_there_is_no_terminal_and_progress_is_asked_for(capfd):
    history = fit(progress=True)

    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        f"epoch 1/3: loss {history.loss[0]:.4f}, accuracy {history.accuracy[0]:.4f} | validation "
    )
    assert "\r" not in err


def test_bars_in_a_terminal(terminal):
    written = terminal()
    history = fit()

    lines = screen(written)
    assert len(lines) == 4
    assert lines[3] == ""
    for i, line in enumerate(lines[:3]):
        assert line.startswith(f"epoch {i + 1}/3: loss {history.loss[i]:.4f}, accuracy {history.accuracy[i]:.4f} | val")
        assert f"{history.validation_loss[i]:.4f}, {history.validation_accuracy[i]:.4f}" in line
    live = written.getvalue()
    assert "epoch 2/3  50% |" in live
    assert "steps/s" in live
    assert "rate 0.1" in live
    assert "validating" in live


def test_no_bar_in_a_terminal_if_it_is_not_wanted(terminal):
    written = terminal()
    fit(progress=False)

    assert written.getvalue() == ""


def test_a_bar_for_batches_of_unknown_number(terminal):
    written = terminal()
    x = np.zeros((4, 1), np.float32)
    trainer = nnx.Trainer(nnx.Linear(1, 1), loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1))

    trainer.fit(batch for batch in [(x, x)] * 5)

    assert "epoch 1/1, step 3, loss" in written.getvalue()
    assert screen(written)[0].startswith("epoch 1/1: loss 0.0000")


def test_many_epochs_leave_few_lines(terminal):
    written = terminal()
    fit(epochs=200, batch_size=40)

    lines = screen(written)
    assert len(lines) == room.KEPT + 1
    assert lines[0].startswith("epoch  10/200: ")
    assert lines[-2].startswith("epoch 200/200: ")


def test_an_error_leaves_the_bar_and_begins_a_new_line(terminal):
    written = terminal()

    def loss(prediction, target):
        raise ZeroDivisionError

    x = np.zeros((4, 1), np.float32)
    trainer = nnx.Trainer(nnx.Linear(1, 1), loss=loss, optimizer=nnx.optim.SGD(0.1))
    with pytest.raises(ZeroDivisionError):
        trainer.fit((x, x))

    assert written.getvalue().endswith("\n")


@pytest.mark.parametrize("columns", [20, 40, 60, 77, 100, 200])
def test_no_line_is_wider_than_the_terminal(terminal, columns):
    written = terminal(columns)

    fit()

    lines = screen(written, columns)
    assert len(lines) == 4
    assert all(line.startswith(f"epoch {i}/3") for i, line in enumerate(lines[:3], start=1))
    assert all("loss" in line for line in lines[:3]) == (columns > 20)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (
            200,
            "epoch 3/10: loss 0.2131, accuracy 0.9352 | validation loss 0.2241, accuracy 0.9301 | rate 0.001 | 12.3 s",
        ),
        (100, "epoch 3/10: loss 0.2131, accuracy 0.9352 | validation loss 0.2241, accuracy 0.9301 | 12.3 s"),
        (78, "epoch 3/10: loss 0.2131, accuracy 0.9352 | validation 0.2241, 0.9301 | 12.3 s"),
        (70, "epoch 3/10: loss 0.2131, accuracy 0.9352 | validation 0.2241, 0.9301"),
        (50, "epoch 3/10: loss 0.2131, accuracy 0.9352"),
        (30, "epoch 3/10: loss 0.2131"),
        (12, "epoch 3/10"),
    ],
)
def test_the_longest_form_that_fits(width, expected):
    assert summary_line("epoch 3/10", FIGURES, width=width) == expected
    assert len(expected) <= width


def test_braces_in_names_are_text():
    with io.StringIO() as written:
        bars = Bars()
        bars.begin(1, 1, 4)
        bars._bar.fp = written
        bars.refresh(1, {"loss": 0.5, "{odd}": 1.0})
        bars.end({"loss": 0.5, "{odd}": 1.0})


def test_bars_are_refreshed_ten_times_a_second(terminal, monkeypatch):
    terminal()
    monkeypatch.setattr(room, "INTERVAL", 0.1)
    refreshed = []
    refresh = Bars.refresh
    monkeypatch.setattr(
        Bars, "refresh", lambda self, *a, **k: (refreshed.append(time.perf_counter()), refresh(self, *a, **k))
    )
    x = np.zeros((400, 1), np.float32)

    def loss(prediction, target):
        time.sleep(0.001)
        return nnx.losses.mse(prediction, target)

    nnx.Trainer(nnx.Linear(1, 1), loss=loss, optimizer=nnx.optim.SGD(0.1)).fit((x, x), batch_size=1)

    gaps = np.diff(refreshed)
    assert len(gaps) >= 3
    assert (gaps >= 0.1).all()


def test_choose(monkeypatch, terminal):
    terminal()
    assert type(choose(None)) is Bars
    assert type(choose(True)) is Bars
    assert type(choose(False)) is Quiet
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(choose(None)) is Quiet
    assert type(choose(True)) is Lines
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert type(choose(None)) is Quiet
    assert Quiet.due == math.inf


def notebook(monkeypatch):
    """What a module sees under ipykernel."""
    import types

    class ZMQInteractiveShell:
        def __init__(self):
            self.config = {"IPKernelApp": {}}

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = ZMQInteractiveShell
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", types.ModuleType("zmqshell"))


def test_a_notebook_has_bars_and_no_warning_without_widgets(monkeypatch, capfd):
    notebook(monkeypatch)
    for name in [name for name in sys.modules if name.startswith("tqdm.auto")]:
        monkeypatch.delitem(sys.modules, name)

    assert type(choose(None)) is Bars
    fit()

    assert "epoch 3/3: loss" in capfd.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
def test_in_a_real_terminal():
    """The whole program, on a pseudo-terminal, interrupted by its Ctrl-C."""
    import pty

    program = """
import numpy as np, nnx
x = np.zeros((4000, 8), np.float32)
trainer = nnx.Trainer(nnx.Linear(8, 1), loss=nnx.losses.mse, optimizer=nnx.optim.SGD(0.1))
history = trainer.fit((x, x[:, :1]), epochs=100_000, batch_size=8)
print("usable", history.interrupted, trainer.steps > 0, flush=True)
"""
    parent, child = pty.openpty()  # its size is 0 × 0, as in some containers
    seen = b""
    with subprocess.Popen([sys.executable, "-c", program], stdin=child, stdout=child, stderr=child) as process:
        os.close(child)
        interrupted = False
        while select.select([parent], [], [], 60)[0]:
            try:
                more = os.read(parent, 4096)
            except OSError:  # the other end is closed
                break
            if not more:
                break
            seen += more
            if b"steps/s" in seen and not interrupted:
                interrupted = True
                process.send_signal(signal.SIGINT)
        else:
            process.kill()
    os.close(parent)

    text = seen.decode()
    assert process.returncode == 0, text
    assert "usable True True" in text
    assert "Traceback" not in text
    assert "was interrupted after" in text
