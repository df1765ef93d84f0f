"""The Backbone contract and where backbones come from (timm, torchvision, a Python factory, a file of weights).

Stands on `checkpoints`; knows nothing of data sets, tasks or results.
"""
