"""Generated scenes: a deterministic, annotated world of shaped and textured objects, drawn on demand.

From the ground up: `draws` (random numbers) · `shapes` and `textures` (what an object is) · `kinds` (the classes) ·
`layout` (what is where, and what hides what) · `render` (pixels and annotations) · `source` (the `scenes:` dataset).
NumPy
only: no files, no torch.
"""
