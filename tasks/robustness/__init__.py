"""Does the representation hold when the world changes? One head, fitted on clean features, judges changed images.

`task` declares the protocols · `corrupted` the corruptions of ImageNet-C at five severities.
"""
