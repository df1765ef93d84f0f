"""Semantic segmentation on frozen patch maps: a class for every pixel of the mask as it is stored.

`task` declares the protocols · `labels` brings masks to the size that the encoder saw · `linear` and `neighbours` learn
from maps and predict · `scoring` counts pixels at the full resolution of each mask.
"""
