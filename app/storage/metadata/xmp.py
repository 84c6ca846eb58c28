"""The XMP packet with what is known of a file's generation (XMP specification part 1).

Other programs read the description and how the file came about; `atelier:settings` has everything as JSON, to restore a form.
"""

import re
from typing import Any, Final, Literal
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import msgspec

MAX_PACKET: Final = 1_000_000  # bytes
SOFTWARE: Final = "Atelier"

_ATELIER = "urn:atelier:generation/1.0/"
_SETTINGS = f"{{{_ATELIER}}}settings"
_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:atelier="{namespace}">
<xmp:CreatorTool>{software}</xmp:CreatorTool>
<Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
{content}
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


class UsedInput(msgspec.Struct, frozen=True):
    """A file that was sent with the request: its role, its id in the sender's library, and how strongly it counts."""

    role: Literal["image", "mask", "first_frame", "last_frame", "reference", "audio"]
    asset_id: str
    weight: float | None = None


class GenerationSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a file was generated from. `kind` is that of the file's job, `params` are the values of the model's parameters, and
    `enhanced_prompt` is what a text model made of `prompt` in the job `enhanced_by`. Anyone who had the file can have
    written anything into it."""

    kind: str
    model: str
    prompt: str
    enhanced_prompt: str | None = None
    enhanced_by: str | None = None
    system_prompt: str | None = None
    params: dict[str, Any] = {}
    inputs: tuple[UsedInput, ...] = ()


def packet(settings: GenerationSettings) -> bytes:
    """All of it, in UTF-8."""
    prompt = _text(settings.enhanced_prompt or settings.prompt)
    json = msgspec.json.encode(settings).decode().replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
    return _packet(
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{prompt}</rdf:li></rdf:Alt></dc:description>\n'
        f"<atelier:settings>{escape(json)}</atelier:settings>",
        settings,
    )


def pointer(settings: GenerationSettings, digest: str) -> bytes:
    """A small packet that refers to one with this MD5 digest."""
    return _packet(f"<xmpNote:HasExtendedXMP>{digest}</xmpNote:HasExtendedXMP>", settings)


def settings_in(packet: bytes) -> GenerationSettings | None:
    """What `packet` wrote; None for the packet of another program, or a damaged one."""
    try:
        text = packet.decode()
        if "<!" in text:  # XMP has no declarations, and entities could expand to anything
            return None
        for element in ElementTree.fromstring(text).iter():  # noqa: S314  (declarations are refused above)
            found = element.text if element.tag == _SETTINGS else element.get(_SETTINGS)
            if found:
                return msgspec.json.decode(found, type=GenerationSettings)
    except (ValueError, RecursionError, ElementTree.ParseError):
        return None
    return None


def _packet(content: str, settings: GenerationSettings) -> bytes:
    source = "compositeWithTrainedAlgorithmicMedia" if settings.inputs else "trainedAlgorithmicMedia"
    return _PACKET.format(namespace=_ATELIER, software=SOFTWARE, source=_SOURCE + source, content=content).encode()


def _text(text: str) -> str:
    return escape(_NOT_XML.sub(" ", text))
