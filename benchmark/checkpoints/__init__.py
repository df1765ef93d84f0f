"""Reading a weights file without running it, recognising its layout, and accounting for every key.

Knows tensors and names; imports no other floor of the harness; never builds a model.
"""
