"""The viewer in headless Chromium: a scan is shown, the controls change it, names stay text."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import threading

import numpy as np
import pytest

from softseg.viewer.export import export_site
from softseg.viewer.scans import viewed_scans
from softseg.viewer.server import ViewerServer
from softseg.viewer.site import build_site
from tests.support.chromium import Chromium, find_chromium
from tests.support.viewer import HOSTILE, predictions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed"),
    pytest.mark.skipif(
        importlib.util.find_spec("ipyniivue") is None,
        reason="NiiVue is not installed: pip install 'softseg[view]'",
    ),
]
SHOWN = "document.body?.dataset.shown"  # of the page, once its first scan is drawn


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("viewer")


@pytest.fixture(scope="module")
def scans(folder):
    return viewed_scans(predictions(folder, "p1", "p2", HOSTILE), "test")


@pytest.fixture(scope="module")
def browser(folder, scans):
    """A browser with the page open, and the first scan shown."""
    with ViewerServer(build_site("run <b>1</b>", scans)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with Chromium(folder / "profile") as started:
            started.open(server.address)
            started.wait_for(f"{SHOWN} !== undefined")
            yield started
        server.shutdown()


def slide(browser, slider, value):
    """Move a slider; what was drawn before and after it."""
    before = browser.pixels("#view")
    browser.run(
        f"(() => {{ const s = document.getElementById('{slider}'); s.value = {value};"
        " s.dispatchEvent(new Event('input')); })()"
    )
    return before, browser.pixels("#view")


def redness(pixels):
    return float((pixels[..., 0].astype(int) - pixels[..., 1]).clip(0).sum())


def test_a_scan_and_its_prediction_are_shown(browser):
    pixels = browser.pixels("#view")
    gray = pixels[(pixels[..., 0] == pixels[..., 1]) & (pixels[..., 1] == pixels[..., 2])]
    assert len(np.unique(gray[:, 0])) > 100  # the noise of the scan
    assert redness(pixels) > 1e5
    assert "voxel" in browser.run("document.getElementById('status').textContent")
    assert browser.errors() == []


def test_opacity_and_threshold_change_what_is_drawn(browser):
    slide(browser, "threshold", 0)
    _, strong = slide(browser, "opacity", 1)
    _, weak = slide(browser, "opacity", 0.3)
    _, none = slide(browser, "opacity", 0)
    assert redness(strong) > 1.5 * redness(weak) > 0
    assert redness(none) < 0.02 * redness(strong)
    slide(browser, "opacity", 1)
    before, after = slide(browser, "threshold", 0.6)  # all of the target that is 0.5 at most
    assert 0 < redness(after) < redness(before)
    _, hidden = slide(browser, "threshold", 1)
    assert redness(hidden) < redness(after)
    slide(browser, "threshold", 0)


def test_each_target_can_be_left_out(browser):
    before = browser.pixels("#view")
    click = "document.querySelectorAll('#targets input')[{}].click()"
    for number in (0, 1):
        browser.run(click.format(number))
    assert redness(browser.pixels("#view")) < 0.02 * redness(before)
    for number in (0, 1):
        browser.run(click.format(number))
    assert np.array_equal(browser.pixels("#view"), before)


def test_hostile_names_are_text(browser):
    names = browser.run(
        "[...document.querySelectorAll('#scans .name')].map((name) => name.textContent)"
    )
    assert sorted(names) == sorted([HOSTILE, "p1", "p2"])
    assert browser.run("document.getElementById('title').textContent") == "run <b>1</b>"
    assert browser.run("document.querySelectorAll('nav img, nav b, main img').length") == 0
    row = "[...document.querySelectorAll('#scans button')].find((b) => b.textContent.includes('<'))"
    browser.run(f"{row}.click()")
    browser.wait_for("document.getElementById('status').textContent.startsWith('<img')")
    assert browser.run("document.title") == "run <b>1</b> · softseg view"
    assert browser.errors() == []


def test_the_page_fits_a_phone(browser):
    browser.resize(400, 900)
    browser.wait_for("window.innerWidth === 400")
    page = "document.documentElement"
    assert browser.run(f"{page}.scrollWidth <= {page}.clientWidth")
    browser.wait_for("document.getElementById('canvas').clientHeight > 400")
    browser.resize(1280, 800)


def test_an_export_shows_the_same_from_any_web_server(browser, scans, folder):
    site = build_site("exported", scans, compress=True)
    export_site(site, folder / "site")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder / "site")
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        browser.open(f"http://127.0.0.1:{server.server_address[1]}/")
        browser.wait_for(f"document.title.startsWith('exported') && {SHOWN} !== undefined")
        assert redness(browser.pixels("#view")) > 1e5
        server.shutdown()
