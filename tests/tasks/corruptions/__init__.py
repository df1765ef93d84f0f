"""The corruptions against `imagecorruptions` (the published code, kept alive as imagecorruptions-imaug on PyPI)."""
