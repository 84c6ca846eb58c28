"""All benchmarks in one table: `python -m tests.benchmarks`."""

from tests.benchmarks import editor, gateway, idle, jobs, overhead, page_reads, signing_in
from tests.benchmarks.results import run

if __name__ == "__main__":
    run(
        *jobs.ALL,
        page_reads.cards_and_job_list,
        page_reads.large_library,
        gateway.chat_calls,
        gateway.streams,
        signing_in.concurrent_sign_ins,
        signing_in.bearer_checks,
        editor.strokes,
        overhead.loop_watchdog,
        overhead.request_metrics,
        idle.idle_program,
        idle.light_use,
    )
