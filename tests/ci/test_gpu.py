"""The run on a GPU: its parts on a CPU, its page, and what happens to parts that fail or take too long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from copy import deepcopy
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
CI = ROOT / "ci"
PEERS = ["nnx-capture", "nnx", *(["torch"] if find_spec("torch") else [])]


def gpu(*arguments, **environment):
    return subprocess.run(
        [sys.executable, str(CI / "gpu.py"), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=290,
    )


@pytest.fixture
def modules(monkeypatch):
    """The modules of the script."""
    monkeypatch.syspath_prepend(str(CI))
    monkeypatch.setenv("PYTHONPATH", str(CI))
    import gpu
    from benchmark import card
    from benchmark.gpu import aims, environment, matrix, page, process, training

    return SimpleNamespace(
        gpu=gpu, card=card, aims=aims, environment=environment, matrix=matrix, page=page, process=process, wide=training
    )


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    """A dry run of all parts on the CPU: what it wrote, and what it said."""
    out = tmp_path_factory.mktemp("gpu")
    options = ["--quick", "--device", "cpu", "--minutes", "20", "--workers", "1", "--out", out, "--commit", "c0ffee"]
    done = gpu(*options, "--peers", *PEERS)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.json")
    return SimpleNamespace(
        run=json.loads(path.read_text()), path=path, page=path.with_suffix(".md").read_text(), done=done
    )


def test_every_part_is_done(dry):
    parts = dry.run["parts"]

    assert list(parts) == ["peak", "parity", "perceptrons", "wide", "convolutional", "tests"]
    assert {part["status"] for part in parts.values()} == {"done"}
    assert dry.run["commit"] == "c0ffee"
    assert dry.run["versions"]["numpy"]
    assert dry.path.name.endswith("-cpu.json")
    assert "FAULT" not in dry.done.stdout


def test_products_are_timed(dry):
    products = dry.run["parts"]["peak"]["result"]["products"]

    assert products["numpy"].keys() == {"float32"}
    assert all(rate > 0 for rates in products.values() for rate in rates.values())
    assert ("bfloat16" in products["torch"]) == bool(find_spec("torch"))


def test_the_cpu_agrees_with_itself(dry):
    parity = dry.run["parts"]["parity"]["result"]

    assert parity["errors"] == []
    assert parity["masks"]["different"] == 0 < parity["masks"]["elements"]
    assert len(parity["networks"]) == 3
    for network in parity["networks"].values():
        assert network["weights"]["different"] == 0 < network["weights"]["elements"]
        assert network["loss"][0] != network["loss"][1]
        assert network["cpu_to_device"] == network["eager_to_captured"] == 0
        assert network["replays"] > 0


@pytest.mark.parametrize("part", ["perceptrons", "wide", "convolutional"])
def test_peers_train_the_same_network(dry, part):
    results = dry.run["parts"][part]["result"]["results"]

    assert results
    for result in results:
        assert result["errors"] == []
        assert set(result["seconds"]) == set(PEERS)
        assert all(min(times) > 0 for times in result["seconds"].values())
        assert all(count > 0 for count in result["memory"].values())
        assert result["deviation"]["nnx-capture"] == 0
        assert max(result["deviation"].values()) < 1e-4


def test_precisions_that_a_device_lacks_are_named(dry):
    wide = dry.run["parts"]["wide"]["result"]

    assert [result["precision"] for result in wide["results"]] == ["float32"]
    assert wide["refused"].keys() == {"tf32", "bfloat16"}
    assert "precision='bfloat16'" in wide["refused"]["bfloat16"]
    assert wide["refused"]["bfloat16"] in dry.page


def test_tests_are_counted(dry):
    tests = dry.run["parts"]["tests"]["result"]

    assert tests["collected"] == tests["passed"] + tests["skipped"] > 10
    assert tests["failed"] == tests["error"] == tests["not_run"] == tests["exit_status"] == 0


def test_the_page_shows_the_figures_and_claims_nothing(dry):
    assert "A dry run" in dry.page
    assert not any(verdict in dry.page for verdict in ("| met |", "| missed |"))
    result = dry.run["parts"]["perceptrons"]["result"]["results"][0]
    assert f"{result['median']['nnx-capture'] * 1e6:,.1f}" in dry.page
    share = dry.run["parts"]["wide"]["result"]
    rate = share["operations"] / share["results"][0]["median"]["nnx"]
    assert f"{rate / 1e12:.4g}" in dry.page
    lines = [line for line in dry.page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in lines)


def as_on_a_gpu(run):
    """The same run, as if it were one that counts."""
    return {**deepcopy(run), "quick": False, "device": {**run["device"], "flag": "cuda", "name": "NVIDIA H200"}}


def test_verdicts(dry, modules):
    run = as_on_a_gpu(dry.run)
    seconds = run["parts"]["perceptrons"]["result"]["results"][0]["seconds"]
    seconds |= {"nnx-capture": [1.0, 1.0], "nnx": [4.0, 4.0], "torch": [2.0, 4.0], "torch-compile": [1.0, 0.5]}
    verdicts = {aim.subject: aim.verdict(run) for aim in modules.aims.AIMS}

    size = "64-32-10, batch 32: "
    assert verdicts[size + "captured, times as fast as eager torch"] == ("3", "met")
    assert verdicts[size + "captured, times as fast as torch.compile with CUDA graphs"] == ("0.75", "missed")
    assert verdicts[size + "eager, times as fast as eager torch"] == ("0.75", "met")
    assert verdicts["initial weights that differ between CPU and GPU"] == ("0", "met")
    assert verdicts["tests that fail on the GPU"] == ("0", "met")
    assert [verdict for name, (_, verdict) in verdicts.items() if "2048" in name] == ["not measured"] * 2
    page = modules.page.page(run)
    assert "| 0.75 | missed |" in page
    assert "A dry run" not in page
    run["parts"]["tests"]["result"] |= {"failed": 2, "not_run": 5}
    assert modules.aims.AIMS[-2].verdict(run) == ("2", "missed")
    assert modules.aims.AIMS[-1].verdict(run) == ("5", "missed")


def test_the_share_of_the_peak(dry, modules):
    run = as_on_a_gpu(dry.run)
    wide = run["parts"]["wide"]["result"]
    problem = modules.wide.Problem((16,) * 4, 32)
    assert wide["operations"] == modules.wide.operations(problem) == 2 * 32 * 16 * 16 * 8  # 3 forward, 3 and 2 back
    run["parts"]["peak"]["result"]["products"] = {"torch": {"float32": 4e12}}
    wide["results"][0]["median"] = {"nnx": wide["operations"] / 3e12}
    assert "| float32 | nnx | 3 | 75% |" in modules.page.page(run)


@pytest.fixture
def part(tmp_path, monkeypatch, modules):
    """Runs a function of a module with this text as a part."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CI), str(tmp_path)]))

    def run(text, seconds=60.0):
        (tmp_path / "given.py").write_text(text)
        return modules.process.run("given:run", {"device": "cpu"}, seconds)

    return run


def test_a_part_that_is_done(part):
    found = part("def run(settings, save): save(dict(settings))")

    assert (found["status"], found["result"]) == ("done", {"device": "cpu", "seconds": 60.0})


def test_a_part_that_fails_keeps_what_it_had(part, modules):
    found = part("def run(settings, save):\n save({'figure': 1})\n raise RuntimeError('out of paper')")

    assert (found["status"], found["result"]) == ("failed", {"figure": 1})
    assert found["output"][-1] == "RuntimeError: out of paper"
    assert modules.gpu.faults({"peak": found}) == ["peak failed"]


def test_a_part_whose_time_is_up_is_ended_with_all_that_it_started(part, tmp_path):
    child = tmp_path / "child"
    found = part(
        "import subprocess, sys, time\n"
        "def run(settings, save):\n"
        " save({'figure': 1})\n"
        f' code = \'import time, sys; open(sys.argv[1], "w").close(); time.sleep(5); open(sys.argv[1] + "2", "w")\'\n'
        f" subprocess.run([sys.executable, '-c', code, {str(child)!r}])\n",
        seconds=3.0,
    )

    assert (found["status"], found["result"]) == ("timed out", {"figure": 1})
    assert found["seconds"] < 7
    assert child.exists()
    time.sleep(max(0.0, child.stat().st_mtime + 6 - time.time()))
    assert not Path(f"{child}2").exists()


def test_parts_that_are_not_done_are_on_the_page(dry, part, modules):
    failed = part("def run(settings, save): raise RuntimeError('out of paper')")
    late = part("import time\ndef run(settings, save): time.sleep(60)", seconds=2.0)
    run = {**dry.run, "parts": {"peak": failed, "parity": late}}
    page = modules.page.page(run)

    assert "It **failed**" in page
    assert "RuntimeError: out of paper" in page
    assert "Its time **ran out** after 2 s" in page
    assert page.count("Not run.") == 4
    assert {aim.verdict(run)[1] for aim in modules.aims.AIMS} == {"not measured"}


def test_tests_that_fail_and_those_for_which_there_is_no_time(modules, tmp_path, monkeypatch):
    file = tmp_path / "test_given.py"
    file.write_text(
        "import time\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2\n"
        "def test_slow(): time.sleep(100)\n"
        "def test_never(): pass\n"
    )
    (tmp_path / "conftest.py").write_text("def pytest_addoption(parser): parser.addoption('--backend')\n")
    monkeypatch.setattr(modules.matrix, "SPARE", 0.0)
    found = {}
    settings = {"seconds": 12.0, "tests": [str(file)], "device": "cpu", "workers": 1}
    modules.matrix.run(settings, found.update)

    assert (found["collected"], found["passed"], found["failed"], found["not_run"]) == (4, 1, 1, 2)
    (failure,) = found["failures"]
    assert failure["id"].endswith("test_given.py::test_bad")  # pytest counts from the root that it has found
    assert failure["why"] == "assert 1 == 2"
    faults = modules.gpu.faults({"tests": {"status": "done", "result": found}})
    assert faults == [f"tests: {failure['id']}: assert 1 == 2"]


def test_fourier_transforms_come_first(modules):
    paths = ["tests/test_tree.py", "tests/vjps/test_fft.py", "tests/ops/test_embedding.py"]
    plugins = ["-p", "benchmark.gpu.recorder", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *paths, *"--backend cpu --collect-only -q".split(), *plugins],
        cwd=ROOT,
        env=os.environ | {"NNX_GPU_RECORD": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    files = [line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line]

    assert done.returncode == 0, done.stdout + done.stderr
    assert files[0] == "tests/vjps/test_fft.py"
    assert files.index("tests/test_tree.py") > files.index("tests/ops/test_embedding.py") > 0
    assert set(files) == set(paths)


def test_a_run_adds_to_an_earlier_one_of_the_same_commit(dry, modules):
    earlier = modules.gpu._earlier

    assert earlier(dry.path, dry.run) == dry.run["parts"]
    assert earlier(dry.path, {**dry.run, "commit": "decade"}) == {}
    assert earlier(dry.path, {**dry.run, "quick": False}) == {}
    assert earlier(dry.path.with_name("none.json"), dry.run) == {}


def test_a_checkout_that_is_not_installed(modules, tmp_path, monkeypatch):
    if not (ROOT / "nnx").is_dir():
        pytest.skip("this checkout has no sources")
    monkeypatch.setattr(modules.environment, "entry_points", lambda group: [])
    assert "not installed" in modules.environment.settle(tmp_path)
    code = (
        "from importlib.metadata import entry_points, version; print(version('nnx-array'));"
        "print(*sorted(point.name for point in entry_points(group='nnx.backends')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert os.environ["PYTHONPATH"].split(os.pathsep)[1] == str(tmp_path)
    number, names = done.stdout.splitlines()
    assert number == "0.1.0.dev0"
    assert set(names.split()) >= {"cpu", "cuda", "torch"} & {p.name for p in entry_points(group="nnx.backends")}


def test_missing_packages_are_named_with_a_remedy(modules):
    said = modules.environment.remedy(["array-api-extra", "cupy-cuda13x[ctk]"])

    assert "pip install array-api-extra 'cupy-cuda13x[ctk]'" in said
    assert "--no-index --find-links" in said
    assert modules.environment.absent({"os": "os", "no_such_module": "thing"}) == ["thing"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "abacus"], "unknown device flag 'abacus'"),
        (["--minutes", "0"], "--minutes must be above 0"),
        (["--parts", "nothing"], "invalid choice"),
    ],
)
def test_what_cannot_start_says_why(arguments, message, tmp_path):
    done = gpu(*arguments, "--out", tmp_path)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_device_flags(modules):
    numbers = {
        "cuda": 0,
        "cuda:1": 1,
        "cupy": 0,
        "torch:cuda:2": 2,
        "jax:gpu:0": 0,
        "torch": None,
        "cpu": None,
        "jax": None,
    }

    assert {flag: modules.card.ordinal(flag) for flag in numbers} == numbers


class Driver:
    """A card that has 1000 bytes free at first."""

    free = 1000
    depth = 0

    def cuCtxPushCurrent_v2(self, context):
        self.depth += 1
        return 0

    def cuCtxPopCurrent_v2(self, context):
        self.depth -= 1
        return 0

    def cuMemGetInfo_v2(self, free, total):
        free._obj.value, total._obj.value = self.free, 4000
        return 0 if self.depth == 1 else 201


def test_memory_is_what_a_peer_takes_while_it_works(modules, monkeypatch):
    driver = Driver()
    monkeypatch.setattr(modules.card, "_context", lambda number: (driver, 7))
    meter = modules.card.Meter("cuda:1")

    @meter.watched
    def take(count):
        driver.free -= count
        return count

    assert take(300) == 300
    driver.free -= 500  # another peer
    take(-100)
    take(50)
    assert meter.bytes() == 300
    assert driver.depth == 0


def test_without_a_driver_memory_is_the_growth_of_the_process(modules, monkeypatch):
    def no_driver(number):
        raise modules.card.CardError("no NVIDIA driver is found")

    sizes = iter([1000, 1700])
    monkeypatch.setattr(modules.card, "_context", no_driver)
    monkeypatch.setattr(modules.card, "resident", lambda: next(sizes))
    meter = modules.card.Meter("cuda")

    assert meter.watched(abs)(-3) == 3
    assert meter.bytes() == 700


def test_figures_that_are_owed_are_on_the_page_of_aims(modules):
    page = (ROOT / "docs" / "gpu" / "README.md").read_text(encoding="utf-8")

    assert [aim.subject for aim in modules.aims.AIMS if f"| {aim.subject} | {aim.wanted} |" not in page] == []
