"""Simulates upstream providers in their real wire formats, for the demo without API keys and for tests about money.

`app.build` creates the ASGI application, `__main__` runs it as a process of its own. Each simulated service is a package;
`openai_format` is shared by those that speak it. What all services share (job store, submit log, images, videos, replies, faults) is in the modules here.
"""
