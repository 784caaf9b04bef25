"""Build one self-contained HTML page: text, tables and figures in a single file that opens offline, on any screen.

The markup and the style are in ``templates``; Jinja escapes every text. Each block function returns finished HTML, so
that blocks are joined with ``+`` and handed to ``page``.
"""

import base64
import functools
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from analogsim.plot import axes as style

if TYPE_CHECKING:
    import jinja2


@functools.cache
def _environment() -> "jinja2.Environment":
    # Jinja is imported here: `import analogsim` does not load it.
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("analogsim.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def _block(name: str, *args: Any) -> str:
    """Fill one macro of ``templates/blocks.html``."""
    # A plain string: Jinja's Markup would escape what a caller joins to it.
    return str.__str__(getattr(_environment().get_template("blocks.html").module, name)(*args))


def page(title: str, lead: str, sections: Sequence[tuple[str, str]]) -> str:
    """Build the page.

    Args:
      title: its title and heading, plain text.
      lead: one line below the heading, plain text.
      sections: pairs of a heading (plain text) and HTML from the functions below.

    Returns:
      the HTML document.

    Example:
      >>> html = page("Ageing", "PCM, 10 years", [("Result", paragraph("Accuracy decreases."))])
      >>> "<h1>Ageing</h1>" in html, "<p>Accuracy decreases.</p>" in html
      (True, True)
    """
    return _environment().get_template("page.html").render(title=title, lead=lead, sections=sections)


def paragraph(text: str, note: bool = False) -> str:
    """Return the HTML of one paragraph.

    Args:
      text: plain text; a number keeps its standard deviation and per cent sign on the same line.
      note: set the text small and grey.

    Example:
      >>> paragraph("less than 1 step", note=True)
      '<p class="note">less than 1 step</p>'
    """
    return _block("paragraph", _no_break(text), note)


def _no_break(text: str) -> str:
    """Keep a number, its standard deviation and its per cent sign on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def bullets(items: Sequence[str]) -> str:
    """Return the HTML of a bullet list.

    Args:
      items: plain texts.

    Example:
      >>> bullets(["drift", "read noise < 1 uS"])
      '<ul><li>drift</li><li>read noise &lt; 1 uS</li></ul>'
    """
    return _block("bullets", [_no_break(item) for item in items])


def preformatted(text: str) -> str:
    """Return the HTML of text in a fixed-width face; a line too long for the screen is wrapped with a hanging indent.

    Args:
      text: plain text of one or more lines; leading spaces indent.

    Example:
      >>> preformatted("adc:\\n  bits: 8")
      '<pre><span style="--in:0">adc:</span><span style="--in:2">bits: 8</span></pre>'
    """
    return _block("preformatted", [(len(line) - len(line.lstrip()), line.strip()) for line in text.splitlines()])


def numbered(items: Sequence[str]) -> str:
    """Return the HTML of a numbered list, for example of the sources that a table cites by number.

    Args:
      items: plain texts.

    Example:
      >>> numbered(["Rasch et al., 2023"])
      '<ol class="note"><li>Rasch et al., 2023</li></ol>'
    """
    return _block("numbered", items)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", text: Sequence[int] = ()) -> str:
    """Return the HTML of a table; on a narrow screen each row is shown as a card.

    Args:
      header: one name per column.
      rows: the cells, plain texts.
      caption: printed above the table.
      text: indices of the columns that hold words and are aligned left; the others are aligned right.

    Example:
      >>> html = table(["bits", "accuracy"], [["8", "97.1 %"]], caption="ADC")
      >>> "<caption>ADC</caption>" in html, '<td data-label="accuracy">97.1 %</td>' in html
      (True, True)
    """
    return _block("table", header, rows, caption, text)


def figure(draw: Callable[[Any], Any], alt: str, caption: str = "", size: tuple[float, float] = (10.4, 4.4),
           phone: tuple[float, float] = (3.6, 4.0)) -> str:  # fmt: skip
    """Return the HTML of a figure, drawn once for a desktop page and once for a phone, so that labels stay readable.

    Args:
      draw: draws on the matplotlib axes that it is given and returns them.
      alt: alternative text for readers who cannot see the figure.
      caption: printed below the figure.
      size: width and height of the desktop version, inches; 100 pixels of the screen show about one inch.
      phone: width and height of the phone version, inches.

    Example:
      >>> def draw(ax):
      ...     ax.plot([4, 6, 8], [0.81, 0.93, 0.95])
      ...     return ax
      >>> html = figure(draw, "accuracy versus bits", caption="ADC bits")
      >>> html.count("data:image/png"), "<figcaption>ADC bits</figcaption>" in html
      (2, True)
    """
    with style.style():
        wide, narrow = (_data_url(draw(style.new_axes(*inches))) for inches in (size, phone))
    return _block("figure", wide, narrow, alt, caption)


def _data_url(axes: Any) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(axes)).decode()}"


def png(axes: Any) -> bytes:
    """Return the figure of matplotlib axes as PNG bytes at 170 dots per inch.

    Args:
      axes: any axes of the figure.

    Example:
      >>> from analogsim import plot
      >>> png(plot.new_axes(2, 1))[:4]
      b'\\x89PNG'
    """
    buffer = io.BytesIO()
    # Without matplotlib's version in the file, the same image gives the same bytes.
    axes.figure.savefig(buffer, format="png", dpi=170, metadata={"Software": None})
    return buffer.getvalue()
