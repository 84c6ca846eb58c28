"""OpenAI, and any server that speaks its format: text, images, videos where a server still offers them, embeddings and audio.

What is known of OpenAI's own models is data, in `models/*.json`.
"""

from app.providers.openai.provider import OpenAI

__all__ = ["OpenAI"]
