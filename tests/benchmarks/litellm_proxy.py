"""LiteLLM's proxy, another gateway, for comparison: in an environment of its own, with its fastest settings that still count
costs. It stores nothing, because that would need a database server.
"""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import msgspec

from tests.benchmarks.instant_provider import MODEL
from tests.environments import environment
from tests.trust import trust

VERSION: Final = "1.104.5"
KEY: Final = "sk-benchmark"
TIMEOUT: Final = 120.0  # seconds until it must respond


@asynccontextmanager
async def litellm(folder: Path, provider: str) -> AsyncIterator[str]:
    """Run it with one worker in front of the provider at that URL; yields its own URL."""
    executables = await asyncio.to_thread(environment, "litellm", VERSION, "[proxy]")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = folder / "litellm.yaml"  # JSON is YAML
    model = {"model": f"openai/{MODEL}", "api_base": f"{provider}/api/v1", "api_key": "any"}
    parameters = {**model, "input_cost_per_token": 0.000001, "output_cost_per_token": 0.000002}
    settings = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": KEY},
    }
    config.write_bytes(msgspec.json.encode(settings))
    with (folder / "litellm.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            executables / "litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1",
            env={"PATH": os.environ["PATH"], "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
            cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(TIMEOUT), httpx.AsyncClient(trust_env=False, verify=trust()) as http:
            while True:
                if process.returncode is not None:
                    raise RuntimeError(f"LiteLLM did not start: {(folder / 'litellm.log').read_text('utf-8')[-2000:]}")
                try:
                    if (await http.get(f"{url}/health/liveliness")).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.2)
        yield url
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
