"""How fast, how steady, how large: figures, not tests, so pytest does not collect them.

    python -m tests.benchmarks            everything, one table
    python -m tests.benchmarks.jobs       work: accepted, carried out, and what the rest of the program feels of it
    python -m tests.benchmarks.reading    cards, lists, a library of a million
    python -m tests.benchmarks.gateway    what OpenAI's clients feel
    python -m tests.benchmarks.signing_in five hundred people at once

The program under test is the real process beside the simulator as another, the load comes from this one, and the process that
measures how others fare is a third. Everything shares the machine, so beside each figure stands the workload and, where
there is one, its ratio to the same thing done barely, measured in the same run.
"""
