"""Changes of known strength, as pure functions on batches of uint8 images on any device.

`patches` takes away or moves parts of images, `frequency` bands of their spectrum, `colour` their colours. What becomes
of an image depends on its pixels, its key and the seed, never on the batch around it.
"""
