"""The conformance run: what it reads, what it allows, what it says; and that it tests tracked arrays.

A suite of four tests stands in for array-api-tests, in its layout. Where NNX_ARRAY_API_TESTS names a
copy of the real one, a part of that is run too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest

from nnx.tape.node import CONSTANT
from nnx.tape.tracked import Tracked
from nnx.vjps import STANDARD

CI = Path(__file__).parents[2] / "ci"
VARIABLE = "NNX_ARRAY_API_TESTS"
REAL = os.environ.get(VARIABLE)

if find_spec("array_api_strict") is None:
    pytest.skip("a run over array-api-strict needs it", allow_module_level=True)


@pytest.fixture
def ci(monkeypatch):
    """The modules of the conformance run."""
    monkeypatch.syspath_prepend(str(CI))
    import conformance
    from apisuite import checkout, report, runs, subjects

    monkeypatch.setattr(conformance, "PACKAGES", ("pytest",))  # what the small suite needs
    return SimpleNamespace(
        main=conformance.main, conformance=conformance, checkout=checkout, report=report, runs=runs, subjects=subjects
    )


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")


@pytest.fixture
def suite(tmp_path):
    """A suite of four tests in the layout of array-api-tests."""
    folder = tmp_path / "suite"
    write(
        folder / "array_api_tests" / "__init__.py",
        """
        import os

        room = {}
        exec(os.environ["ARRAY_API_TESTS_MODULE"][6:-2], room)
        xp = room["xp"]
        """,
    )
    write(
        folder / "array_api_tests" / "test_small.py",
        """
        import random

        import pytest

        from . import xp

        def test_add():
            assert int(xp.ones(()) + xp.ones(())) == 2

        def test_sin():
            assert float(xp.sin(xp.zeros(()))) == 0

        class TestGroup:
            @pytest.mark.parametrize("n", [1, 2])
            def test_draw(self, n):
                print(random.random(), type(xp.ones(n)).__module__)
                assert n == 1
        """,
    )
    write(
        folder / "conftest.py",
        """
        def pytest_addoption(parser):
            for name in ("max-examples", "skips-file", "xfails-file"):
                parser.addoption(f"--{name}")
            for name in ("derandomize", "disable-deadline"):
                parser.addoption(f"--{name}", action="store_true")
        """,
    )
    write(folder / "array-api" / "src" / "array_api_stubs" / "__init__.py", "")
    return folder


def outcomes(ci, passed=(), failed=(), skipped=()):
    found = dict.fromkeys(passed, "passed") | dict.fromkeys(failed, "failed") | dict.fromkeys(skipped, "skipped")
    return ci.runs.Run(found, dict.fromkeys(failed, "AssertionError: 1 == 2"), 1.0)


# --- what is read -------------------------------------------------------------------------------


def test_outcomes_are_read_from_xml(ci, tmp_path):
    write(
        tmp_path / "junit.xml",
        """\
        <testsuites><testsuite>
        <testcase classname="array_api_tests.test_linalg" name="test_inv" />
        <testcase classname="array_api_tests.test_linalg" name="test_eig">
        <failure message="ValueError: no&#10;second line">trace</failure></testcase>
        <testcase classname="array_api_tests.test_sets.TestIsin" name="test_isin[a::b.c]">
        <error message="">trace</error></testcase>
        <testcase classname="array_api_tests.test_fft" name="test_fft">
        <skipped type="pytest.skip">no</skipped></testcase>
        </testsuite></testsuites>
        """,
    )
    found = ci.runs.read(tmp_path / "junit.xml")
    assert found.outcomes == {
        "test_linalg.py::test_inv": "passed",
        "test_linalg.py::test_eig": "failed",
        "test_sets.py::TestIsin::test_isin[a::b.c]": "failed",
        "test_fft.py::test_fft": "skipped",
    }
    assert found.reasons == {
        "test_linalg.py::test_eig": "ValueError: no",
        "test_sets.py::TestIsin::test_isin[a::b.c]": "no message",
    }


def test_what_nnx_alone_fails_is_found(ci):
    beneath = outcomes(ci, passed="abcd", failed="ef", skipped="gh")
    through = outcomes(ci, passed="aeg", failed="bfhx", skipped="c")  # d was not collected, x is new
    found = ci.report.compare("numpy", "constant", beneath, through, [])
    assert found.worse == ["b", "c", "d", "h", "x"]
    assert (found.allowed, found.stale, found.better) == ([], [], ["e"])


def test_a_run_that_is_no_worse_has_no_failures(ci):
    beneath = outcomes(ci, passed="a", failed="b", skipped="c")
    assert ci.report.compare("numpy", "constant", beneath, beneath, [])[4:] == ([], [], [], [])


# --- skips --------------------------------------------------------------------------------------


def test_a_skip_allows_one_failure_of_one_kind_of_arrays(ci):
    beneath, through = outcomes(ci, passed="abc"), outcomes(ci, passed="c", failed="ab")
    listed = [ci.report.Skip(arrays, test, "why", "where") for arrays, test in (("constant", "a"), ("recorded", "b"))]
    found = ci.report.compare("numpy", "constant", beneath, through, listed)
    assert (found.worse, found.allowed) == (["b"], ["a"])


def test_a_skip_that_is_not_needed_is_named(ci):
    beneath = outcomes(ci, passed="abc")
    listed = [ci.report.Skip("constant", test, "why", "where") for test in "az"]  # z was not run
    found = ci.report.compare("numpy", "constant", beneath, beneath, listed)
    assert found.stale == ["a"]
    assert "needs no skip (numpy, constant): a" in ci.report.details([found])


ENTRY = {"arrays": "constant", "test": "a.py::b", "reason": "why", "upstream": "where"}


def test_skips_are_read(ci, tmp_path):
    path = tmp_path / "skips.toml"
    path.write_text("[[skip]]\n" + "".join(f'{name} = "{text}"\n' for name, text in ENTRY.items()), encoding="utf-8")
    assert ci.report.skips(path) == [ci.report.Skip(**ENTRY)]
    path.write_text("# none\n", encoding="utf-8")
    assert ci.report.skips(path) == []


@pytest.mark.parametrize("change", [{"reason": ""}, {"upstream": None}, {"more": "text"}])
def test_a_skip_without_a_reason_is_refused(ci, tmp_path, change):
    entry = {name: text for name, text in (ENTRY | change).items() if text is not None}
    path = tmp_path / "skips.toml"
    path.write_text("[[skip]]\n" + "".join(f'{name} = "{text}"\n' for name, text in entry.items()), encoding="utf-8")
    with pytest.raises(ValueError, match=r"skips\.toml: expected arrays, test, reason, upstream in every entry"):
        ci.report.skips(path)


def test_the_list_of_skips_is_whole_and_short(ci):
    listed = ci.report.skips()
    assert {skip.arrays for skip in listed} <= set(ci.conformance.ARRAYS)
    assert all(skip.test.startswith("test_") and "::" in skip.test for skip in listed)
    assert len(set(listed)) == len(listed) < 10


# --- what is said -------------------------------------------------------------------------------


@pytest.mark.parametrize(("failed", "listed", "status"), [("", "", 0), ("b", "", 1), ("b", "b", 0), ("ab", "b", 1)])
def test_exit_status(ci, monkeypatch, capsys, suite, failed, listed, status):
    monkeypatch.setenv(VARIABLE, str(suite))
    monkeypatch.setattr(
        ci.conformance,
        "run",
        lambda library, arrays, settings: outcomes(
            ci, passed=set("abc") - set(failed if arrays != "raw" else ""), failed=failed if arrays != "raw" else ""
        ),
    )
    skips = [ci.report.Skip("constant", test, "why", "where") for test in listed]
    monkeypatch.setattr(ci.conformance, "skips", lambda: skips)
    assert ci.main(["--libraries", "numpy", "--arrays", "constant"]) == status
    said = capsys.readouterr().out
    assert ("FAILED (" in said) == (status == 1)
    assert ("FAILED (numpy, constant): a\n    AssertionError: 1 == 2" in said) == ("a" in failed)
    assert f"{len(failed)} failed" in said
    assert "an unknown commit; the pinned commit is 55fcc60179efa2680ddd6cd926ddf17b83530e2b" in said


def test_a_failure_of_several_runs_is_told_once(ci):
    beneath, through = outcomes(ci, passed="a"), outcomes(ci, failed="a")
    runs = [(library, arrays) for library in ("numpy", "strict") for arrays in ci.conformance.ARRAYS]
    (line,) = ci.report.details([ci.report.compare(*names, beneath, through, []) for names in runs])
    assert line.startswith("FAILED (numpy, constant; numpy, recorded; strict, constant; strict, recorded): a\n")


def test_no_copy_and_no_network(ci, monkeypatch, capsys, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    nowhere = (tmp_path / "nowhere").as_uri()
    monkeypatch.setattr(ci.checkout.checkout, "__defaults__", (nowhere, "0" * 40))
    assert ci.main(["--quick"]) == 2
    said = capsys.readouterr().out
    assert f"array-api-tests cannot be cloned from {nowhere}" in said
    assert f"let the environment variable {VARIABLE} name its folder" in said
    assert list((tmp_path / "cache" / "nnx").iterdir()) == []


@pytest.mark.parametrize(
    ("lacking", "remedy"),
    [("array_api_tests", f"Let {VARIABLE} name a copy"), ("array-api", "submodule update --init")],
)
def test_an_incomplete_copy(ci, monkeypatch, capsys, suite, lacking, remedy):
    shutil.rmtree(suite / lacking)
    monkeypatch.setenv(VARIABLE, str(suite))
    assert ci.main([]) == 2
    assert remedy in capsys.readouterr().out


def test_missing_packages_are_named(ci, monkeypatch, capsys):
    monkeypatch.setattr(ci.conformance, "PACKAGES", ("pytest", "no_such_package"))
    assert ci.main([]) == 2
    assert "not installed: no_such_package. Install what the suite needs: pip install" in capsys.readouterr().out


def test_a_suite_that_does_not_run_to_its_end(ci, monkeypatch, capsys, suite):
    (suite / "array_api_tests" / "__init__.py").write_text("raise ValueError('broken suite')", encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(suite))
    assert ci.main(["-n", "1", "--libraries", "numpy"]) == 2
    said = capsys.readouterr().out
    assert "test_small was not collected" in said
    assert "broken suite" in said


def test_a_process_that_pytest_ends(ci, suite):
    (suite / "conftest.py").write_text("", encoding="utf-8")  # it knows no option --max-examples
    with pytest.raises(ci.runs.RunError, match=r"(?s)status 4 before the end.*unrecognized arguments.*--max-examples"):
        ci.runs.run("numpy", "raw", ci.runs.Settings(suite))


# --- cloning ------------------------------------------------------------------------------------


def git(folder, *arguments):
    who = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "protocol.file.allow=always")
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="cloning needs git")
def test_one_commit_is_cloned_once_with_its_submodule(ci, monkeypatch, suite, tmp_path):
    specification = tmp_path / "specification"
    (suite / "array-api").rename(specification)
    for folder in (specification, suite):
        git(folder, "init", "--quiet")
        git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", "first")
    git(suite, "submodule", "--quiet", "add", specification.as_uri(), "array-api")
    git(suite, "commit", "--quiet", "-m", "second")
    pinned = git(suite, "rev-parse", "HEAD")
    git(suite, "rm", "--quiet", "-r", "array_api_tests")
    git(suite, "commit", "--quiet", "-m", "third, which is not wanted")

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in {"COUNT": "1", "KEY_0": "protocol.file.allow", "VALUE_0": "always"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    found = ci.checkout.checkout(suite.as_uri(), pinned)
    assert found == tmp_path / "cache" / "nnx" / f"array-api-tests-{pinned}"
    assert ci.checkout.commit_of(found) == pinned
    assert (found / "array_api_tests" / "test_small.py").is_file()
    assert (found / "array-api" / "src" / "array_api_stubs" / "__init__.py").is_file()
    assert [path.name for path in found.parent.iterdir()] == [found.name]

    shutil.rmtree(suite)
    assert ci.checkout.checkout(suite.as_uri(), pinned) == found


# --- tracked arrays are what is tested ----------------------------------------------------------

ARGUMENTS = {
    "arange": (3,),
    "asarray": ([1.0, 2.0],),
    "empty": ((2,),),
    "eye": (2,),
    "fftfreq": (4,),
    "full": ((2,), 1.0),
    "linspace": (0.0, 1.0, 3),
    "ones": ((2,),),
    "rfftfreq": (4,),
    "zeros": ((2,),),
}


@pytest.mark.parametrize("library", ["numpy", "strict", "strict:device1"])
def test_every_creation_function_answers_tracked_arrays_of_the_device(ci, library):
    beneath, xp = (ci.subjects.namespace(library, arrays) for arrays in ("raw", "constant"))
    device = beneath.Device("device1") if library == "strict:device1" else beneath.ones(1).device
    raw = beneath.ones(2)
    like = {name: (raw,) if name != "full_like" else (raw, 2.0) for name in STANDARD.creation if name.endswith("_like")}
    arguments = ARGUMENTS | like | {"from_dlpack": (raw,)}
    functions = dict.fromkeys([*STANDARD.creation, "asarray"], xp)
    functions |= dict.fromkeys(STANDARD.extensions["fft"].creation, xp.fft)
    assert set(functions) == set(arguments)
    for name, room in functions.items():
        made = getattr(room, name)(*arguments[name])
        assert type(made) is Tracked, name
        assert made.node is CONSTANT
        assert made.device == device, name
        assert made.__array_namespace__() is xp
        assert type(made + made) is type(xp.abs(made)) is type(made[:1, ...]) is Tracked
        assert type(getattr(beneath if room is xp else beneath.fft, name)(*arguments[name])) is type(raw)


SABOTAGE = """
from nnx.tape.namespace import DifferentiableNamespace
from nnx.tape.tracked import Tracked

make = DifferentiableNamespace._make

def wrong(self, name):
    function = make(self, name)

    def sin(x, /):
        y = function(x)
        return Tracked(y.value + 100, y.xp, y.node) if type(y) is Tracked else y

    return sin if name == "sin" else function

DifferentiableNamespace._make = wrong
Tracked.__add__ = lambda x, y: x.xp.subtract(x, y)
"""
"""An operator and a function of tracked arrays are wrong, by more than the 1 that the suite allows; plain arrays
notice nothing."""


@pytest.fixture
def sabotage(monkeypatch, tmp_path):
    write(tmp_path / "plugins" / "sabotage.py", SABOTAGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugins"), prepend=os.pathsep)
    return ("sabotage",)


def test_the_runs_of_the_small_suite(ci, suite):
    settings = ci.runs.Settings(suite, examples=3, processes=2)
    for arrays in ci.subjects.ARRAYS:
        found = ci.runs.run("strict", arrays, settings)
        assert found.outcomes == {
            "test_small.py::test_add": "passed",
            "test_small.py::test_sin": "passed",
            "test_small.py::TestGroup::test_draw[1]": "passed",
            "test_small.py::TestGroup::test_draw[2]": "failed",
        }
        assert found.reasons == {"test_small.py::TestGroup::test_draw[2]": "assert 2 == 1"}
    assert not list(suite.rglob("__pycache__"))


@pytest.mark.parametrize("arrays", ["constant", "recorded"])
def test_the_small_suite_notices_that_tracked_arrays_are_wrong(ci, suite, sabotage, arrays):
    settings = ci.runs.Settings(suite, examples=3, plugins=sabotage)
    beneath, through = (ci.runs.run("numpy", arrays, settings) for arrays in ("raw", arrays))
    found = ci.report.compare("numpy", arrays, beneath, through, [])
    assert found.worse == ["test_small.py::test_add", "test_small.py::test_sin"]


def test_a_derivative_of_another_shape_is_noticed(ci, suite, monkeypatch, tmp_path):
    write(
        tmp_path / "plugins" / "sabotage.py",
        """
        from nnx.tape.rule import Derivative
        from nnx.vjps import STANDARD

        STANDARD.rules["sin"].derivatives["x"] = Derivative(lambda xp, g: xp.ones(5))
        """,
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugins"), prepend=os.pathsep)
    found = ci.runs.run("numpy", "recorded", ci.runs.Settings(suite, plugins=("sabotage",)))
    reason = found.reasons["test_small.py::test_sin"]
    assert "the derivative of sin(), shapes [()], {}: expected shape (), float64, cpu, got (5,), float64, cpu" in reason


@pytest.mark.skipif(not REAL, reason=f"{VARIABLE} names no copy of array-api-tests")
class TestRealSuite:
    TESTS = (
        "test_array_object.py::test_getitem",
        "test_operators_and_elementwise_functions.py::test_add[__add__(x1, x2)]",
        "test_operators_and_elementwise_functions.py::test_sin",
    )

    def compare(self, ci, arrays, plugins=()):
        settings = ci.runs.Settings(Path(REAL), tests=self.TESTS, plugins=plugins)
        beneath, through = (ci.runs.run("numpy", arrays, settings) for arrays in ("raw", arrays))
        assert beneath.outcomes
        assert set(beneath.outcomes.values()) == {"passed"}
        return ci.report.compare("numpy", arrays, beneath, through, [])

    @pytest.mark.parametrize("arrays", ["constant", "recorded"])
    def test_it_passes(self, ci, arrays):
        found = self.compare(ci, arrays)
        assert set(found.through.outcomes) == set(found.beneath.outcomes)
        assert found.worse == []

    def test_it_notices_that_tracked_arrays_are_wrong(self, ci, sabotage):
        found = self.compare(ci, "constant", sabotage)
        assert {test.partition("[")[0].rpartition("::")[2] for test in found.worse} == {"test_add", "test_sin"}
