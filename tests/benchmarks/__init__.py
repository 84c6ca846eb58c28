"""Speed, latency and memory: measurements, not tests, so pytest does not collect them.

    python -m tests.benchmarks             all of them, one table
    python -m tests.benchmarks.jobs        jobs: enqueued, carried out, and how long other requests wait meanwhile
    python -m tests.benchmarks.page_reads  cards, lists, a library of a million assets
    python -m tests.benchmarks.gateway     the OpenAI-compatible API
    python -m tests.benchmarks.signing_in  five hundred concurrent sign-ins
    python -m tests.benchmarks.overhead    the cost of metrics and of the event loop watchdog

The application and the simulator run as processes of their own, this process makes the load, and a fourth one measures how long
other users wait. All share the machine, so each result states its workload and, where there is one, its ratio to a minimal
version of the same work, measured in the same run.
"""
