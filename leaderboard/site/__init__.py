"""The static site: `board` (what is shown) → `pages` (HTML from `templates/`), `plots` (Vega-Lite) → `build` (files).

DataTables and Vega come bundled with it from their Python packages (`assets`); `static/` is the little that ties them
together. A site needs no server and no network, and nothing in a result can inject markup.
"""
