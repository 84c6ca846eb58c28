"""Uploads to the simulated fal: a signed URL takes the file whose type was announced."""

from tests.kit import Cases
from tests.providers.simulator.fal.conftest import FalClient
from tests.providers.simulator.kit import png, two_halves


def test_a_file_is_uploaded_to_a_signed_url(fal: FalClient) -> None:
    url = f"{fal.rest}/storage/upload/initiate"
    announced = {"file_name": "a.png", "content_type": "image/png"}
    links = fal.http.post(url, params={"storage_type": "gcs"}, json=announced, headers=fal.headers).json()
    content = png(two_halves())
    table = {
        "another type": (links["upload_url"], "image/jpeg", 403),
        "no signature": (links["file_url"], "image/png", 403),
        "as announced": (links["upload_url"], "image/png", 200),
    }
    with Cases() as cases:
        for name, (target, mime, status) in table.items():
            with cases.case(name):
                answer = fal.http.put(target, content=content, headers={"Content-Type": mime})
                assert answer.status_code == status
    result = fal.result("[stamp]", "fal-ai/flux/dev/image-to-image", image_url=links["file_url"])
    assert result.status_code == 200


def test_an_upload_needs_a_key_and_a_type(fal: FalClient) -> None:
    url = f"{fal.rest}/storage/upload/initiate"
    assert fal.http.post(url, json={"file_name": "a", "content_type": "b"}).status_code == 401
    assert fal.http.post(url, json={"file_name": "a"}, headers=fal.headers).status_code == 422
