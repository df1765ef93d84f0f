"""Does the representation hold when the world changes? One head, fitted on clean features, judges changed images.

`task` puts the parts together · `part` what a part is · `judge` the head · `asked` the images it is asked about; then a
module per part: `corrupted` the corruptions of ImageNet-C at five severities · `occlusion`, `frequency`, `colour`
accuracy as more and more is taken away, by `changed`; with `histogram`, probes of colour · `calibrated` how sure the
head is of images as they are · `ood` images of something else.
"""
