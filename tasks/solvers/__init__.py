"""Solvers on plain tensors: no task, dataset or protocol is known here."""
