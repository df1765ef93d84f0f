"""The site's own styles and scripts, and the libraries that travel with it."""

from __future__ import annotations

import base64
from importlib import resources
from importlib.metadata import version

import vl_convert

_TABLES = """/* DataTables and its extensions (MIT), as bundled by itables {version}.
   An ES module inside a plain script, because browsers load no modules from files. */
window.dataTables = import(URL.createObjectURL(new Blob(
  [Uint8Array.from(atob("{source}"), (c) => c.charCodeAt(0))], {{ type: "text/javascript" }})));
"""
_VEGA = "/* Vega, Vega-Lite and vega-embed (BSD-3-Clause), as bundled by vl-convert {version}. */\n"


def assets() -> dict[str, bytes]:
    """File name -> content."""
    static = resources.files("leaderboard.site") / "static"
    found = {entry.name: entry.read_bytes() for entry in static.iterdir() if entry.name.endswith((".css", ".js"))}
    bundle = resources.files("itables") / "html"
    source = base64.b64encode((bundle / "dt_bundle.js").read_bytes()).decode()
    found["datatables.js"] = _TABLES.format(version=version("itables"), source=source).encode()
    found["datatables.css"] = (bundle / "dt_bundle.css").read_bytes()
    vega = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    notice = _VEGA.format(version=version("vl-convert-python"))
    found["vega.js"] = f"{notice}(() => {{\n{vega}\n}})();\n".encode()
    return found
