"""Sources of annotated pixels and objects: `masks:` (folders of label maps), `coco:` and `voc:` (boxes, polygons).

`labelmap` says what the values of a mask mean (`labelmaps/` holds the published ones) · `pairing` finds the images and
their annotations, split by split. Annotations are read when asked for; what can be checked without decoding an image is
checked when the source is opened.
"""
