"""Sources: what turns `folder:PATH`, `hf:NAME` ... into a `Dataset` of named splits with stable ids and fingerprints.

Imports no other floor of the harness; knows nothing of models.
"""
