"""One self-contained HTML page: text, tables and figures in a single file that opens offline, on a desk or a phone."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analogsim.devices.errors import InputError

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color: #1d232a; background: #f4f5f7; font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }}
  body {{ margin: 0; }}
  main {{ max-width: 70rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }}
  section {{ background: #fff; border: 1px solid #e2e5ea; border-radius: 10px; padding: 1.1rem 1.3rem;
            margin: 1rem 0; }}
  h1 {{ font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 .2rem; }}
  h2 {{ font-size: 1.15rem; margin: .1rem 0 .6rem; }}
  p.lead {{ color: #4c5663; margin: 0 0 1rem; }}
  p, li {{ max-width: 52rem; }}
  figure {{ margin: .5rem 0; }}
  figure img {{ width: 100%; max-width: 46rem; height: auto; display: block; }}
  figcaption, .note {{ color: #4c5663; font-size: .9rem; }}
  .scroll {{ overflow-x: auto; margin-top: 1rem; }}
  table {{ border-collapse: collapse; font-size: .87rem; min-width: 100%; }}
  caption {{ text-align: left; color: #4c5663; font-size: .9rem; padding-bottom: .4rem; }}
  th, td {{ text-align: right; padding: .3rem .5rem; border-bottom: 1px solid #e8eaee; white-space: nowrap;
           font-variant-numeric: tabular-nums; }}
  td.wide {{ white-space: normal; min-width: 16rem; }}
  th:first-child, td:first-child, .text {{ text-align: left; }}
  thead th {{ border-bottom: 2px solid #c8cdd5; }}
  pre {{ overflow-x: auto; font-size: .82rem; line-height: 1.4; background: #f6f7f9; padding: .8rem;
        border-radius: 6px; }}
</style>
</head>
<body><main>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{body}
</main></body>
</html>
"""


def page(title: str, lead: str, sections: Sequence[tuple[str, str]]) -> str:
    """The whole page. ``sections`` are pairs of a heading and HTML made by the functions below."""
    body = "\n".join(f"<section><h2>{html.escape(heading)}</h2>\n{inner}</section>" for heading, inner in sections)
    return _PAGE.format(title=html.escape(title), lead=html.escape(lead), body=body)


def paragraph(text: str, note: bool = False) -> str:
    """One paragraph of plain text."""
    return f'<p class="note">{html.escape(text)}</p>' if note else f"<p>{html.escape(text)}</p>"


def bullets(items: Sequence[str]) -> str:
    """A list of plain texts."""
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def preformatted(text: str) -> str:
    """Text as it stands, in a fixed-width face."""
    return f"<pre>{html.escape(text)}</pre>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", text: Sequence[int] = ()) -> str:
    """A table that scrolls sideways on a narrow screen. ``text`` names the columns of words, set flush left."""

    def cells(tag: str, values: Sequence[str]) -> str:
        parts = []
        for i, value in enumerate(values):
            classes = "text wide" if i in text and len(value) > 40 else "text" if i in text else ""
            parts.append(f'<{tag} class="{classes}">' if classes else f"<{tag}>")
            parts.append(f"{html.escape(value)}</{tag}>")
        return "<tr>" + "".join(parts) + "</tr>"

    head = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(cells("td", row) for row in rows)
    return f'<div class="scroll"><table>{head}<thead>{cells("th", header)}</thead><tbody>{body}</tbody></table></div>'


def figure(axes: Any, alt: str, caption: str = "") -> str:
    """A matplotlib figure (given by its axes) inside the page, with a text for those who cannot see it."""
    encoded = base64.b64encode(png(axes)).decode()
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="data:image/png;base64,{encoded}" alt="{html.escape(alt)}">{below}</figure>'


def png(axes: Any) -> bytes:
    """A matplotlib figure as PNG bytes, sharp on a dense screen."""
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png", dpi=170, metadata={"Software": None})
    return buffer.getvalue()


def output_folder(path: str | Path) -> Path:
    """Make the folder results go to, or say in one sentence why it cannot be written."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"--out {folder}: cannot write there ({error.strerror or error})") from None
    return folder
