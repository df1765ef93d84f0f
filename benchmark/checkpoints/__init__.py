"""Reading a weights file without running it, recognising its layout, and accounting for every key.

Knows tensors and names; imports no other floor of the harness; never builds a model (`index`, the program that makes
the shipped list of architectures again, does, without memory; nothing imports it).
"""
