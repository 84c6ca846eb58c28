"""Clients that people have, unmodified, against the gateway: each in an environment of its own, over real HTTP.

    CLIENTS=1 .venv/bin/pytest tests/gateway/clients

| client | what it shows | file |
| --- | --- | --- |
| `openai` | parse and its tools, embeddings, image streams, responses; the rest is in `tests/gateway/sdk` | `test_openai.py` |
| `litellm` | chat, streams, tools, structured output, images, embeddings, responses, errors | `test_litellm.py` |
| `langchain-openai` | chat, streams, tools, structured output, embeddings, responses | `test_langchain.py` |
| `pydantic-ai` | agents with tools and structured output, with the chat model and the Responses model | `test_pydantic_ai.py` |
| `openai-agents` | agents with a tool, an output type and streams, with the Responses model and the chat model | `test_agents.py` |
| `llm` | the command line: prompt, stream, conversation, tools, schema | `test_llm.py` |
| `ai` (npm) | text, streams, objects, tools, images and embeddings with both of its providers for OpenAI's format | `test_ai_sdk.py` |

Installing them takes minutes, so without `CLIENTS=1` nothing here is collected. The versions are in `versions.py`.
"""
