"""A run as a page to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmark.card import ordinal
from benchmark.gpu import PARTS
from benchmark.gpu.aims import AIMS, CAPTURED, speed

Run = Mapping[str, Any]

TITLES = {
    "peak": "Matrix products",
    "parity": "CPU and device",
    "perceptrons": "Perceptrons",
    "wide": "A wide perceptron",
    "convolutional": "A convolutional network",
    "tests": "Tests",
}
DEVICE = "Memory of the device that a peer takes for its data and its steps"
HOST = "Growth of the resident memory of a peer's process, compilers included"
QUICK = "> **A dry run** with tiny sizes: the figures say that the script works, and nothing about speed.\n"


def page(run: Run) -> str:
    """The Markdown page of a run."""
    sections = [_head(run), _aims(run), *(_section(name, run) for name in PARTS)]
    return "\n".join(section.rstrip() + "\n" for section in sections)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; what stands in a cell is shown as it is."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _head(run: Run) -> str:
    device, host = run["device"], run["host"]
    facts = {
        "device": ", ".join(str(device[key]) for key in ("name", "memory", "power") if device.get(key)),
        "flag": f"`{device['flag']}`",
        "driver": device["driver"] or "",
        "host": f"{host['processor']}, {host['cpus']} CPUs, {host['system']}",
        "versions": ", ".join(f"{name} {number}" for name, number in run["versions"].items()),
        "nnx": f"commit {run['commit']}, {run['found']}",
        "command": f"`{run['command']}`",
        "took": f"{sum(part['seconds'] for part in run['parts'].values()):.0f} s",
    }
    rows = [[name, value] for name, value in facts.items() if value]
    note = QUICK if run["quick"] else ""
    return (
        f"# {device['name']}, {run['date']}\n\n{note}\nWritten by `ci/gpu.py`. [How it is measured](README.md).\n\n"
        + table(("", ""), rows)
    )


def _aims(run: Run) -> str:
    rows = [(aim.subject, aim.wanted, *aim.verdict(run)) for aim in AIMS]
    return "## Aims\n\n" + table(("", "aim", "measured", ""), rows)


def _section(name: str, run: Run) -> str:
    title, part = f"## {TITLES[name]}\n\n", run["parts"].get(name)
    if part is None:
        return title + "Not run.\n"
    body = ""
    if part["status"] != "done":
        state = "It **failed**" if part["status"] == "failed" else "Its time **ran out**"
        body = f"{state} after {part['seconds']:.0f} s (limit {part['limit']:.0f} s); what it had found is below.\n\n"
        body += "```\n" + "\n".join(part["output"] or ["(nothing was printed)"]) + "\n```\n\n"
    return title + body + ("\n".join(_CONTENT[name](part["result"], run)) if part["result"] else "")


def _peak(found: Mapping[str, Any], run: Run) -> Iterator[str]:
    size = found["size"]
    yield f"Two matrices of {size} × {size} normal numbers; 10¹² operations a second.\n"
    columns = list(dict.fromkeys(precision for rates in found["products"].values() for precision in rates))
    rows = [
        [library, *(f"{rates[each] / 1e12:.4g}" if each in rates else "–" for each in columns)]
        for library, rates in found["products"].items()
        if rates
    ]
    yield table(("by", *columns), rows)
    yield from (f"- {library}: {note}" for library, note in found["notes"].items())


def _parity(found: Mapping[str, Any], run: Run) -> Iterator[str]:
    masks = found["masks"]
    count = f"{masks['different']} of {masks['elements']:,} elements"
    yield f"Dropout: {count} differ between the CPU and {found['device']}.\n"
    rows = [
        [
            name,
            f"{each['weights']['different']} of {each['weights']['elements']:,}",
            f"{each['loss'][0]:.4f} → {each['loss'][1]:.4f}" if "loss" in each else "–",
            f"{each['cpu_to_device']:.1e}" if "cpu_to_device" in each else "–",
            f"{each['eager_to_captured']:.1e} ({each['replays']} replayed)" if "eager_to_captured" in each else "–",
        ]
        for name, each in found["networks"].items()
    ]
    head = ("network", "initial weights that differ", "loss", "CPU to device, worst", "eager to captured, worst")
    yield f"Losses of {found['steps']} steps, float32, relative differences:\n"
    yield table(head, rows)
    yield from (f"- FAILED: {error}" for error in found["errors"])


def _training(found: Mapping[str, Any], run: Run) -> Iterator[str]:
    yield "Microseconds a step, the median of the rounds; in brackets the time by that of nnx-capture in a round.\n"
    peers = list(dict.fromkeys(name for record in found["results"] for name in record["seconds"]))
    rows = [[record["problem"], *(_time(record, name) for name in peers)] for record in found["results"]]
    yield table(("layers, batch", *peers), rows)
    yield f"{HOST if ordinal(run['device']['flag']) is None else DEVICE}, in MiB, at most:\n"
    rows = [
        [record["problem"], *(_mebibytes(record["memory"].get(name)) for name in peers)] for record in found["results"]
    ]
    yield table(("layers, batch", *peers), rows)
    yield from _remarks(found)


def _time(record: Mapping[str, Any], name: str) -> str:
    if name not in record["median"]:
        return "–"
    ratio = None if name == CAPTURED else speed(record, CAPTURED, name)
    return f"{record['median'][name] * 1e6:,.1f}" + ("" if ratio is None else f" ({ratio:.2f})")


def _mebibytes(count: int | None) -> str:
    return "–" if count is None else f"{count / 2**20:,.0f}"


def _remarks(found: Mapping[str, Any]) -> Iterator[str]:
    lines: dict[str, None] = {}
    for record in found["results"]:
        lines |= dict.fromkeys(f"- FAILED: {error}" for error in record["errors"])
        for name, note in record["notes"].items():
            where = f" on {record['problem']}" if name not in record["seconds"] else ""
            lines |= {f"- {name}{where}: {note}": None}
    yield from lines


def _wide(found: Mapping[str, Any], run: Run) -> Iterator[str]:
    products = run["parts"].get("peak", {"result": {}})["result"].get("products", {})
    if found["results"]:
        operations = found["operations"]
        yield f"A step has {operations / 1e12:.3g} × 10¹² operations in matrix products. The share of the peak is their"
        yield "rate in a whole step by the best rate of a large product in the same precision.\n"
        rows = []
        for record in found["results"]:
            peak = max((rates.get(record["precision"], 0.0) for rates in products.values()), default=0.0)
            for name, seconds in record["median"].items():
                rate = operations / seconds
                share = f"{rate / peak:.0%}" if peak else "–"
                rows.append([record["precision"], name, f"{rate / 1e12:.4g}", share])
        yield table(("precision", "", "10¹² operations a second", "share of the peak"), rows)
        yield from _training(found, run)
    yield from (f"- {precision}: {reason}" for precision, reason in found["refused"].items())


def _tests(found: Mapping[str, Any], run: Run) -> Iterator[str]:
    kinds = ("passed", "failed", "error", "skipped", "xfailed", "not_run", "collected")
    yield table([kind.replace("_", " ") for kind in kinds], [[f"{found[kind]:,}" for kind in kinds]])
    for title, key, value in (("Failures", "failures", "why"), ("The slowest", "slowest", "seconds")):
        if found[key]:
            yield f"{title}:\n"
            yield "\n".join(f"- `{each['id']}`: {each[value]}" for each in found[key]) + "\n"
    if found["skips"]:
        yield "Skipped:\n"
        yield from (f"- {count} × {reason}" for reason, count in found["skips"].items())


_CONTENT = {
    "peak": _peak,
    "parity": _parity,
    "perceptrons": _training,
    "wide": _wide,
    "convolutional": _training,
    "tests": _tests,
}
