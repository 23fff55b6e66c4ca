"""Compiling ahead: what it compiles is all that is needed later."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest

from nnx.__main__ import main
from nnx._errors import DeviceError, DTypeError
from nnx.warmup import warm_up

needs_numba = pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="the extra fast is not installed")


def test_networks_are_trained_on_every_backend(device):
    if device.backend.name == "jax":
        pytest.skip("it has no kernels of nnx's, and compiles each of these networks for half a minute")
    assert len(list(warm_up(device))) == 6


def test_in_another_dtype():
    assert len(list(warm_up("cpu", dtype="float64"))) == 6


@needs_numba
def test_every_compiled_kernel_is_used(monkeypatch):
    from nnx.backend import device, library
    from nnx_numpy import backend

    table = backend.kernels("best")
    before = dict(table)
    monkeypatch.setitem(library._kernels, device("cpu").namespace, table)
    for _ in warm_up("cpu"):
        pass
    compiled = {name for name, kernel in before.items() if kernel is not backend.kernels("native").get(name)}
    assert compiled
    # a kernel takes the place of what tries it when it has been called
    assert not {name for name in compiled if table[name] is before[name]}


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """The environment of a process that finds compiled kernels in a folder of its own, which nobody else writes to."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("NNX_")}
    environment |= {"MPLBACKEND": "Agg", "NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("kernels"))}
    warmup = [sys.executable, "-m", "nnx", "warmup"]
    done = subprocess.run(warmup, env=environment, capture_output=True, text=True, timeout=400, check=True)
    assert done.stderr == ""  # nobody is told to do what is being done
    return environment


@needs_numba
@pytest.mark.parametrize("example", ["mnist.py --quick", "mnist_cnn.py --quick", "dropout.py --quick"])
def test_nothing_is_left_to_compile(example, warm):
    """The compilations of a run of an example are counted, after a warm-up in another process."""
    code = f"""
        import runpy, sys
        from numba.core import event

        compiled = []
        class Count(event.Listener):
            def on_start(self, event): compiled.append(event.data["dispatcher"])
            def on_end(self, event): pass
        event.register("numba:compile", Count())
        sys.argv = {example.split()!r}
        sys.path.insert(0, ".")
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            assert not end.code
        assert not compiled, compiled
    """
    examples = os.path.join(os.path.dirname(__file__), "..", "examples")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=examples,
        env=warm,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_command_says_what_it_does(capsys, monkeypatch):
    monkeypatch.delenv("NNX_KERNELS", raising=False)
    assert main(["warmup", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("kernels of cpu: ")
    assert lines[-1].endswith(" s  activations and look-ups")
    monkeypatch.setenv("NNX_KERNELS", "reference")
    assert main(["warmup"]) == 0
    assert capsys.readouterr().out == "kernels of cpu: there are none, and nothing to do\n"


@pytest.mark.parametrize(
    ("arguments", "expected"), [(["--device", "no"], "unknown device flag 'no'"), (["--dtype", "int8"], "int8")]
)
def test_mistakes_are_told_in_a_line(capsys, arguments, expected):
    assert main(["warmup", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("nnx: ")
    assert expected in error
    assert error.count("\n") == 1


def test_what_it_raises():
    with pytest.raises(DeviceError):
        next(warm_up("nope"))
    with pytest.raises(DTypeError):
        next(warm_up("cpu", dtype="float99"))
