"""What servers that speak OpenAI's format share, whichever provider they belong to: requests, answers, streams and errors."""
