"""Published figures as a checked data file, and measured results beside those of the same weights and protocol.

`rows.published_rows()` reads them, `match.beside(entries)` compares, `match.left_out(entries)` says why others are not.
"""
