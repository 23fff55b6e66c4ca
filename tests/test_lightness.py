"""``import nnx`` loads no array library, and a plug-in is loaded when it is asked for and not before."""

from __future__ import annotations

import os
import subprocess
import sys

LIBRARIES = {"array_api_strict", "cupy", "jax", "numpy", "scipy", "torch"}
PLUG_INS = {"nnx_cupy", "nnx_jax", "nnx_numpy", "nnx_strict", "nnx_torch"}


def loaded_after(program: str, **environment: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after it has run ``program``."""
    report = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{program}\n{report}"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_import_loads_no_array_library_and_no_plug_in():
    loaded = loaded_after("import nnx")

    assert not loaded & (LIBRARIES | PLUG_INS)


def test_import_loads_nothing_that_only_some_programs_need():
    loaded = loaded_after("import nnx")

    assert not loaded & {"matplotlib", "pooch", "pytest", "hypothesis", "safetensors", "tqdm"}


def test_listing_the_backends_loads_none():
    loaded = loaded_after("from nnx.backend import entry_points; assert 'cuda' in entry_points()")

    assert not loaded & (LIBRARIES | PLUG_INS)


def test_training_on_numpy_loads_no_other_library_and_no_other_plug_in():
    loaded = loaded_after(
        """
import nnx
model = nnx.Sequential(nnx.Linear(3, 4), nnx.relu, nnx.Dropout(0.5), nnx.Linear(4, 2))
x, y = nnx.asarray([[1.0, 2.0, 3.0]] * 4), nnx.asarray([0, 1, 0, 1])
trainer = nnx.Trainer(model, loss=nnx.losses.cross_entropy, optimizer=nnx.optim.Adam(1e-3))
trainer.fit((x, y), epochs=2, batch_size=2)
""",
        NNX_KERNELS="native",  # Numba loads SciPy, where there is one
    )

    assert loaded & PLUG_INS == {"nnx_numpy"}
    assert loaded & LIBRARIES == {"numpy"}
