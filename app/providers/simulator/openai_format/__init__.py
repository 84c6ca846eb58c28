"""What simulated services with OpenAI's format share: admission, chat replies, embeddings, audio and moderation."""
