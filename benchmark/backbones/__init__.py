"""The Backbone contract and where backbones come from (timm, torchvision, a Python factory, a file of weights).

`sources.open_backbone(SPEC)` is the way in. Stands on `checkpoints`; knows nothing of data sets, tasks or results.
"""
