"""The command line."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from nnx import __main__ as cli
from nnx.__main__ import main
from nnx._typing import Memory
from nnx.backend import registry


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NNX_DEVICE", raising=False)
    monkeypatch.setattr(registry, "_process", [])


@pytest.fixture
def devices(capsys):
    """Run ``nnx devices`` and answer the lines that it prints."""

    def devices():
        assert main(["devices"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out.splitlines()

    return devices


def row(lines, name):
    """The lines of a backend."""
    at = next(i for i, line in enumerate(lines) if line.startswith(f"{name} "))
    end = next((i for i, line in enumerate(lines) if i > at and not line.startswith(" ")), len(lines))
    return lines[at:end]


class Broken:
    """A plug-in whose ``what`` raises."""

    name, flag, extra, views, one_device, defers, capture = "odd", "odd", "", False, True, True, None

    def __init__(self, what):
        self.what = what

    def __getattr__(self, name):
        def method(*arguments):
            if name == self.what:
                raise ZeroDivisionError("of its own making")
            return {"version": "1.0", "devices": ["chip"], "device_name": "chip"}.get(name)

        return method


@pytest.fixture
def install(monkeypatch):
    def install(backend):
        point = SimpleNamespace(value="odd:backend", load=lambda: backend)
        monkeypatch.setattr(cli, "entry_points", lambda: {**registry.entry_points(), "odd": point})
        load = registry.load_backend
        monkeypatch.setattr(cli, "load_backend", lambda flag: backend if flag == "odd" else load(flag))

    return install


def test_devices_lists_every_plug_in_once(devices):
    lines = devices()
    assert lines[0].split() == ["backend", "flags", "version", "devices"]
    assert [line.split()[0] for line in lines[2:] if line and line[0].isalpha()] == [
        "numpy",
        "cupy",
        "jax",
        "strict",
        "torch",
    ]
    assert re.fullmatch(r"numpy +cpu, numpy +\d+\.\d+\S* +cpu \*", row(lines, "numpy")[0])
    assert lines[-1] == "* the default device (set NNX_DEVICE to change it)"


def test_devices_marks_the_default(devices, monkeypatch):
    pytest.importorskip("array_api_strict")
    monkeypatch.setenv("NNX_DEVICE", "strict:device2")
    lines = devices()
    assert [line.split()[-2:] for line in lines if line.endswith(" *")] == [["strict:device2", "*"]]
    assert lines[-1] == "* the default device (NNX_DEVICE=strict:device2)"


def test_devices_says_that_the_default_is_wrong(devices, monkeypatch):
    monkeypatch.setenv("NNX_DEVICE", "tortch")
    lines = devices()
    assert row(lines, "numpy")
    text = " ".join(lines[lines.index("") :]).strip()
    assert text.startswith("no default device: unknown device flag 'tortch'")
    assert text.endswith("(the flag comes from the environment variable NNX_DEVICE)")


@pytest.mark.parametrize("which", ["reference", "native", "best"])
def test_devices_says_which_kernels_are_used(devices, monkeypatch, which):
    monkeypatch.setenv("NNX_KERNELS", which)
    lines = row(devices(), "numpy")
    if which == "reference":
        assert len(lines) == 1
    elif which == "native":
        assert lines[1].strip() == f"kernels: numpy {np.__version__}"
    else:
        numba = "numba" if importlib.util.find_spec("numba") else "pip install 'nnx-array[fast]'"
        assert numba in lines[1]


def test_devices_says_that_the_choice_of_kernels_is_wrong(devices, monkeypatch):
    monkeypatch.setenv("NNX_KERNELS", "fastest")
    text = " ".join(devices())
    assert "no kernels: the environment variable NNX_KERNELS is one of reference, native, best, and not" in text
    assert text.count("fastest") == 1


def test_devices_says_what_to_install(devices, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "array_api_compat.cupy", raising=False)
    text = " ".join(" ".join(row(devices(), "cupy")).split())
    assert text.startswith("cupy cuda, cupy - CuPy is not installed: `pip install 'nnx-array[cuda13]'`")


@pytest.mark.parametrize("what", ["load", "version", "devices", "device", "memory", "device_name"])
def test_a_plug_in_that_fails_gives_its_reason(devices, install, what):
    install(Broken(what))
    text = " ".join(row(devices(), "odd"))
    assert "of its own making" in text
    assert "Traceback" not in text


def test_a_plug_in_without_devices(devices, install, monkeypatch):
    backend = Broken(None)
    backend.devices = list
    install(backend)
    assert row(devices(), "odd")[0].split() == ["odd", "odd", "1.0", "no", "devices"]


def test_memory_is_shown_where_it_is_told(devices, install):
    backend = Broken(None)
    backend.memory = lambda device: Memory(free=3 * 2**30, total=8 * 2**30)
    install(backend)
    assert row(devices(), "odd")[0].endswith("odd:chip, 3.0 of 8.0 GiB free")


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_the_table_fits_the_terminal(devices, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "array_api_compat.cupy", raising=False)
    assert max(map(len, row(devices(), "cupy"))) <= max(int(columns), 80)


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert re.fullmatch(r"nnx \d+\.\d+\.\S+, Python 3\.\S+\n", capsys.readouterr().out)


def test_help_names_commands_and_flags(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert capsys.readouterr().out == out
    for text in ("usage: nnx ", "devices   list the backends", "cuda:1", "NNX_DEVICE"):
        assert text in out


def test_an_unknown_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["divices"])
    assert caught.value.code == 2
    assert "invalid choice: 'divices'" in capsys.readouterr().err


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "nnx", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nnx ")
