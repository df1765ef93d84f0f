"""One module per task, a declaration and a `predict`; heads and solvers beside them in `solvers/`.

Imports `benchmark.task` and the solvers; reaches the runner through the entry-point group `transferbench.tasks`.
"""
