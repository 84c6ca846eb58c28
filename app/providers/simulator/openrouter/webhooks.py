"""Says that a clip has ended to whoever left an address for it, as often as it takes to be heard.

The real service calls any https address. This one calls a single origin on this machine, given when it is started, with
the path of the address that was left: so a test sees what would have arrived, and nothing ever leaves the machine. A
restart forgets whom it still wanted to call, and nobody may rely on being called anyway.
"""

import hashlib
import hmac
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from app.providers.client import Client, ClientError, ProviderEndpoint
from app.providers.simulator.openrouter.account import generation_id
from app.providers.simulator.stage import Stage
from app.providers.simulator.state import Job

PAUSES = (0.5, 2.0, 10.0, 60.0)
"""Seconds before each further try. The real service's are not documented."""


class Caller:
    """Calls `origin`; signs when there is a secret."""

    def __init__(self, stage: Stage, origin: str, secret: str | None) -> None:
        self._stage = stage
        self._origin = origin
        self._secret = secret.encode() if secret else None
        self._client = Client([origin])

    async def tell(self, job: Job, address: str) -> None:
        """Wait for the job to end, then call until somebody says yes."""
        if job.ends is None:
            return
        await self._stage.until(job.ends)
        status, path = job.outcome, urlsplit(address).path
        body = msgspec.json.encode(_said(job, status))
        for pause in (0.0, *PAUSES):
            await self._stage.clock.sleep(pause)  # at any speed: who is called may be starting up
            answered = await self._call(path, body, f"{job.id}-{status}")
            await self._stage.disk(self._stage.memory.log_call, {"id": job.id, "path": path, "status": answered})
            if 200 <= answered < 300:
                return

    async def _call(self, path: str, body: bytes, key: str) -> int:
        """The status of the answer; 0 is none."""
        headers = {"X-OpenRouter-Idempotency-Key": key}
        if self._secret is not None:
            moment = int(time.time())
            mac = hmac.new(self._secret, f"{moment},".encode() + body, hashlib.sha256).hexdigest()
            headers["X-OpenRouter-Signature"] = f"t={moment},v1={mac}"
        try:
            home = ProviderEndpoint(self._origin, headers)
            answer = await self._client.request_json("POST", self._origin + path, home=home, content=body, total=10)
            return answer.status
        except ClientError:
            return 0

    async def aclose(self) -> None:
        await self._client.aclose()


def _said(job: Job, status: str) -> dict[str, object]:
    ended = status == "completed"
    return {
        "type": f"video.generation.{status}",
        "created_at": datetime.now(UTC).isoformat(),
        "data": {
            "id": job.id,
            "status": status,
            "generation_id": generation_id(job.id),
            "model": job.model,
            **({"usage": {"cost": job.cost, "is_byok": False}} if ended else {"error": f"The video {status}"}),
        },
    }
