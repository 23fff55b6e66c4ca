"""How the compiled kernels come into use, and what happens where they cannot."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest

import nnx
import nnx_numpy
from nnx.backend import kernels as choices
from nnx_numpy import backend
from nnx_numpy.kernels import KERNELS

needs_numba = pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="the extra fast is not installed")

STEP = """
    import warnings
    import numpy as np
    warnings.simplefilter("always")
    with warnings.catch_warnings(record=True) as caught:
        import nnx
        x = np.tile([-1.0, 2.0], 4096)
        y = nnx.relu(x.astype("float32"))
        y = nnx.relu(x)
        loss, grads = nnx.value_and_grad(lambda x: nnx.softmax(x)[0])(np.asarray([0.0, 0.0], "float32"))
    assert y[:2].tolist() == [0, 2] and grads.tolist() == [0.25, -0.25]
    told = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
"""


def run(code, *, before="", **environment):
    """Run code in a Python of its own; answer what it printed on its two channels."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("NNX_", "NUMBA_"))}
    program = textwrap.dedent(before) + textwrap.dedent(STEP) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


class TestChoice:
    def test_the_best_is_the_default(self, monkeypatch):
        monkeypatch.delenv("NNX_KERNELS", raising=False)
        assert choices.choice() == "best"
        monkeypatch.setenv("NNX_KERNELS", "")
        assert choices.choice() == "best"

    def test_native_kernels_are_those_of_numpy(self, monkeypatch):
        monkeypatch.setenv("NNX_KERNELS", "native")
        assert choices.kernels_in_use(backend) is KERNELS

    def test_reference_is_no_kernels_on_any_backend(self, monkeypatch, device):
        monkeypatch.setenv("NNX_KERNELS", "reference")
        assert not choices.kernels_in_use(device.backend)
        assert choices.kernels_told(device.backend) == ""

    def test_anything_else_is_an_error(self, monkeypatch):
        monkeypatch.setenv("NNX_KERNELS", "numba")
        with pytest.raises(nnx.ArgumentError, match=r"NNX_KERNELS is one of reference, native, best, and not 'numba'"):
            choices.kernels_in_use(backend)

    def test_without_numba_the_native_ones_are_the_best(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "numba", None)
        assert backend.kernels("best") is KERNELS


@needs_numba
class TestLaziness:
    def test_numba_is_imported_with_the_first_kernel(self):
        code = """
            assert not told
            import sys
            assert "numba" in sys.modules
        """
        run(code)
        run("import subprocess, sys")
        program = "import numpy, nnx, sys; nnx.asarray([1.0]) + 1; print('numba' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"

    @pytest.mark.parametrize("which", ["native", "reference"])
    def test_nor_is_it_imported_where_it_is_not_wanted(self, which):
        run("import sys; assert 'numba' not in sys.modules and not told", NNX_KERNELS=which)


class TestFailure:
    def test_numba_that_cannot_be_imported(self, tmp_path):
        (tmp_path / "numba").mkdir()
        (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('llvmlite is of another version')")
        code = """
            assert len(told) == 1, told
            assert "llvmlite is of another version" in told[0]
            assert "reinstall numba, or set NNX_KERNELS=native" in told[0]
        """
        run(code, PYTHONPATH=str(tmp_path))

    @needs_numba
    def test_a_kernel_that_cannot_be_compiled(self, monkeypatch):
        from numba.core.errors import NumbaError

        from nnx_numpy import compiled

        def broken(xp, x):
            raise NumbaError("\x1b[1mcannot determine the type of nothing\x1b[0m\nand so on")

        monkeypatch.setattr(compiled, "families", lambda: {"relu_forward": broken, "softmax_forward": broken})
        monkeypatch.setattr(compiled, "_told", False)
        table = compiled.table(KERNELS)
        x = np.asarray([-1.0, 2.0])
        said = r"cannot compile relu_forward \(NumbaError: cannot determine the type of nothing\)\. Slower"
        with pytest.warns(RuntimeWarning, match=said):
            np.testing.assert_array_equal(table["relu_forward"](np, x), [0, 2])
        assert table["relu_forward"] is KERNELS["relu_forward"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it has been said
            np.testing.assert_allclose(table["softmax_forward"](np, 0 * x), [0.5, 0.5])
        assert table["softmax_forward"] is nnx.ops.softmax.reference

    @needs_numba
    def test_bad_arguments_are_no_reason_to_give_up(self, monkeypatch):
        from nnx_numpy import compiled

        def kernel(xp, x):
            if x is None:
                raise ValueError("of course")
            return x

        monkeypatch.setattr(compiled, "families", lambda: {"relu_forward": kernel})
        table = compiled.table(KERNELS)
        first = table["relu_forward"]
        with pytest.raises(ValueError, match="of course"):
            first(np, None)
        assert first(np, 1) == 1
        assert table["relu_forward"] is kernel
        assert first(np, 2) == 2

    @needs_numba
    def test_no_folder_for_the_cache(self, tmp_path):
        """Numba is told of a folder that cannot be made, and finds none beside its source or in the home either."""
        code = """
            assert len(told) == 1, told
            assert "set NUMBA_CACHE_DIR to a folder that can be written to" in told[0]
        """
        root, compiled = Path(nnx.__file__).parents[1], tmp_path / "nnx_numpy" / "compiled"
        bare = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / "nnx", tmp_path / "nnx", ignore=bare)
        shutil.copytree(Path(nnx_numpy.__file__).parent, tmp_path / "nnx_numpy", ignore=bare)
        (compiled / "__pycache__").write_text("a file, where a folder is wanted")
        nowhere = str(compiled / "__pycache__" / "below")
        run(code, PYTHONPATH=str(tmp_path), NUMBA_CACHE_DIR=nowhere, HOME=nowhere, XDG_CACHE_HOME=nowhere)

    @needs_numba
    @pytest.mark.parametrize(("kind", "kept"), [("*.nbc", 20), ("*.nbi", 0)])
    def test_a_damaged_cache_is_made_anew(self, tmp_path, kind, kept):
        run("assert not told", NUMBA_CACHE_DIR=str(tmp_path))
        files = list(tmp_path.rglob(kind))
        for file in files:
            file.write_bytes(file.read_bytes()[:kept])
        for _ in range(2):
            run("assert not told, told", NUMBA_CACHE_DIR=str(tmp_path))
        assert all(file.stat().st_size > 20 for file in tmp_path.rglob("*.nbi"))

    @needs_numba
    def test_numba_that_is_told_not_to_compile(self):
        run("assert not told and 'nnx_numpy.compiled.softmax' not in __import__('sys').modules", NUMBA_DISABLE_JIT="1")

    @needs_numba
    def test_a_full_disk(self, tmp_path):
        before = """
            from numba.core import caching
            def full(*arguments): raise OSError(28, "No space left on device")
            caching.IndexDataCacheFile._save_data = full
        """
        code = 'assert len(told) == 1 and "No space left on device" in told[0], told'
        run(code, before=before, NUMBA_CACHE_DIR=str(tmp_path))


@needs_numba
class TestProgress:
    def test_the_user_is_told_once_when_compilation_takes_long(self, tmp_path):
        code = """
            from nnx_numpy.compiled import _progress
            for dtype in ("float32", "float64"):
                layer = nnx.LayerNorm(4, dtype=dtype)
                nnx.vjp(layer, np.ones((2, 4), dtype))[1](np.ones((2, 4), dtype))
            print(_progress.LINE)
        """
        out, err = run(f"{code}", NUMBA_CACHE_DIR=str(tmp_path))
        assert err.count(out.strip()) == 1
        out, err = run(f"{code}", NUMBA_CACHE_DIR=str(tmp_path))  # found on disk
        assert out.strip() not in err
