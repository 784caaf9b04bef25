"""One self-contained HTML page: text, tables and figures in a single file that opens offline, on a desk or a phone."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import Any

from analogsim.plot import axes as style

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
  h1, h2, p, li, caption, figcaption, td.wide {{ overflow-wrap: anywhere; }}
  ul, ol {{ padding-left: 1.4rem; }}
  figure {{ margin: .5rem 0; }}
  figure img {{ width: 100%; height: auto; display: block; }}
  figcaption, .note {{ color: #4c5663; font-size: .9rem; }}
  /* Shadows at the edges behind which there is more to scroll to. */
  .scroll {{ overflow-x: auto; margin-top: 1rem; background:
            linear-gradient(to right, #fff 30%, transparent) 0 0 / 3rem 100% local no-repeat,
            linear-gradient(to left, #fff 30%, transparent) 100% 0 / 3rem 100% local no-repeat,
            linear-gradient(to right, #0003, transparent) 0 0 / 1rem 100% scroll no-repeat,
            linear-gradient(to left, #0003, transparent) 100% 0 / 1rem 100% scroll no-repeat; }}
  table {{ border-collapse: collapse; font-size: .87rem; min-width: 100%; }}
  caption {{ text-align: left; color: #4c5663; font-size: .9rem; padding-bottom: .4rem; }}
  th, td {{ text-align: right; padding: .3rem .5rem; border-bottom: 1px solid #e8eaee; white-space: nowrap;
           font-variant-numeric: tabular-nums; vertical-align: top; }}
  td.wide {{ white-space: normal; min-width: 16rem; }}
  th:first-child, td:first-child, .text {{ text-align: left; }}
  thead th {{ border-bottom: 2px solid #c8cdd5; }}
  pre {{ font-size: .82rem; line-height: 1.4; background: #f6f7f9; padding: .8rem; border-radius: 6px; }}
  /* A line that is too long goes on below, further in than it began. */
  pre span {{ display: block; white-space: pre-wrap; overflow-wrap: break-word; min-height: 1.4em;
             padding-left: calc((var(--in) + 4) * 1ch); text-indent: -4ch; }}
  @media (max-width: 45rem) {{
    main {{ padding: 1rem .6rem 3rem; }}
    section {{ padding: .8rem .9rem; }}
    h1 {{ font-size: 1.45rem; }}
    figure img {{ max-width: 32rem; margin: 0 auto; }}
    pre {{ font-size: .75rem; padding: .6rem; }}
    pre span {{ padding-left: calc((var(--in) / 2 + 2) * 1ch); text-indent: -2ch; }}
    /* A row becomes a card: its first cells are the heading, every other cell has its column's name before it. */
    .scroll {{ overflow: visible; background: none; }}
    table, caption, tbody, tr, td {{ display: block; }}
    thead {{ display: none; }}
    tr {{ border: 1px solid #dde1e7; border-radius: 8px; padding: .3rem .7rem; margin: .6rem 0; }}
    td, td.wide {{ display: flex; justify-content: space-between; gap: 1rem; min-width: 0; white-space: normal;
                  padding: .22rem 0; border-bottom: 1px solid #eef0f3; text-align: right; }}
    td {{ overflow-wrap: anywhere; }}
    td::before {{ content: attr(data-label); color: #4c5663; text-align: left; flex: none; max-width: 60%;
                 overflow-wrap: anywhere; }}
    td.title {{ font-weight: 600; }}
    td.wide {{ display: block; text-align: left; }}
    td.wide::before {{ content: attr(data-label) ": "; }}
    td:last-child {{ border-bottom: 0; }}
    td:empty {{ display: none; }}
  }}
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
    """One paragraph of plain text, in which no line begins with a per cent sign."""
    words = _kept_together(text)
    return f'<p class="note">{words}</p>' if note else f"<p>{words}</p>"


def _kept_together(text: str) -> str:
    """A number, its spread and its per cent sign stay on one line."""
    return html.escape(text).replace(" %", "&nbsp;%").replace(" ± ", "&nbsp;±&nbsp;")


def bullets(items: Sequence[str]) -> str:
    """A list of plain texts."""
    return "<ul>" + "".join(f"<li>{_kept_together(item)}</li>" for item in items) + "</ul>"


def preformatted(text: str) -> str:
    """Text line by line in a fixed-width face; a line that is too long for the screen goes on below, indented."""
    lines = [(len(line) - len(line.lstrip()), html.escape(line.strip())) for line in text.splitlines()]
    return "<pre>" + "".join(f'<span style="--in:{indent}">{line}</span>' for indent, line in lines) + "</pre>"


def numbered(items: Sequence[str]) -> str:
    """A numbered list of plain texts, for the sources that a table counts."""
    return '<ol class="note">' + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ol>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", text: Sequence[int] = ()) -> str:
    """A table; on a narrow screen each row is a card. ``text`` names the columns of words, set flush left."""

    def cells(tag: str, values: Sequence[str]) -> str:
        parts = []
        for i, value in enumerate(values):
            classes = [name for name, holds in (("title", i == 0), ("text", i in text),
                                                ("wide", i in text and len(value) > 40)) if holds]  # fmt: skip
            attributes = f' class="{" ".join(classes)}"' if classes else ""
            if tag == "td":
                attributes += f' data-label="{html.escape(header[i])}"'
            parts.append(f"<{tag}{attributes}>{html.escape(value)}</{tag}>")
        return "<tr>" + "".join(parts) + "</tr>"

    head = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(cells("td", row) for row in rows)
    return f'<div class="scroll"><table>{head}<thead>{cells("th", header)}</thead><tbody>{body}</tbody></table></div>'


def figure(draw: Callable[[Any], Any], alt: str, caption: str = "", size: tuple[float, float] = (10.4, 4.4),
           phone: tuple[float, float] = (3.6, 4.0)) -> str:  # fmt: skip
    """A figure inside the page, drawn twice: as wide as the page, and for a phone, so that its words stay readable.

    Args:
      draw: draws on the matplotlib axes that it is given and returns them.
      alt: a text for those who cannot see it.
      caption: printed below.
      size, phone: width and height in inches; a hundred pixels of the screen show about one inch.
    """
    with style.style():
        wide, narrow = (_data_url(draw(style.new_axes(*inches))) for inches in (size, phone))
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    picture = f'<source media="(max-width: 45rem)" srcset="{narrow}"><img src="{wide}" alt="{html.escape(alt)}">'
    return f"<figure><picture>{picture}</picture>{below}</figure>"


def _data_url(axes: Any) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(axes)).decode()}"


def png(axes: Any) -> bytes:
    """A matplotlib figure as PNG bytes, sharp on a dense screen."""
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png", dpi=170, metadata={"Software": None})
    return buffer.getvalue()
