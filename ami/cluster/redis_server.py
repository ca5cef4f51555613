"""Become a Redis server of this node: ``python -m ami.cluster.redis_server local|global``."""

from __future__ import annotations

import argparse
import sys

from ami import config
from ami.cluster import server
from ami.errors import ConfigError


def main(arguments: list[str] | None = None) -> int:
    """Start the server in place of this process; return only when that cannot be done (exit code 2)."""
    parser = argparse.ArgumentParser(prog="ami-redis-server", description=__doc__)
    parser.add_argument("tier", choices=("local", "global"), help="the node's own store, or the cluster's")
    tier = parser.parse_args(arguments).tier
    try:
        settings = config.load()
        (server.run_local if tier == "local" else server.run_global)(settings)
    except ConfigError as error:
        sys.stderr.write(f"ami: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
