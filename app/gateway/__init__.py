"""OpenAI's wire format over chat and generation, so that programs written for it work here by changing a base URL.

No tables: what is made lands in the person's conversations' ledger, jobs and library like everything else. The doors
translate, `chat.words`, the catalogue and `generation` judge. Errors take OpenAI's shape in `web.errors`, where every error
of the site becomes HTTP. Formats: OpenAI's API reference as of November 2026.
"""
