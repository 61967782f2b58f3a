"""The report as a real browser shows it, from a file and without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from matplotlib.image import imread

from reasoning_rl.report import write_report
from reasoning_rl.run_dir import RunDir

pytestmark = pytest.mark.browser

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture
def browser() -> str:
    """Path of a Chromium."""
    found = next((path for path in map(shutil.which, _BROWSERS) if path), None)
    if found is None:
        pytest.skip(f"no browser on PATH (looked for {', '.join(_BROWSERS)}); apt-get install chromium")
    return found


def show(browser: str, page: Path, profile: Path, *options: str) -> str:
    """Opens the page headless; returns standard output."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-dev-shm-usage",
               "--hide-scrollbars", f"--user-data-dir={profile}", *options, page.resolve().as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_rendered_page_has_sections_figures_and_escaped_text(
    browser: str, finished_run: RunDir, tmp_path: Path
) -> None:
    dom = show(browser, write_report(finished_run), tmp_path / "profile", "--dump-dom")
    headings = [re.sub(r"<.*?>", "", heading) for heading in re.findall(r"<h2>(.*?)</h2>", dom, re.DOTALL)]
    assert headings == ["Eval stages", "Figures", "Completions", "Manifest", "Resolved recipe"]
    assert len(re.findall(r"<svg [^>]*role=\"img\"", dom)) == 10
    assert dom.count("<article") == 7
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in dom
    assert "<script" not in dom


def test_screenshot_shows_a_page(browser: str, finished_run: RunDir, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    show(
        browser, write_report(finished_run), tmp_path / "profile", f"--screenshot={picture}", "--window-size=1200,5000"
    )
    pixels = imread(picture)
    assert pixels.shape[:2] == (5000, 1200)
    # A blank page has one color; the figures alone bring saturated ones in the upper half.
    colors = pixels[:2500, :, :3]
    assert (colors.max(axis=2) - colors.min(axis=2) > 0.5).mean() > 0.002
    assert len({tuple(pixel) for pixel in colors[::10, ::10].reshape(-1, 3).round(2).tolist()}) > 20
