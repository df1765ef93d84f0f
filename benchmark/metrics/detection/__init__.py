"""Boxes and masks of objects, found against annotated: the table, overlaps, matching, and the scorers of COCO and VOC.

The rooms: `table` (build it with `detection_table`, read it back checked), `codes` (masks as run lengths in text),
`overlap`, `matching`, `curves` (precision over recall, with each image's influence), `coco`, `voc`.
"""
