"""Puts a report into one HTML page that needs nothing else: its data, its look and its script.

What clusters, manifests and engines say is data and never markup. It stands in the page as JSON
that can't end its element, and the script shows it by ``textContent``. The page's own
Content-Security-Policy lets nothing in from outside, and runs no script but this one, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files
from typing import Any, Final

import orjson

from drainproof.report.text import printable

_PAGES: Final = files("drainproof.report") / "pages"
_IN_JSON: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def page(title: str, script: str, data: dict[str, Any]) -> str:
    """Return the page.

    Args:
        title: What its tab and its heading say; text, not markup.
        script: Which of the scripts in ``pages/`` shows the data: ``audit`` or ``run``.
        data: What is shown: JSON's types alone. Strings must be printable; see :func:`shown`.
    """
    style = _own("page.css")
    code = _own("page.js") + _own(f"{script}.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(code)}; "
        "base-uri 'none'; form-action 'none'"
    )
    written = orjson.dumps(data).decode().translate(_IN_JSON)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
<main id="main"><h1>{escape(title)}</h1>
<noscript><p>This page needs its script to show what it holds.</p></noscript></main>
<script type="application/json" id="data">{written}</script>
<script>{code}</script>
</body>
</html>
"""


def shown(value: Any) -> Any:  # noqa: ANN401 - any of JSON's types
    """Return a value in which strings hold nothing that acts on a reader: no control character."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): shown(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [shown(part) for part in value]
    return value


def _own(name: str) -> str:
    return (_PAGES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
