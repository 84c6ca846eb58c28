"""Webhooks of jobs that have ended, signed with a key that is published as a JWKS.

The real service calls any public https URL. The simulator keeps only the path and sends the request to one configured origin
on this machine, so that no request ever leaves it. Pending webhooks are lost on restart; clients must not rely on them.
"""

import base64
import hashlib
import time
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from litestar import get
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from app.providers.client import Client
from app.providers.endpoints import ProviderEndpoint
from app.providers.errors import ClientError
from app.providers.simulator import responses
from app.providers.simulator.fal.outputs import failure_of, output_of
from app.providers.simulator.runtime import Runtime
from app.providers.simulator.state import SimulatedJob

RETRY_DELAYS = (0.5, 2.0, 10.0, 60.0)
"""Seconds before each retry; the real service tries ten times in two hours."""


@get("/.well-known/jwks.json")
async def jwks(runtime: NamedDependency[Runtime]) -> ASGIApp:
    """The public key of webhooks."""
    public = signing_key(runtime).public_key().public_bytes_raw()
    encoded = base64.urlsafe_b64encode(public).decode().rstrip("=")
    return responses.json_response({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": encoded}]})


HANDLERS = [jwks]


def signing_key(runtime: Runtime) -> Ed25519PrivateKey:
    """The same after a restart."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(runtime.store.secret + b" webhooks").digest())


class FalWebhookSender:
    """Sends webhooks to the origin `receiver`."""

    def __init__(self, runtime: Runtime, receiver: str) -> None:
        self._runtime = runtime
        self._receiver = receiver
        self._client = Client([receiver])

    async def send(self, job: SimulatedJob, address: str, files_origin: str) -> None:
        """Wait until the job has ended, then try until the receiver answers with a 2xx status."""
        if job.ends_at is None:
            return
        await self._runtime.sleep_until(job.ends_at)
        latest = await self._runtime.run_io(self._runtime.store.job, job.id)  # it may have been cancelled
        path, body = urlsplit(address).path, await self._body(latest or job, files_origin)
        for delay in (0.0, *RETRY_DELAYS):
            await self._runtime.clock.sleep(delay)  # not scaled by speed: the receiver may still be starting
            status = await self._post(path, body, job.id)
            await self._runtime.run_io(self._runtime.store.log_webhook, {"id": job.id, "path": path, "status": status})
            if 200 <= status < 300:
                return

    async def _body(self, job: SimulatedJob, files_origin: str) -> bytes:
        content: dict[str, object] = {"request_id": job.id, "gateway_request_id": job.id}
        if (failure := failure_of(job)) is not None:
            error = f"Invalid status code: {failure.status}"
            return msgspec.json.encode({**content, "status": "ERROR", "error": error, "payload": failure.body})
        payload = await output_of(self._runtime, job, files_origin)
        return msgspec.json.encode({**content, "status": "OK", "payload": payload})

    async def _post(self, path: str, body: bytes, id: str) -> int:
        """The status of the response, or 0 if there was none."""
        timestamp = str(int(time.time()))
        message = "\n".join((id, "simulator", timestamp, hashlib.sha256(body).hexdigest()))
        headers = {
            "X-Fal-Webhook-Request-Id": id,
            "X-Fal-Webhook-User-Id": "simulator",
            "X-Fal-Webhook-Timestamp": timestamp,
            "X-Fal-Webhook-Signature": signing_key(self._runtime).sign(message.encode()).hex(),
        }
        try:
            response = await self._client.request_json(
                "POST",
                self._receiver + path,
                endpoint=ProviderEndpoint(self._receiver, headers),
                content=body,
                total=10,
            )
        except ClientError:
            return 0
        return response.status

    async def aclose(self) -> None:
        await self._client.aclose()
