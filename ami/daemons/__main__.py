"""Be one of ami's processes: ``python -m ami.daemons TYPE``, or ``ami-TYPE``."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from ami import log
from ami.config import load
from ami.daemons.process import runtime
from ami.errors import ConfigError
from ami.processes import BY_TYPE, DAEMONS, Process


def main() -> int:
    """Be the process that the program's name or first argument says; return its exit code."""
    called, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    process_type = called.removeprefix("ami-")
    if process_type not in DAEMONS:
        if not arguments or arguments[0] not in DAEMONS:
            sys.stderr.write(f"ami: say which process, one of {', '.join(DAEMONS)}\n")
            return runtime.EXIT_CONFIG
        process_type, *arguments = arguments
    return be(BY_TYPE[process_type], arguments)


def be(process: Process, argv: list[str]) -> int:
    """Read the settings, run the stage, return an exit code."""
    name = f"ami-{process.type}"
    waits = f"It waits for {', '.join(process.waits_for)}." if process.waits_for else None
    parser = argparse.ArgumentParser(prog=name, description=process.help, epilog=waits)
    parser.add_argument("--config", type=Path, help="settings (default: $AMI_CONFIG, else conf/ami.toml)")
    parser.add_argument("--id", type=int, default=0, help="number among the node's processes of this type")
    arguments = parser.parse_args(argv)
    try:
        config = load(arguments.config)
        log.setup(f"{process.type}:{arguments.id}", config.node.log_level)
    except ConfigError as error:
        parser.exit(runtime.EXIT_CONFIG, f"{name}: {error}\n")
    module, _, stage = process.stage.partition(":")
    make: runtime.MakeStage = getattr(importlib.import_module(module), stage)
    return runtime.run(process.type, make, config, arguments.id)


if __name__ == "__main__":
    sys.exit(main())
