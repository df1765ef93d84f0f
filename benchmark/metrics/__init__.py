"""Scorers: pure functions from stored predictions to metrics with intervals, registered by name and version.

Imports no other floor; never sees a model or a feature. A table of predictions is an Arrow table whose schema metadata
names its scorer and the number of classes, so that a Parquet file alone suffices to recompute every figure:

* `classification`: `variant` ('' or `k20`, `1shot`, `ts`), `draw` (the protocol's own random draws, 0 without),
  `sample` (the image's id), `target`, `prediction`, `top5` (the min(5, C) best classes, best first), `confidence`
  (the largest probability) and `log_prob` (natural log of the target's probability), and the same two after
  temperature scaling, `scaled_confidence` and `scaled_log_prob`; these four are null where a method has none. Gives
  `top1`, `top5` (with more than five classes), `mean_per_class`, `ece`, `nll`, `ece@ts`, `nll@ts`.
* `calibration`: the columns of `classification`, and for both kinds of probabilities `log_odds` of the largest and
  `squares`, the sum of all squared. Gives `top1`, `ece`, `nll`, `adaptive_ece`, `brier`, `aurc`, `eaurc`,
  `selective_accuracy@80` ... and `coverage@risk1` ..., and these under `@ts`.
* `ood`: a row per image of the variants `inside` (reported) and `outside` (of something else): `sample` and the scores
  `knn`, `energy`, `msp`, higher inside. Gives `auroc@knn`, `fpr95@knn`, `fpr95_out@knn`, `aupr_in@knn`,
  `aupr_out@knn` and so on.
* `multilabel`: `variant`, `draw`, `sample`, `target` (C indicators) and `scores` (C numbers, higher is more likely).
  Gives `mAP` (interpolated), `mAP@11pt` and `mAP@step`.
* `episodes`: `variant` (`5way-1shot`), `episode`, `sample`, `target`, `prediction`. Gives `top1`.
* `changes`: a row per image: `variant`, `draw`, `sample`, `target`, `clean` (the best class of the image as it is), a
  list for each kind of change of the best class at each of its levels, which the metadata holds; and where colour is
  probed `histogram` (the best class by it), `residual`, `total`. Gives `top1`, `mean_drop`, `top1@histogram`,
  `r2@histogram`; `curves` of the module gives accuracy by level.
* `segmentation`: `variant`, `draw`, `sample`, and pixels of each of C classes at the full resolution of the mask:
  `intersection`, `predicted`, `labelled` (ignored pixels count nowhere). Gives `mIoU`, `mAcc`, `aAcc`.
* `detection` and `detection-voc`: a row per image: `variant`, `draw`, `sample`, `height`, `width`, and lists: what is
  annotated in `target_boxes` (x0, y0, x1, y1 of each object), `target_labels`, `target_crowd`, `target_difficult`,
  `target_areas`; what was found in `boxes`, `labels`, `scores`, best first; with masks, `target_masks` and `masks` as
  COCO's compressed run lengths. `detection` gives COCO's `AP`, `AP50`, `AP75`, `APs`, `APm`, `APl`, `AR1`, `AR10`,
  `AR100`, `ARs`, `ARm`, `ARl`, and `mask_AP` ... likewise; `detection-voc` gives `AP`, `AP50`, `AP75`
  (as detectron2 for VOC 2007), `AP50@11pt` (VOC 2007's own), `AP@area`, `AP50@area`, `AP75@area` (2010 and later).

The rooms: `columns` (build and check tables), `names` (unit and direction of each metric), `intervals`, `estimate`
(a value beside what each sample contributes to it), one module per scorer, those of objects in `detection`,
`registry` (`get_scorer`, `score`).
"""
