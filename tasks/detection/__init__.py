"""Detection and instance segmentation with heads of mmdet, trained on any encoder.

`task` declares the protocols · `settings` says what one is made of · `views` cuts and resizes images with their
objects · `stream` orders them into batches · `fit` trains and predicts. Nothing here is imported before it is needed
but `task` and `settings`: the others want the `dense` extra.
"""
