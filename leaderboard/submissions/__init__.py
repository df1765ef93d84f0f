"""Other people's results into a board: read as untrusted, verified, judged against what the board has, then stored.

`incoming` (what is read at all) → `rules` (what one result must be by itself) → `board`, `labels` (what it must share
with the others) → `merge` (duplicates and storing) → `report`. A refusal says what was expected, found, and to do.
"""
