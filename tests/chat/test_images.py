"""Images in conversations: they belong to the message, are sent to the model, and stay in the library."""

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

from app.base.errors import Invalid
from app.base.ids import uuid7
from app.chat.images import MAX_IMAGES, MessageImages
from app.chat.schemas import Message, NewMessage
from app.chat.service import Chat
from tests.chat.conftest import OTHER, WRITER, OpenChat, ScriptedProvider
from tests.html import parse_html
from tests.kit import TEXT_MODEL, Cases, eventually, png, uploaded_asset
from tests.pages import PageUser, new_page_user
from tests.storage import samples
from tests.studio import Studio


async def one_chunk(data: bytes) -> Any:
    yield data


async def uploaded(images: MessageImages, owner: str = "ann", data: bytes = b"") -> str:
    return await images.upload(owner, one_chunk(data or png()), "a.png")


async def ended(chat: Chat, answer: Message) -> Message:
    """The answer, once it has ended."""
    *_, last = [it async for it in chat.messages.watch(answer.owner_id, answer.conversation_id or "", answer.id) if it]
    return last.message


def sent_images(provider: ScriptedProvider) -> list[list[tuple[int, int]]]:
    """The sizes of the images in each message of the last request."""
    found = []
    for turn in provider.requests[-1].messages:
        parts = turn.content if isinstance(turn.content, list) else []
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        data = [base64.b64decode(url.partition(",")[2]) for url in urls]
        found.append([Image.open(io.BytesIO(each)).size for each in data])
    return found


async def test_an_image_is_sent_with_its_message_and_with_every_later_one(
    chat: Chat, images: MessageImages, provider: ScriptedProvider
) -> None:
    id = await uploaded(images)
    answer = await chat.messages.start("ann", NewMessage(text="What is this?", images=[id, id], model=OTHER))
    await ended(chat, answer)
    assert sent_images(provider) == [[(64, 48)]]
    conversation = answer.conversation_id or ""
    await ended(chat, await chat.messages.send("ann", conversation, NewMessage(text="And its color?")))
    assert sent_images(provider) == [[(64, 48)], [], []]
    thread = await chat.conversations.open("ann", conversation)
    assert [it.message.images for it in thread.shown] == [(id,), (), (), ()]


async def test_an_edited_message_keeps_its_images(
    chat: Chat, images: MessageImages, provider: ScriptedProvider
) -> None:
    id = await uploaded(images)
    answer = await ended(
        chat, await chat.messages.start("ann", NewMessage(text="What is this?", images=[id], model=OTHER))
    )
    question = answer.parent_id or ""
    await ended(chat, await chat.messages.edit("ann", answer.conversation_id or "", question, "Who is this?"))
    assert sent_images(provider) == [[(64, 48)]]


async def test_a_model_without_images_refuses_new_ones_and_is_not_sent_old_ones(
    chat: Chat, images: MessageImages, provider: ScriptedProvider
) -> None:
    id = await uploaded(images)
    with pytest.raises(Invalid) as refused:
        await chat.messages.start("ann", NewMessage(text="What is this?", images=[id], model=WRITER))
    assert refused.value.fields == {"model": "Writer does not accept images. Choose another model."}
    answer = await ended(
        chat, await chat.messages.start("ann", NewMessage(text="What is this?", images=[id], model=OTHER))
    )
    later = NewMessage(text="And now?", model=WRITER)
    await ended(chat, await chat.messages.send("ann", answer.conversation_id or "", later))
    assert [turn.content for turn in provider.requests[-1].messages if turn.role == "user"] == [
        "What is this?",
        "And now?",
    ]


async def test_only_own_images_of_the_library_are_accepted(chat: Chat, images: MessageImages) -> None:
    own, strange = await uploaded(images), await uploaded(images, "bob")
    many = [await uploaded(images, data=png(width)) for width in range(10, 11 + MAX_IMAGES)]
    with pytest.raises(Invalid):
        await uploaded(images, data=samples.video("h264.mp4"))
    with Cases() as cases:
        for name, ids in {"a stranger's": [own, strange], "an unknown one": [uuid7()], "too many": many}.items():
            with cases.case(name), pytest.raises(Invalid) as refused:
                await chat.messages.start("ann", NewMessage(text="What is this?", images=ids, model=OTHER))
            assert list(refused.value.fields) == ["images"]
    assert (await chat.conversations.newest("ann")).items == []


async def test_the_newest_images_are_sent_and_a_large_one_is_made_smaller(
    chat: Chat, images: MessageImages, provider: ScriptedProvider
) -> None:
    many = [await uploaded(images, data=png(width)) for width in range(10, 10 + MAX_IMAGES)]
    answer = await ended(chat, await chat.messages.start("ann", NewMessage(text="These?", images=many, model=OTHER)))
    large = await uploaded(images, data=png(4000, 1000))
    await ended(
        chat, await chat.messages.send("ann", answer.conversation_id or "", NewMessage(text="This", images=[large]))
    )
    first, _, last = sent_images(provider)
    assert len(first) == MAX_IMAGES - 1
    assert last == [(2048, 512)]


async def test_a_deleted_image_is_named_and_a_deleted_conversation_forgets_its_images(
    chat: Chat, images: MessageImages, provider: ScriptedProvider, open_chat: OpenChat
) -> None:
    id = await uploaded(images)
    answer = await ended(chat, await chat.messages.start("ann", NewMessage(text="This?", images=[id], model=OTHER)))
    await images.library.delete("ann", id)
    await ended(chat, await chat.messages.send("ann", answer.conversation_id or "", NewMessage(text="Again")))
    parts = provider.requests[-1].messages[0].content
    assert isinstance(parts, list)
    assert [part["text"] for part in parts] == ["This?", "(This image was deleted.)"]


# On pages


async def start(user: PageUser, files: list[tuple[str, Any]], **form: Any) -> httpx.Response:
    return await user.browser.send_form("/chat", {"text": "What is this?", "model": TEXT_MODEL, **form}, files=files)


async def test_an_image_is_uploaded_with_a_message_and_shown_in_the_thread(atelier: Studio) -> None:
    user = await new_page_user(atelier)
    model = await image_model(user)
    chosen = await uploaded_asset(user.client)
    answer = await start(user, [("image", ("a.png", png()))], model=model, image_id=chosen["id"])
    assert answer.status_code == 303, answer.text
    page = parse_html((await user.browser.get(answer.headers["location"])).text)
    (images,) = page.all("ul", class_="message-images row")
    shown = [link["href"].rpartition("/")[2] for link in images.all("a")]
    assert shown[0] == chosen["id"]
    assert {asset["id"] for asset in await user.assets()} == set(shown)


async def image_model(user: PageUser) -> str:
    models = (await user.client.get("/api/v1/ai/models", params={"output": "text", "limit": 100})).json()["items"]
    found: str = next(model["id"] for model in models if "image" in model["input_modalities"])
    return found


async def test_a_refused_message_keeps_its_images_and_a_link_asks_about_one(atelier: Studio) -> None:
    user = await new_page_user(atelier)
    model = await image_model(user)
    answer = await start(user, [("image", ("a.png", png()))], model=model, text="")
    assert answer.status_code == 400
    (asset,) = await user.assets()
    kept = parse_html(answer.text).one("form", id="composer").values()
    assert kept["image_id"] == asset["id"]
    asked = await user.page(f"/chat/new?image={asset['id']}")
    assert asked.one("form", id="composer").values()["image_id"] == asset["id"]
    wrong = await start(user, [("image", ("a.txt", b"hello"))], model=model)
    assert wrong.status_code == 400
    assert "Unsupported file type." in wrong.text


async def test_the_same_form_sent_twice_with_its_image_is_one_conversation(atelier: Studio) -> None:
    user = await new_page_user(atelier)
    model = await image_model(user)
    form = parse_html((await user.browser.get("/chat/new")).text).one("form", id="composer").values()
    key = {"idempotency_key": form["idempotency_key"]}
    first = await start(user, [("image", ("a.png", png()))], model=model, **key)
    again = await start(user, [("image", ("a.png", png()))], model=model, **key)
    assert first.headers["location"] == again.headers["location"]
    assert len(await user.assets()) == 1, "nothing is stored again"

    async def thread() -> str:
        return (await user.browser.get(first.headers["location"])).text

    await eventually(thread, lambda text: 'data-status="complete"' in text)
