"""Runs the simulator alone: `python -m app.providers.simulator --port N`. Kill tests need a provider that outlives us."""

import argparse
import asyncio
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from app.providers.simulator.app import build
from app.providers.simulator.stage import Stage

PATIENCE = 1.0
"""Seconds that a request in progress is given when the program is told to stop."""


class Server(uvicorn.Server):
    """Says where it listens once it does, as with port 0 nobody knows before; does not wait for endless answers."""

    def __init__(self, config: uvicorn.Config, stage: Stage) -> None:
        super().__init__(config)
        self.stage = stage

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets and self.started:
            host, port = sockets[0].getsockname()[:2]
            print(f"Simulator listening on http://{host}:{port} (OpenRouter at /api/v1)", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        giving_up = asyncio.get_running_loop().call_later(PATIENCE, self.stage.hang_up)
        await super().shutdown(sockets)
        giving_up.cancel()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. `arguments` stand in for the command line's."""
    parser = argparse.ArgumentParser(prog="python -m app.providers.simulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--data", type=Path, default=Path("data/simulator"), help="folder for jobs and the submit log")
    parser.add_argument("--speed", type=float, default=1.0, help="factor on every delay; 0 is no delay")
    parser.add_argument("--key", help="accept this bearer key only; any by default")
    parser.add_argument("--webhook-to", metavar="ORIGIN", help="where webhooks go, as in http://127.0.0.1:8000")
    parser.add_argument("--webhook-secret", help="what webhooks are signed with; unsigned by default")
    asked = parser.parse_args(arguments)
    if asked.webhook_to and urlsplit(asked.webhook_to).hostname not in ("127.0.0.1", "::1", "localhost"):
        parser.error("--webhook-to must be on this machine")
    if asked.speed < 0:
        parser.error("--speed must not be negative")
    try:
        listening = socket.create_server((asked.host, asked.port))
    except OSError as exc:
        parser.error(f"cannot listen on {asked.host}:{asked.port}: {exc.strerror}")
    # uvicorn raises the signal again when it has stopped; after a clean stop that must not count as a death.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    program = build(
        asked.data, asked.speed, asked.key, webhook_to=asked.webhook_to, webhook_secret=asked.webhook_secret
    )
    config = uvicorn.Config(program, lifespan="on", log_level="warning", access_log=False, timeout_graceful_shutdown=5)
    server = Server(config, program.state.stage)
    # asyncio does this only for sockets that it opened itself; without it every answer waits 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
