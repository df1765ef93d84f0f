"""The architecture of an encoder from the names and shapes of its tensors: `infer.infer` is the way in.

What shapes do not decide (heads, padding, epsilon) a layout says; where neither does, an error lists the candidates.
"""
