"""The parts of the page that compute: their tests are JavaScript, in tests/page."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "tests/page"
STATIC = ROOT / "ami/web/static"
MOST_LINES = 4000  # of modules together, without comments and empty ones
COMMENT = re.compile(r"/\*.*?\*/|^\s*//.*?$", re.DOTALL | re.MULTILINE)


def test_the_parts_of_the_page_that_compute() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, which runs JavaScript without a browser")
    ran = subprocess.run(
        [node, "--test", *sorted(map(str, PAGE.glob("*.test.js")))], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout


def test_the_page_is_readable_source_that_asks_nobody_else() -> None:
    sources = [path for path in STATIC.rglob("*") if path.is_file()]
    lines = {path: path.read_text(encoding="utf-8").splitlines() for path in sources}
    code = [COMMENT.sub("", path.read_text(encoding="utf-8")) for path in sources if path.suffix == ".js"]
    assert sum(bool(line.strip()) for text in code for line in text.splitlines()) <= MOST_LINES
    for path, text in lines.items():
        assert len(text) <= 400, path
        whole = "\n".join(text)
        # What the content security policy would refuse is not there in the first place.
        for refused in ("http://", "https://", " style=", "innerHTML", "eval(", 'onclick="'):
            assert refused not in whole, f"{refused!r} in {path}"
        assert max(map(len, text), default=0) <= 160, f"{path} is not for reading"


def test_every_module_that_is_imported_is_there() -> None:
    for path in STATIC.rglob("*.js"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("import ") and " from '" in line:
                wanted = Path(path.parent, line.split(" from '")[1].split("'")[0])
                assert wanted.is_file(), f"{path} imports {wanted}"
