"""The site: what its pages say, and how they behave in a real browser."""
