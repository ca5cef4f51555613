"""Log lines, seen from outside: each test is a process of its own, because logging is global."""

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
HEAD = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def said(program: str, level: str = "INFO", **environ: str) -> list[str]:
    """Return what a process writes to stdout, by lines; its stderr must stay empty."""
    program = f"import logging\nfrom ami import log\nlog.setup('worker:1', {level!r})\n{program}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={"PATH": os.defpath, **environ},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == b""
    return done.stdout.decode("utf-8").splitlines()


def test_a_record_is_one_line_with_time_level_and_process() -> None:
    (line,) = said("logging.getLogger('x').info('version %d', 7)")
    assert re.fullmatch(rf"{HEAD} INFO     worker:1 version 7", line)


def test_records_below_the_level_are_not_written() -> None:
    assert said("logging.info('a'); logging.warning('b')", "WARNING")[0].endswith("worker:1 b")


def test_a_newline_from_outside_cannot_pass_for_a_record() -> None:
    lines = said(r"logging.info('user said %s', 'x\n2026-01-01T00:00:00.000Z CRITICAL source:0 fire')")
    assert len(lines) == 2
    assert re.fullmatch(rf"{HEAD} INFO     worker:1 \| 2026-01-01.* fire", lines[1])


def test_each_line_of_a_traceback_names_the_process() -> None:
    lines = said("try: 1/0\nexcept Exception: logging.exception('failed')")
    assert all(re.match(rf"{HEAD} ERROR    worker:1 ", line) for line in lines)
    assert lines[-1].endswith("| ZeroDivisionError: division by zero")


def test_an_exception_that_nobody_catches_is_a_record() -> None:
    lines = said("1/0")
    assert lines[0].endswith("CRITICAL worker:1 stopped by a bug")
    assert lines[-1].endswith("| ZeroDivisionError: division by zero")


def test_an_exception_in_a_thread_is_a_record() -> None:
    lines = said(
        "import threading\nt = threading.Thread(target=lambda: 1/0, name='ear')\nt.start(); t.join()"
    )
    assert lines[0].endswith("CRITICAL worker:1 thread ear stopped by a bug")
    assert lines[-1].endswith("| ZeroDivisionError: division by zero")


def test_a_warning_of_python_is_a_record() -> None:
    assert "WARNING  worker:1" in said("import warnings; warnings.warn('old')")[0]


def test_an_odd_character_loses_no_record_where_stdout_is_ascii() -> None:
    (line,) = said(r"logging.info('5 \u00b5s')", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert line.endswith(r"5 \xb5s")


def test_an_empty_message_is_a_line() -> None:
    (line,) = said("logging.info('')")
    assert "worker:1" in line
