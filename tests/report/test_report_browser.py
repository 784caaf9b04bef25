"""Pages of results in a real browser, at the width of a phone and of a desk: nothing overflows, nothing is fetched."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import xarray

from analogsim import report
from tests.support.sweep_results import BITS, NOISE, TIMES, sweep_results

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium"),
]

BAD = '<script>window.pwned=1</script><img src=x onerror="window.pwned=1">'

# Whatever the page wants from elsewhere is refused, and noted. It comes first, what it found is written last.
WATCH = """<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<script>const refused = [];
document.addEventListener("securitypolicyviolation", e => refused.push(e.blockedURI));</script>"""
TELL = """<script>window.addEventListener("load", () => {
  const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll") || !e.closest("table"))
    .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.tagName);
  const images = [...document.images];
  const found = {width: innerWidth, page: document.documentElement.scrollWidth, wide: wide, refused: refused,
    fetched: performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:")),
    title: document.title, heading: document.querySelector("h1").innerText, pwned: window.pwned === undefined ? 0 : 1,
    tables: document.querySelectorAll("table").length, sections: document.querySelectorAll("section").length,
    images: images.length, shown: images.filter(i => i.complete && i.naturalWidth > 300).length};
  parent.postMessage(found, "*");
});</script>"""
# A window has at least 500 pixels; a frame in it may be as narrow as a phone.
FRAME = """<!doctype html><pre id="found"></pre><script>addEventListener("message", e => {{
  document.getElementById("found").textContent = JSON.stringify(e.data); }});</script>
<iframe src="{page}" style="width:{width}px;height:2000px;border:0"></iframe>"""


def opened(path, width):
    """What the browser says about a page of this width."""
    text = path.read_text(encoding="utf-8")
    copy = path.with_name(f"{path.stem}-watched.html")
    copy.write_text(text.replace("<head>", f"<head>{WATCH}").replace("</body>", f"{TELL}</body>"), encoding="utf-8")
    frame = path.with_name("frame.html")
    frame.write_text(FRAME.format(page=copy.name, width=width), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom",
         f"--user-data-dir={path.parent / 'profile'}", "--window-size=1400,2000", frame.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    note = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, flags=re.S)
    assert note, done.stderr[-2000:]
    return json.loads(html.unescape(note[1]))


def sweep_page(folder):
    data = sweep_results({NOISE: (0.0, 0.01, 1.0), BITS: (4, 6, 8), "hardware": ("pcm", BAD), "time": TIMES}, done=0.6)
    data.attrs |= {"title": BAD, "hardware": "Hardware\n" + "  a_long_field_name = 1   and what it is\n" * 40}
    data.attrs |= {"inputs": json.dumps({"x": "sha256:" + "ab" * 32}), "sources": "https://doi.org/" + "x" * 150}
    data.accuracy.attrs["long_name"] = BAD
    return report.write(data, folder / "sweep.html"), BAD


def energy_page(folder):
    low = np.geomspace(1e-12, 1e-6, 12).reshape(6, 2)
    parts = {f"energy_{k}_j": (("system", "batch"), low * f) for k, f in (("low", 1), ("typical", 3), ("high", 10))}
    systems = ["pcm", "H100", "Eyeriss", "brain", "a system of a very long name on a page", BAD]
    data = xarray.Dataset(parts, {"system": systems, "batch": [1, 256]}, {"excludes": "cooling\n" + "word " * 60})
    return report.write(data, folder / "energy.html"), "Energy per inference"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("make", [sweep_page, energy_page])
def test_a_page_fits_its_screen_and_fetches_nothing(make, width, tmp_path):
    path, title = make(tmp_path)
    found = opened(path, width)
    assert found["width"] == width
    assert found["page"] <= width  # nothing to scroll to sideways
    assert found["wide"] == []
    assert (found["refused"], found["fetched"], found["pwned"]) == ([], [], 0)
    assert found["title"] == found["heading"] == title
    assert found["tables"] >= 1
    assert found["sections"] >= 4
    assert found["shown"] == found["images"] >= 2
