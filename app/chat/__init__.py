"""Conversations with AI models, and chat completions for API clients, over the same streaming answers.

`service` builds the parts: `conversations`, `messages` and `completions`. The last two start answers in `answers`, which lets
`upstream` read them from the provider into a `StreamingAnswer` and saves the result. Templates get their variables from
`page_context`; `answer_events` sends a streaming answer to a page.
"""
