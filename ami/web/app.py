"""Put the parts of the page's daemon together as one ASGI application."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.schemas import SchemaGenerator
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from ami.web.api import Api
from ami.web.doors import Doors, Token
from ami.web.live import Viewers

STATIC: Final = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the application is made of.

    ``hosts``: how this host may be called; ``ready``: why it is not, "" when it is; ``figures``: for
    ``/metrics``, by name.
    """

    api: Api
    viewers: Viewers
    token: Token
    hosts: tuple[str, ...]
    ready: Callable[[], str]
    figures: Callable[[], Mapping[str, float]]


def make_app(parts: Parts) -> Starlette:
    """Return the application."""
    schemas = SchemaGenerator({"openapi": "3.0.3", "info": {"title": "ami", "version": "1"}})

    async def live(socket: WebSocket) -> None:
        await parts.viewers.serve(socket, parts.token.is_right, open_to_all=socket.scope["state"]["near"])

    def page(_request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    def healthz(_request: Request) -> Response:
        return JSONResponse({"alive": True})

    def readyz(_request: Request) -> Response:
        trouble = parts.ready()
        return JSONResponse({"ready": not trouble, "because": trouble}, 503 if trouble else 200)

    def metrics(_request: Request) -> Response:
        lines = (f"ami_web_{name} {value:g}\n" for name, value in parts.figures().items())
        return PlainTextResponse("".join(lines))

    def openapi(_request: Request) -> Response:
        return JSONResponse(schemas.get_schema(routes=[*parts.api.routes()]))

    return Starlette(
        routes=[
            Route("/", page),
            WebSocketRoute("/live", live),
            *parts.api.routes(),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/openapi.json", openapi),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Doors, token=parts.token, hosts=parts.hosts)],
    )
