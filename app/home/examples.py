"""Programs to copy: the same question to a model with curl, Python and JavaScript, through the door that speaks OpenAI's
wire format. What stands in them is what the person has: this address, a key's name, a model that is on offer.

The key itself is never shown again, so each program reads it from the environment.
"""

import json
import shlex
from typing import Final

import msgspec

VARIABLE: Final = "ATELIER_KEY"
QUESTION: Final = "Name a paper boat"
NO_MODEL: Final = "MODEL"  # stands where nothing is on offer


class Example(msgspec.Struct, frozen=True):
    """One program; `id` names its place on the page, `needs` says what to have and how to run it."""

    id: str
    language: str
    needs: str
    text: str


class Examples(msgspec.Struct, frozen=True):
    """Where programs send what they ask, the line that hands them the key, and the programs. `key` is the name of the
    person's newest key that works, `model` an id; both are None when there is none."""

    base: str
    key: str | None
    model: str | None
    variable: str
    programs: list[Example]


def written(origin: str, key: str | None, prefix: str | None, model: str | None) -> Examples:
    """`origin` is the address people use; `prefix` is how the key begins."""
    base = f"{origin}/v1"
    whose = f'your key "{key}"' if key is not None else "a key of yours"
    said = model or NO_MODEL
    return Examples(
        base=base,
        key=key,
        model=model,
        variable=f"export {VARIABLE}={prefix or 'atl_'}…  # {whose}",
        programs=[
            Example("curl", "curl", "In a shell.", _curl(base, whose, said)),
            Example(
                "python", "Python", "Once `pip install openai`, then `python3 boat.py`.", _python(base, whose, said)
            ),
            Example(
                "javascript",
                "JavaScript",
                "Node 18 or newer and nothing else: `node boat.mjs`.",
                _javascript(base, whose, said),
            ),
        ],
    )


def _body(model: str) -> str:
    messages = [{"role": "user", "content": QUESTION}]
    return f'{{\n    "model": {json.dumps(model)},\n    "messages": {json.dumps(messages)}\n  }}'


def _curl(base: str, whose: str, model: str) -> str:
    return (
        f"# {VARIABLE} holds {whose}\n"
        f"curl {shlex.quote(f'{base}/chat/completions')} \\\n"
        f'  -H "Authorization: Bearer ${VARIABLE}" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(_body(model))}"
    )


def _python(base: str, whose: str, model: str) -> str:
    return (
        "import os\n"
        "from openai import OpenAI\n"
        "\n"
        "client = OpenAI(\n"
        f"    base_url={json.dumps(base)},\n"
        f'    api_key=os.environ["{VARIABLE}"],  # {whose}\n'
        ")\n"
        "answer = client.chat.completions.create(\n"
        f"    model={json.dumps(model)},\n"
        f'    messages=[{{"role": "user", "content": {json.dumps(QUESTION)}}}],\n'
        ")\n"
        "print(answer.choices[0].message.content)"
    )


def _javascript(base: str, whose: str, model: str) -> str:
    return (
        f"const answer = await fetch({json.dumps(f'{base}/chat/completions')}, {{\n"
        '  method: "POST",\n'
        "  headers: {\n"
        f"    Authorization: `Bearer ${{process.env.{VARIABLE}}}`, // {whose}\n"
        '    "Content-Type": "application/json",\n'
        "  },\n"
        "  body: JSON.stringify({\n"
        f"    model: {json.dumps(model)},\n"
        f'    messages: [{{ role: "user", content: {json.dumps(QUESTION)} }}],\n'
        "  }),\n"
        "});\n"
        "if (!answer.ok) throw new Error(await answer.text());\n"
        "console.log((await answer.json()).choices[0].message.content);"
    )
