"""Runs the simulator as its own process: `python -m app.providers.simulator --port N`. Crash tests need a provider that
survives a kill of Atelier. OpenRouter is at /api/v1, OpenAI at /openai/v1, a server compatible with it at /compatible/v1."""

import argparse
import asyncio
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from app.providers.simulator.app import build
from app.providers.simulator.runtime import Runtime

SHUTDOWN_GRACE = 1.0
"""Seconds after which requests in progress are cancelled during shutdown."""


class SimulatorServer(uvicorn.Server):
    """Prints its address once it listens (with port 0 it is not known before) and does not wait for endless responses."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime) -> None:
        super().__init__(config)
        self.runtime = runtime

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets and self.started:
            host, port = sockets[0].getsockname()[:2]
            print(
                f"Simulator listening on http://{host}:{port} (OpenRouter at /api/v1, fal at /fal/queue and /fal/rest)",
                flush=True,
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        timer = asyncio.get_running_loop().call_later(SHUTDOWN_GRACE, self.runtime.abort_requests)
        await super().shutdown(sockets)
        timer.cancel()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. `arguments` replace those of the command line."""
    parser = argparse.ArgumentParser(prog="python -m app.providers.simulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 selects a free port")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--data", type=Path, default=Path("data/simulator"), help="folder for jobs and the submit log")
    parser.add_argument("--speed", type=float, default=1.0, help="factor for all delays; 0 means no delays")
    parser.add_argument("--key", help="accept only this key; by default any key")
    parser.add_argument(
        "--webhook-to", metavar="ORIGIN", help="origin that receives webhooks, such as http://127.0.0.1:8000"
    )
    parser.add_argument("--webhook-secret", help="secret that webhooks are signed with; by default they are unsigned")
    options = parser.parse_args(arguments)
    if options.webhook_to and urlsplit(options.webhook_to).hostname not in ("127.0.0.1", "::1", "localhost"):
        parser.error("--webhook-to must be on this machine")
    if options.speed < 0:
        parser.error("--speed must not be negative")
    try:
        listener = socket.create_server((options.host, options.port))
    except OSError as exc:
        parser.error(f"cannot listen on {options.host}:{options.port}: {exc.strerror}")
    # uvicorn raises the signal again after it has stopped; a clean shutdown must still exit with 0.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    application = build(
        options.data, options.speed, options.key, webhook_to=options.webhook_to, webhook_secret=options.webhook_secret
    )
    config = uvicorn.Config(
        application, lifespan="on", log_level="warning", access_log=False, timeout_graceful_shutdown=5
    )
    server = SimulatorServer(config, application.state.runtime)
    # asyncio sets this only on sockets that it opened itself; without it every response waits 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
