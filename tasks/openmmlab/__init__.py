"""Trained dense heads: mmdet and mmseg on any backbone, without compiling anything.

Needs the `dense` extra. `ops` has to run before mmcv is imported: whatever imports mmcv, mmdet or mmseg comes after it.
"""
