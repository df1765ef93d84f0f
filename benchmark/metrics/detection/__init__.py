"""Boxes and masks of objects, found against annotated: the table, overlaps, matching, and the scorers of COCO and VOC.

The rooms: `table` (`detection_table` builds it), `images` (read back and checked), `codes` (masks as text),
`overlap`, `matching`, `curves` (precision over recall), `figures` (means over classes, intervals), `coco`, `voc`.
"""
