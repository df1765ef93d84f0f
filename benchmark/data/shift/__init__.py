"""`shift:?clean=SOURCE&shifted=SOURCE`: a dataset whose classifier is asked about images from elsewhere as well.

`source` opens the pair · `classmap` says which clean class or classes count as right for a class of the shifted images
· `maps` published class maps · `reassessed` the ReaL labels of ImageNet's validation images · `variants` the folder
tree of ImageNet-C.
"""
