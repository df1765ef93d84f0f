"""Charts hold the figures that they claim to hold."""
