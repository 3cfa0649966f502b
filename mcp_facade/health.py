"""What whoever watches the process is told, and whoever calls too early."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"


def healthy() -> Response:
    """The process lives."""
    return JSONResponse({"status": "ok"})


def readiness(*, is_ready: bool) -> Response:
    """Whether calls are taken."""
    return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)


def not_ready() -> Response:
    """To a call before that."""
    return PlainTextResponse("starting: try again in a moment", 503, {"Retry-After": "1"})
