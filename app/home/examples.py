"""Examples for OpenAI-compatible clients: the same chat request with curl, Python and JavaScript, with this server's URL,
the name of the user's API key and an available model.

A key is shown only once, so each example reads it from the environment.
"""

import json
import shlex
from typing import Final

import msgspec

VARIABLE: Final = "ATELIER_KEY"
QUESTION: Final = "Name a paper boat"
NO_MODEL: Final = "MODEL"  # placeholder when no model is available


class Example(msgspec.Struct, frozen=True):
    """One example; `id` is its HTML id, `needs` says what it requires and how to run it."""

    id: str
    language: str
    needs: str
    text: str


class Examples(msgspec.Struct, frozen=True):
    """The base URL, the shell line that sets the key, and the examples. `key` is the name of the user's newest valid key,
    `model` a model id; both may be None."""

    base: str
    key: str | None
    model: str | None
    variable: str
    samples: list[Example]


def build_examples(origin: str, key: str | None, prefix: str | None, model: str | None) -> Examples:
    """`origin` is the public URL; `prefix` is the start of the key."""
    base = f"{origin}/v1"
    key_label = f'your API key "{key}"' if key is not None else "your API key"
    model_id = model or NO_MODEL
    return Examples(
        base=base,
        key=key,
        model=model,
        variable=f"export {VARIABLE}={prefix or 'atl_'}…  # {key_label}",
        samples=[
            Example("curl", "curl", "Run in a shell.", _curl(base, key_label, model_id)),
            Example(
                "python",
                "Python",
                "Run `pip install openai`, save this as `boat.py`, then run `python3 boat.py`.",
                _python(base, key_label, model_id),
            ),
            Example(
                "javascript",
                "JavaScript",
                "Requires Node 18 or newer. Save this as `boat.mjs`, then run `node boat.mjs`.",
                _javascript(base, key_label, model_id),
            ),
        ],
    )


def _body(model: str) -> str:
    messages = [{"role": "user", "content": QUESTION}]
    return f'{{\n    "model": {json.dumps(model)},\n    "messages": {json.dumps(messages)}\n  }}'


def _curl(base: str, key_label: str, model: str) -> str:
    return (
        f"# {VARIABLE} holds {key_label}\n"
        f"curl {shlex.quote(f'{base}/chat/completions')} \\\n"
        f'  -H "Authorization: Bearer ${VARIABLE}" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(_body(model))}"
    )


def _python(base: str, key_label: str, model: str) -> str:
    return (
        "import os\n"
        "from openai import OpenAI\n"
        "\n"
        "client = OpenAI(\n"
        f"    base_url={json.dumps(base)},\n"
        f'    api_key=os.environ["{VARIABLE}"],  # {key_label}\n'
        ")\n"
        "answer = client.chat.completions.create(\n"
        f"    model={json.dumps(model)},\n"
        f'    messages=[{{"role": "user", "content": {json.dumps(QUESTION)}}}],\n'
        ")\n"
        "print(answer.choices[0].message.content)"
    )


def _javascript(base: str, key_label: str, model: str) -> str:
    return (
        f"const answer = await fetch({json.dumps(f'{base}/chat/completions')}, {{\n"
        '  method: "POST",\n'
        "  headers: {\n"
        f"    Authorization: `Bearer ${{process.env.{VARIABLE}}}`, // {key_label}\n"
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
