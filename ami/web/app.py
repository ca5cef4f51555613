"""Put the parts of the page's daemon together as one ASGI application."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from ami.web.api import Api
from ami.web.doors import Doors, Token
from ami.web.live import Viewers
from ami.web.schemas import describe

STATIC: Final = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the application is made of.

    ``hosts``: how this host may be called; ``ready``: why it is not, "" when it is; ``figures``: for
    ``/metrics``, by name; ``refused``: how many requests and sockets, by status.
    """

    api: Api
    viewers: Viewers
    token: Token
    hosts: tuple[str, ...]
    ready: Callable[[], str]
    figures: Callable[[], Mapping[str, float]]
    refused: Counter[int] = field(default_factory=Counter)


def make_app(parts: Parts) -> Starlette:
    """Return the application."""

    async def live(socket: WebSocket) -> None:
        await parts.viewers.serve(socket, parts.token.is_right, open_to_all=socket.scope["state"]["near"])

    def page(_request: Request) -> Response:
        """The page.
        ---
        responses: {200: {description: HTML}}
        """
        return FileResponse(STATIC / "index.html")

    return Starlette(
        routes=[
            Route("/", page),
            WebSocketRoute("/live", live),
            *parts.api.routes(),
            *_routes_for_machines(parts),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Doors, token=parts.token, hosts=parts.hosts, refused=parts.refused)],
    )


def _routes_for_machines(parts: Parts) -> list[Route]:
    """Return what says how the daemon is, and what it answers."""

    def healthz(_request: Request) -> Response:
        """Whether it answers.
        ---
        responses: {200: Alive}
        """
        return JSONResponse({"alive": True})

    def readyz(_request: Request) -> Response:
        """Whether it reads results.
        ---
        responses: {200: Ready, 503: Ready}
        """
        trouble = parts.ready()
        return JSONResponse({"ready": not trouble, "because": trouble}, 503 if trouble else 200)

    def metrics(_request: Request) -> Response:
        """Counters and gauges, as Prometheus reads them.
        ---
        responses: {200: {description: text}}
        """
        # Whole, not to six digits: a counter of bytes would stand still.
        figures = {
            **parts.figures(),
            **{f'refused_total{{status="{one}"}}': n for one, n in parts.refused.items()},
        }
        return PlainTextResponse("".join(f"ami_web_{name} {value!r}\n" for name, value in figures.items()))

    def openapi(request: Request) -> Response:
        """This document.
        ---
        responses: {200: Document}
        """
        return JSONResponse(describe(request.app.routes))

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
    ]
