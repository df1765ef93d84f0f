"""Operators of known strength against independent computations."""
