"""Tell Prometheus how the cluster is: ``prometheus://127.0.0.1:9464``.

Rates, drops, lag and restarts come from heartbeats, memory from /proc, ages from the notifications
of results. So no value of a result is read, unless ``results=`` asks for some.

The client library's own HTTP server answers scrapes in threads of its own. They read one snapshot that the
export swaps, so a scrape never waits for a store.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ami.client.load import Load
from ami.errors import ExportError, SourceError
from ami.event import Schema
from ami.exports.metrics import Seen, families
from ami.result import Result
from ami.sources.uri import Option, Uri, names

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9464  # that of OpenTelemetry's Prometheus exporters; 0: any that is free
OPTIONS = {"results": Option(names, ())}


class PrometheusExport(Collector):
    """Answers scrapes at an address of this machine."""

    def __init__(self, uri: Uri) -> None:
        self._results: tuple[str, ...] = uri.values(OPTIONS)["results"]
        self._host, self._port = _address(uri)
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._seen = Seen()

    @property
    def names(self) -> Collection[str]:
        return self._results

    @property
    def address(self) -> str:
        port = self._port if self._server is None else self._server.server_port
        return f"http://{self._host}:{port}/metrics"

    def start(self, schema: Schema | None) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(self._port, self._host, registry)
        except OSError as error:
            raise ExportError(
                f"cannot listen at {self._host}:{self._port}: {error.strerror or error}; "
                f"free it, or name another port in export.uris"
            ) from error

    def put(self, results: Mapping[str, Result]) -> None:
        self._seen = self._seen.with_results(results)

    def see(self, load: Load, published_ns: Mapping[str, int]) -> None:
        self._seen = self._seen.with_load(load, published_ns)

    def collect(self) -> Iterable[Metric]:
        """Return what there is to tell now; called by the threads that answer scrapes."""
        return families(self._seen)

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        if self._thread is not None:
            self._thread.join()


def _address(uri: Uri) -> tuple[str, int]:
    host, _, port = uri.body.rpartition(":") if ":" in uri.body else (uri.body, "", "")
    host = host.strip("[]") or DEFAULT_HOST
    if port and not (port.isdecimal() and int(port) < 1 << 16):
        raise SourceError(f"{uri.text!r}: a port from 0 to 65535 is wanted, got {port!r}")
    return host, int(port) if port else DEFAULT_PORT
