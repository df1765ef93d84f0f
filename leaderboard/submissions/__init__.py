"""Other people's results into a board: read as untrusted, verified, judged against what the board has, then stored.

`incoming` (what is read at all) → `rules` (what one result must be by itself) → `board` (what it must be beside the
others) → `merge` (duplicates and storing) → `report`. A refusal names what was expected, what was found, what to do.
"""
