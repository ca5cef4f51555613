"""The house: no imports in a circle, no long files and functions. Which room knows which is in setup.cfg."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator, Mapping, Set
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ami.processes import PROCESSES

PROJECT = Path(__file__).parents[2]
FILES = sorted((PROJECT / "ami").rglob("*.py"))
FILE_LINES = 400
FUNCTION_LINES = 50


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def modules(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return what each module imports of the others, within functions as well."""
    return {name: set(imports(name, path, files)) - {name} for name, path in files.items()}


def imports(name: str, path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    return (module for module in named(name, path, executed(parse(path)), files) if module in files)


def named(name: str, path: Path, nodes: Iterable[ast.AST], files: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules that these statements of a module import, ours and others'."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            # What is imported may be a module of its own; the package is then no more than its folder.
            wanted = [found if (found := f"{base}.{alias.name}") in files else base for alias in node.names]
        else:
            continue
        yield from wanted


def executed(tree: ast.AST, *, at_once: bool = False) -> Iterator[ast.AST]:
    """Walk what is run: not what stands there for the type checker only; ``at_once``: nor in functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.expr) or (at_once and isinstance(node, ast.FunctionDef)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for alternative in node.orelse:
                yield from (alternative, *executed(alternative, at_once=at_once))
        else:
            yield from (node, *executed(node, at_once=at_once))


def circle(imported: Mapping[str, Set[str]]) -> list[str]:
    """Return the modules of one circle, or none."""
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        return sorted(set(error.args[1]))
    return []


def by_name(folder: Path) -> dict[str, Path]:
    names = {
        path: ".".join(path.relative_to(folder).with_suffix("").parts)
        for path in (folder / "ami").rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not circle(modules(by_name(PROJECT)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from ami.b import f", True),
        ("import ami.b", True),
        ("from ami import b", True),
        ("from .b import f", True),
        ("def f():\n    from ami.b import f", True),
        ("class C:\n    def f(self):\n        import ami.b", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ami.b import f", False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import ami.b", True),
        ("import ami", False),
    ],
)
def test_a_circle_is_found_wherever_it_is_hidden(tmp_path: Path, text: str, found: bool) -> None:
    (tmp_path / "ami").mkdir()
    for name, content in (("__init__", ""), ("a", text), ("b", "import ami.c"), ("c", "import ami.a")):
        (tmp_path / "ami" / f"{name}.py").write_text(content)
    assert circle(modules(by_name(tmp_path))) == (["ami.a", "ami.b", "ami.c"] if found else [])


# What people wait for begins soon: a process that was killed, and a command. Of each of these one sees it.
SLOW = {
    "anyio", "argparse", "asyncio", "click", "h5py", "importlib.metadata", "msgpack", "multiprocessing",
    "networkx", "numpy", "prometheus_client", "redis", "ssl", "starlette", "supervisor", "uvicorn", "xmlrpc",
    "yaml", "zmq",
}  # fmt: skip
STORES = {"numpy", "redis", "ssl"}
NEEDED = {
    "ami.daemons.source.source": STORES | {"importlib.metadata"},
    "ami.daemons.worker.worker": STORES,
    "ami.daemons.reduction.local_reducer": STORES,
    "ami.daemons.reduction.global_reducer": STORES | {"multiprocessing"},
    "ami.daemons.manager.graph_manager": STORES | {"yaml"},
    "ami.daemons.monitor.monitor": STORES | {"xmlrpc"},
    "ami.exports.stage": STORES | {"xmlrpc", "importlib.metadata"},
    "ami.web.stage": STORES | {"xmlrpc", "anyio", "asyncio", "starlette", "uvicorn"},
    "ami.cluster.servers": {"argparse"},
    "ami.cluster.extension": {"supervisor", "argparse"},
    "ami.cli": {"click"},
    "ami.cli.status": STORES | {"click", "xmlrpc"},
    "ami.cli.get": STORES | {"click", "xmlrpc"},
}


def find_slow(start: str) -> set[str]:
    """Return the slow modules that are imported when this one is, by whatever it imports."""
    files = by_name(PROJECT)
    seen, left = set[str](), [start]
    while left:
        module = left.pop()
        if module not in seen:
            seen.add(module)
            left.append(module.rpartition(".")[0])
        if module in files:
            at_once = executed(parse(files[module]), at_once=True)
            left += set(named(module, files[module], at_once, files)) - seen
    return seen & SLOW


@pytest.mark.parametrize("start", NEEDED)
def test_nobody_waits_for_what_he_does_not_need(start: str) -> None:
    assert find_slow(start) == NEEDED[start]


def test_each_process_is_among_those_that_begin_soon() -> None:
    stages = {process.stage.partition(":")[0] for process in PROCESSES if process.stage}
    assert stages == {
        name for name in NEEDED if name.startswith(("ami.daemons.", "ami.exports.", "ami.web."))
    }


def test_no_file_holds_two_nouns() -> None:
    counts = {
        str(path.relative_to(PROJECT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES
    }
    assert not {path: count for path, count in counts.items() if count > FILE_LINES}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > FUNCTION_LINES:
                    long[f"{path.relative_to(PROJECT)}:{node.lineno} {node.name}"] = count
    assert not long
