"""Sends a webhook to the callback URL of a video job that has ended, with retries.

The real service accepts any https URL. The simulator keeps only the path of the callback URL and sends the request to one
configured origin on this machine, so that no request ever leaves it. Pending webhooks are lost on restart; clients must
not rely on webhooks anyway.
"""

import hashlib
import hmac
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from app.providers.client import Client
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import ClientError
from app.providers.simulator.openrouter.account import generation_id
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import SimulatedJob

RETRY_DELAYS = (0.5, 2.0, 10.0, 60.0)
"""Seconds before each retry. The delays of the real service are not documented."""


class WebhookSender:
    """Sends webhooks to `origin`, signed if there is a secret."""

    def __init__(self, runtime: Runtime, origin: str, secret: str | None) -> None:
        self._runtime = runtime
        self._origin = origin
        self._secret = secret.encode() if secret else None
        self._client = Client([origin])

    async def send(self, job: SimulatedJob, address: str) -> None:
        """Wait until the job has ended, then try until the receiver answers with a 2xx status."""
        if job.ends_at is None:
            return
        await self._runtime.sleep_until(job.ends_at)
        status, path = job.outcome, urlsplit(address).path
        body = msgspec.json.encode(_payload(job, status))
        for delay in (0.0, *RETRY_DELAYS):
            await self._runtime.clock.sleep(delay)  # not scaled by speed: the receiver may still be starting
            status_code = await self._post(path, body, f"{job.id}-{status}")
            await self._runtime.run_io(
                self._runtime.store.log_webhook, {"id": job.id, "path": path, "status": status_code}
            )
            if 200 <= status_code < 300:
                return

    async def _post(self, path: str, body: bytes, key: str) -> int:
        """The status of the response, or 0 if there was none."""
        headers = {"X-OpenRouter-Idempotency-Key": key}
        if self._secret is not None:
            timestamp = int(time.time())
            mac = hmac.new(self._secret, f"{timestamp},".encode() + body, hashlib.sha256).hexdigest()
            headers["X-OpenRouter-Signature"] = f"t={timestamp},v1={mac}"
        try:
            endpoint = ProviderEndpoint(self._origin, headers)
            response = await self._client.request_json(
                "POST", self._origin + path, endpoint=endpoint, content=body, total=10
            )
            return response.status
        except ClientError:
            return 0

    async def aclose(self) -> None:
        await self._client.aclose()


def _payload(job: SimulatedJob, status: str) -> dict[str, object]:
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
