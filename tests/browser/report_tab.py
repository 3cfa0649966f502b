"""A report in a browser, and the actions of its reader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDTH, HEIGHT = 1_400, 900

ALL_ROWS = """async (id) => {
  const list = document.querySelector(`#${id} .long`), found = [];
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  for (let top = 0; ; top += Math.max(28, list.clientHeight)) {
    list.scrollTop = top;
    await frame();
    for (const row of list.querySelectorAll("[role=listitem]")) {
      const index = Number(row.getAttribute("aria-posinset")) - 1;
      found[index] = row.dataset.id;
    }
    if (top >= list.scrollHeight) return found;
  }
}"""
"""A long list's rows, all of them, though only those in sight are elements."""

MOVE = """async (position) => {
  const slider = document.getElementById("slider");
  const began = performance.now();
  slider.value = position;
  slider.dispatchEvent(new Event("input"));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - began;
}"""

COUNTS = """async (step) => {
  const slider = document.getElementById("slider"), found = [];
  for (let position = Number(slider.min); position <= Number(slider.max); position += step) {
    slider.value = position;
    slider.dispatchEvent(new Event("input"));
    await new Promise((done) => requestAnimationFrame(done));
    found.push(["queue-count", "rooms-count"].map((id) => Number(document.getElementById(id).textContent)));
  }
  return found;
}"""
"""How many wait and how many rooms are open, at every so many positions."""

COLOURED = """([id, name]) => {
  const probe = document.createElement("i");
  document.body.append(probe);
  probe.style.color = getComputedStyle(document.documentElement).getPropertyValue(name);
  const wanted = getComputedStyle(probe).color.match(/[0-9]+/g).map(Number);
  probe.remove();
  const canvas = document.getElementById(id);
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  const columns = new Set();
  for (let n = 0; n < data.length; n += 4) {
    if (wanted.every((part, k) => Math.abs(data[n + k] - part) < 12)) columns.add((n / 4) % canvas.width);
  }
  return [...columns].sort((one, other) => one - other);
}"""
"""The columns of pixels of a canvas that hold a colour of the style."""


def chromium_path() -> str:
    """Return the path of the browser."""
    return os.environ.get("CHROMIUM", "/usr/bin/chromium")


def is_installed() -> bool:
    """Return whether there is a browser."""
    return Path(chromium_path()).exists()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        browser.close()


class ReportTab:
    """A report in a tab of its own."""

    def __init__(self, browser: Browser, path: Path, scheme: str = "light", *, scale: int = 1) -> None:
        self.context = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT},
            color_scheme="dark" if scheme == "dark" else "light",
            device_scale_factor=scale,
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.loaded: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.loaded.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)
        self.page.wait_for_selector("html[data-ready-ms]", timeout=60_000)

    def close(self) -> None:
        """Close it; check that it has loaded nothing but itself and logged no error."""
        self.context.close()
        assert self.complaints == []
        assert self.loaded == [self.url]

    def figure(self, name: str) -> float:
        """Return a figure the page notes about itself."""
        return float(self.page.evaluate("(name) => document.documentElement.dataset[name]", name))

    def go_to(self, position: int) -> float:
        """Move the slider there; return the time until it was shown, in ms."""
        took: float = self.page.evaluate(MOVE, position)
        assert self.text("#position-now") == f"{position:,}"
        return took

    def counts(self, step: int) -> list[list[int]]:
        """Return the numbers of waiting people and open rooms at each `step`th position from the first on."""
        found: list[list[int]] = self.page.evaluate(COUNTS, step)
        return found

    def rows(self, list_id: str) -> list[str]:
        """Return all row names of a list."""
        if self.page.locator(f"#{list_id}").is_hidden():
            return []
        found: list[str] = self.page.evaluate(ALL_ROWS, list_id)
        return found

    def text(self, selector: str) -> str:
        """Return the visible text of an element."""
        return self.page.locator(selector).inner_text()

    def coloured(self, canvas: str, colour: str) -> list[int]:
        """Return the columns of a canvas with `colour`, a variable of the style."""
        found: list[int] = self.page.evaluate(COLOURED, [canvas, colour])
        return found

    def picture(self, canvas: str) -> Any:
        """Return the picture on a canvas."""
        return self.page.evaluate("(id) => document.getElementById(id).toDataURL()", canvas)
