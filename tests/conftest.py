"""The test matrix: ``pytest --backend numpy --backend torch:cpu``. Without the option, every backend that can run."""

from __future__ import annotations

import importlib.util
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the arrays here are small: threads would wait for one another

import hypothesis
import numpy as np
import pytest

import nnx
from nnx.backend import device as find_device
from nnx.testing import available_backends

hypothesis.settings.register_profile("nnx", deadline=None, max_examples=25, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("nnx")


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        action="append",
        default=[],
        metavar="FLAG",
        help="a device flag to run the tests on, e.g. numpy, torch, cuda:1, strict; may be repeated (default: every "
        "backend that can run here)",
    )


def pytest_configure(config):
    if importlib.util.find_spec("jax"):  # before any use of it: float64, which the checks need, is off otherwise
        import jax

        jax.config.update("jax_enable_x64", True)
    try:
        flags = [str(find_device(flag)) for flag in config.getoption("backend")]
    except nnx.NnxError as error:
        raise pytest.UsageError(f"--backend: {error}") from error
    config.stash[FLAGS] = list(dict.fromkeys(flags)) or available_backends()


FLAGS = pytest.StashKey[list]()


def pytest_report_header(config):
    backends = ((flag, find_device(flag).backend) for flag in config.stash[FLAGS])
    return "backends: " + ", ".join(f"{flag} ({backend.name} {backend.version()})" for flag, backend in backends)


def pytest_generate_tests(metafunc):
    if "each_flag" in metafunc.fixturenames:
        metafunc.parametrize("each_flag", metafunc.config.stash[FLAGS])


@pytest.fixture(autouse=True)
def seeded():
    """Random parts without an ``rng`` of their own draw the same numbers in every run."""
    nnx.seed(0)


@pytest.fixture(scope="session")
def flags(pytestconfig):
    """All device flags of this run."""
    return pytestconfig.stash[FLAGS]


@pytest.fixture
def flag(each_flag):
    """A device flag: each of the matrix in turn, unless the test has a parameter of that name."""
    return each_flag


@pytest.fixture
def device(flag):
    """A device, of each backend of the matrix in turn."""
    return find_device(flag)


@pytest.fixture
def xp(device):
    """The namespace of ``device``."""
    return device.namespace


@pytest.fixture
def make(device):
    """Makes an array on ``device``. NumPy's cannot be written to, so that an input that is changed is found out."""

    def make(values, dtype="float32"):
        host = np.array(values, dtype=dtype)
        host.flags.writeable = False
        return nnx.asarray(host, device=device)

    return make


@pytest.fixture
def normal(make):
    """Makes an array on ``device`` of independent normal numbers."""
    rng = np.random.default_rng(0)
    return lambda *shape, dtype="float32": make(rng.standard_normal(shape), dtype)


@pytest.fixture
def assert_kept(device):
    """Asserts that a function of float32 arrays answers float32 on their device, and so do its gradients."""

    def check(f, *arrays):
        value, pull = nnx.vjp(f, *arrays)
        for array in (f(*arrays), value, *pull(value)):
            assert array.dtype == device.namespace.float32
            assert nnx.backend.device_of(array) == device
        assert [g.shape for g in pull(value)] == [array.shape for array in arrays]
        return value

    return check


@pytest.fixture
def assert_as_torch(make):
    """Asserts that a function has the values and gradients, in float64, of one that is written in torch."""
    torch = pytest.importorskip("torch")

    def check(ours, theirs, *hosts, rtol=1e-10, atol=1e-12):
        hosts = [np.asarray(host) for host in hosts]
        floating = [host.dtype.kind == "f" for host in hosts]
        tensors = [torch.tensor(host, requires_grad=kind) for host, kind in zip(hosts, floating, strict=True)]
        expected = theirs(*tensors)
        cotangent = np.cos(np.arange(expected.numel())).reshape(tuple(expected.shape))
        expected.backward(torch.tensor(cotangent))

        arrays = [make(host, host.dtype) for host in hosts]

        def of_floats(floats):
            floats = iter(floats)
            return ours(*(next(floats) if kind else array for kind, array in zip(floating, arrays, strict=True)))

        value, pull = nnx.vjp(of_floats, [array for kind, array in zip(floating, arrays, strict=True) if kind])
        (gradients,) = pull(make(cotangent, "float64"))
        np.testing.assert_allclose(nnx.to_numpy(value), expected.detach().numpy(), rtol=rtol, atol=atol)
        for g, tensor in zip(gradients, (t for t in tensors if t.requires_grad), strict=True):
            np.testing.assert_allclose(nnx.to_numpy(g), tensor.grad.numpy(), rtol=rtol, atol=atol)

    return check
