"""Side-by-side benchmarks: `python -m tests.perf` (what `make perf` calls) measures ours and a peer in one process run.

A benchmark is a generator of rows, put in the registry by `@benchmark("name")` (see `registry`); add a module with
one and name it in `__main__._MODULES`. Nothing here is collected by pytest: timings are figures to read, not promises
of a test run.
"""
