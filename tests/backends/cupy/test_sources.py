"""Every CUDA file compiles, for each type it is meant for and for old and new GPUs. None of this needs a GPU."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import hashlib
import os
import pkgutil
import shutil
import subprocess
import sysconfig
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import nnx_cupy.kernels as room
from nnx._errors import DTypeError
from nnx_cupy.kernels._source import STORED, WIDE, Source, blocks_for, floating

FOLDER = Path(room.__path__[0])
ARCHITECTURES = ("sm_75", "sm_90")
OPTIONS = ("-std=c++17", "-ftz=true")  # the second is CuPy's


def sources():
    """By name, every ``Source`` of the kernels' modules."""
    modules = [import_module(found.name) for found in pkgutil.iter_modules(room.__path__, f"{room.__name__}.")]
    return {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Source)}


SOURCES = sources()
VARIANTS = {  # macros that wrappers define; each file compiles without them, too
    "batch_norm": [{"WEIGHT": "float"}],
    "conv": [{"VECTOR": 1}, {"VECTOR": 2}],
    "cross_entropy": [{"LABEL": "long long"}, {"LANES": 256, "ITEMS": 16, "THREADS": 256}],
    "layer_norm": [{"WEIGHT": "float"}, {"LANES": 1024, "ITEMS": 8, "THREADS": 1024}],
    "pool": [{"VECTOR": 2}],
    "rows": [{"LABEL": "int"}],
    "softmax": [{"LANES": 4, "ITEMS": 1, "THREADS": 128}, {"LANES": 1024, "ITEMS": 16, "THREADS": 1024}],
    "take": [{"LABEL": "int", "VECTOR": 2}],
}


def dtype_of(name):
    if name == "bfloat16":
        return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.dtype(name)


def texts(name, dtype):
    """What a file becomes: narrow and wide, and with macros."""
    source = SOURCES[name]
    for defines in [{}, *VARIANTS.get(name, [])]:
        for wide in [False, True] if not defines else [False]:
            yield source.code(dtype_of(dtype), wide, **defines)


@functools.cache
def nvrtc():
    """NVRTC and a folder of CUDA headers, of a toolkit or of pip's packages; ``None`` where there is none."""
    roots = [Path(root) for name in ("CUDA_PATH", "CUDA_HOME") if (root := os.environ.get(name))]
    roots += sorted(Path(sysconfig.get_paths()["purelib"]).glob("nvidia/cu*"))
    roots.append(Path("/usr/local/cuda"))
    for root in roots:
        for library in [*root.glob("lib*/libnvrtc.so*"), *root.glob("targets/*/lib/libnvrtc.so*")]:
            if (root / "include" / "cuda_fp16.h").exists():
                return ctypes.CDLL(str(library)), str(root / "include")
    return None


def compile_by_nvrtc(text, architecture):
    library, headers = nvrtc()
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None) == 0
    options = [*OPTIONS, "--device-as-default-execution-space", f"-arch={architecture}", f"-I{headers}"]
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    failed = library.nvrtcCompileProgram(program, len(options), array)
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert not failed, log.value.decode()


def test_every_file_belongs_to_a_source():
    assert sorted(SOURCES) == sorted(path.stem for path in FOLDER.glob("*.cu"))


@pytest.fixture
def once(pytestconfig):
    """Calls a function, unless it has succeeded for these arguments in an earlier run: compilers take their time."""

    def call(function, *arguments):
        key = "cupy/" + hashlib.sha256("\0".join([function.__name__, *arguments, *OPTIONS]).encode()).hexdigest()
        if not pytestconfig.cache.get(key, False):
            function(*arguments)
            pytestconfig.cache.set(key, True)

    return call


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("name", SOURCES)
def test_every_file_compiles_with_nvrtc(name, dtype, once):
    if nvrtc() is None:
        pytest.skip("no NVRTC with headers: set CUDA_PATH, or pip install nvidia-cuda-nvrtc and nvidia-cuda-runtime")
    for i, text in enumerate(texts(name, dtype)):
        if i == 0 and dtype in ("bfloat16", "float64"):  # those of which GPUs, and their registers, have least
            for architecture in ARCHITECTURES:
                once(compile_by_nvrtc, text, architecture)
        else:
            once(compile_by_nvrtc, text, "compute_90")  # without machine code, which takes longer


def compile_by_nvcc(text):
    """Without a word from the compiler."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernels.cu")
        file.write_text(text)
        command = ["nvcc", *OPTIONS, "-arch=compute_90", "-ptx", str(file), "-o", str(file.with_suffix(".ptx"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", SOURCES)
def test_every_file_compiles_with_nvcc(name, once):
    if nvrtc() is not None:
        pytest.skip("NVRTC is quicker, and has compiled them")
    if not shutil.which("nvcc"):
        pytest.skip("no nvcc is on the path")
    once(compile_by_nvcc, SOURCES[name].code(dtype_of("bfloat16")))


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("name", SOURCES)
def test_every_file_compiles_for_the_twin(name, dtype):
    if not find_spec("cupy") or not hasattr(cupy := import_module("cupy"), "twin"):
        pytest.skip("the twin of CuPy is not what this run has: PYTHONPATH=tests/cuda_twin")
    for text in texts(name, dtype):
        cupy.RawModule(code=text, options=("-std=c++17",)).compile()


def test_a_type_that_no_kernel_has_is_refused():
    assert not floating(np.dtype("int32"))
    assert not floating(np.dtype("complex64"))
    with pytest.raises(DTypeError, match="float16, bfloat16, float32, float64, and not for int32: cast the array"):
        SOURCES["optim"].code(np.dtype("int32"))


@pytest.mark.parametrize(("n", "blocks"), [(0, 1), (1, 1), (256, 1), (257, 2), (WIDE, 1 << 16)])
def test_blocks(n, blocks):
    assert blocks_for(n) == blocks
