"""The release gate: baseline against candidate, cell by cell, with a verdict and an exit code."""
