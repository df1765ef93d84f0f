"""One pass of images through a backbone, and the store that keeps what came out.

Stands on `backbones` and `data`; knows nothing of tasks or results.
"""
