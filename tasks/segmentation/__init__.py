"""Semantic segmentation: a class for every pixel of the mask as it is stored.

`task` declares the protocols. From stored maps learn `linear` and `neighbours`, on masks that `labels` brings to the
size that the encoder saw; `augmented` learns from random `crops` (with `colours`) and predicts by `windows`. `head` and
`descent` are the linear classifier and its training. `trained` declares heads of mmseg that learn with the encoder,
`fit` trains them, `drawn` has them learn from some pixels. `scoring` counts pixels at the full resolution of each mask.
"""
