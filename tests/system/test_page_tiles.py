"""Tiles of every kind in a real browser, over made results: what is told, reached by keys, and never run."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from ami.errors import AmiError
from ami.graph.language.document import Document
from ami.result import Events, Result
from ami.values import NO_LABEL, Histogram, Label, Moments, PickedEvents, Scan
from tests.system.conftest import visit
from tests.waiting import PATIENCE_S, wait_until
from tests.web_rig import Page, page

HOSTILE = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>'
KEYS = np.linspace(-2, 3, 41)
ROWS, COLUMNS = np.mgrid[0:60, 0:80]
STACK = np.stack([np.exp(-((COLUMNS - 10 * n) ** 2 + (ROWS - 30) ** 2) / 99) for n in range(5)])
ROLES = (
    "button",
    "textbox",
    "searchbox",
    "combobox",
    "spinbutton",
    "slider",
    "link",
    "application",
    "region",
    "dialog",
)
# What may speak by itself: that the connection is gone, and that a result fails.
LIVE = "[aria-live]:not([aria-live=off]), [role=status], [role=alert], output:not([aria-live=off])"


class Made:
    """Stands for a client whose results grow. ``values`` may be changed while they are shown."""

    def __init__(self) -> None:
        self.number = 0
        peak = 0.4 + 2 * np.exp(-((KEYS - 1.1) ** 2) / 0.72)
        image = np.add.outer(np.arange(300.0), np.arange(400.0))
        image[5:20, 5:20] = np.nan
        self.values: dict[str, Any] = {
            "peak": lambda n: Scan(KEYS, np.full(41, 10 * n), peak, np.full(41, 0.3 / np.sqrt(10 * n))),
            "image": lambda _n: image,
            "stack": lambda _n: Scan(np.arange(5) - 0.5, np.full(5, 9), STACK, STACK / 9),
            "pairs": lambda n: np.random.default_rng(n).normal(size=(3000, 2)),
            "wave": lambda n: np.sin(np.arange(500) / 20 + n),
            "spread": lambda n: Histogram(np.arange(40) * n, np.linspace(-4, 4, 41)),
            "number": lambda n: Moments(n + 1, np.float64(n), np.float64(40)),
            "picked": lambda n: PickedEvents(np.arange(n, n + 9), np.arange(9), (np.arange(9.0),)),
            HOSTILE: lambda _n: HOSTILE,
        }

    def results(self) -> dict[str, Result]:
        self.number += 1
        return {name: self.make(name, value, self.number) for name, value in self.values.copy().items()}

    def make(self, name: str, value: Any, number: int) -> Result:
        label = Label("mJ", (("delay", "ps"),)) if name in ("peak", "stack") else NO_LABEL
        return Result(
            name=name, value=value(number), window="run", run=5, interval=number, label=label,
            interval_ns=100_000_000, events=Events(expected=number, used=number), time_ns=(1, time.time_ns()),
            error=HOSTILE if name == HOSTILE else None,
        )  # fmt: skip

    def get(self, name: str, *, wait_s: float = 0.0) -> Result:
        if name not in self.values:
            raise AmiError(f"there is no {name} ({wait_s})")
        return self.make(name, self.values[name], self.number)

    def catalogue(self) -> Mapping[str, Any]:
        return {name: {"owners": ["anna"]} for name in self.values}

    def document(self, _version: int | None = None) -> Document:
        return Document()

    def history(self, _name: str, _limit: int) -> list[Any]:
        return []


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory, made: Made) -> Iterator[Page]:
    stop = threading.Event()
    with page(tmp_path_factory.mktemp("page"), made) as found:

        def publish() -> None:
            while not stop.wait(0.2):
                results = made.results()
                found.server.call(lambda: found.viewers.tell("catalogue", made.catalogue()))
                wanted = found.board.wanted
                found.board.put(
                    {name: one for name, one in results.items() if name in wanted}, time.time_ns()
                )

        thread = threading.Thread(target=publish)
        thread.start()
        yield found
        stop.set()
        thread.join()


@pytest.fixture
def shown(browser: Any, served: Page) -> Iterator[Any]:
    """A page that shows all of it. What it complains of is an error."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_S * 1000)
    opened = context.new_page()
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    visit(opened, f"http://{served.address}/#token={served.token}")
    tile(opened, "peak").locator("canvas").first.wait_for()
    yield opened
    assert not opened.evaluate("window.hacked")
    context.close()
    assert not complaints


def tile(where: Any, name: str) -> Any:
    return where.locator(f'section[aria-label^="{name}, "]')


def await_text(where: Any, text: str) -> None:
    where.filter(has_text=re.compile(text)).first.wait_for()


def open_settings(where: Any) -> Any:
    where.get_by_role("button", name="How this is shown").focus()
    where.page.keyboard.press("Enter")
    return where.locator(".settings")


def test_a_scan_is_fitted_and_says_how_long_it_goes_on(shown: Any, made: Made) -> None:
    peak = tile(shown, "peak")
    settings = open_settings(peak)
    settings.get_by_label("fit", exact=True).select_option("gaussian")
    settings.get_by_label("wanted error").fill("0.0001")
    settings.get_by_label("wanted error").blur()
    await_text(peak.locator(".findings"), r"gaussian: position 1\.\d+ ± 0\.\d+ ps · width \(FWHM\) 1\.4\d+ ±")
    await_text(peak.locator(".findings"), r"more until every error is 0\.0001 \(the last: delay")
    # Nothing but NaN, one point, none, and another kind, while it is shown.
    nothing = np.full(41, np.nan)
    for value, said in (
        (Scan(KEYS, np.ones(41, int), nothing, nothing), "4 points are needed|5 points"),
        (Scan(KEYS[:1], np.array([5]), KEYS[:1], KEYS[:1] * 0), "points are needed"),
        (Scan(KEYS[:0], np.zeros(0, int), KEYS[:0], KEYS[:0]), "points are needed"),
        (Scan(KEYS * 1e300, np.full(41, 1 << 60), KEYS * 1e300, np.abs(KEYS) + 1), "gaussian"),
    ):
        made.values["peak"] = lambda _n, value=value: value
        await_text(peak.locator(".findings"), said)
    made.values["peak"] = lambda n: n
    peak.locator(".number").wait_for()


def test_a_scan_of_images_is_gone_through_by_keys(shown: Any, served: Page) -> None:
    stack = tile(shown, "stack")
    await_text(stack.locator(".below"), r"delay -0\.5\d* ps \(1 of 5\)|delay 0\.5\d* ps \(2 of 5\)")
    slider = stack.get_by_role("slider")
    slider.focus()
    shown.keyboard.press("End")
    await_text(stack.locator(".below"), r"delay 3\.5\d* ps \(5 of 5\)")
    assert [one.key for one in served.board.wanted["stack"]] == [3.5]
    stack.locator(".view").focus()
    shown.keyboard.press("ArrowLeft")
    await_text(stack.locator(".readout"), r"row 30, column 39: 0\.9\d+ mJ")


def test_two_results_are_drawn_against_each_other(shown: Any) -> None:
    assert tile(shown, "pairs").get_attribute("data-kind") == "scatter"
    wave = tile(shown, "wave")
    settings = open_settings(wave)
    settings.get_by_label("as", exact=True).select_option("scatter")
    shown.locator('section[aria-label="wave, scatter"]').wait_for()
    settings.get_by_label("against", exact=True).select_option("picked")
    wave.locator(".view").focus()

    def read() -> bool:
        shown.keyboard.press("ArrowRight")
        return "picked" in wave.locator(".readout").text_content()

    wait_until(read, what="one result against another")


def test_what_is_not_published_is_said_and_comes_back(shown: Any, made: Made) -> None:
    wave = tile(shown, "wave")
    wave.focus()
    shown.keyboard.press("Alt+ArrowRight")  # from now on the arrangement is somebody's
    gone = made.values.pop("wave")
    await_text(wave.locator(".absent"), "wave is not published now")
    made.values["wave"] = gone
    wave.locator(".absent").wait_for(state="hidden")
    del made.values["wave"]
    wave.get_by_role("button", name="Take it off").click()
    wave.wait_for(state="detached")


def test_all_is_reached_by_tab_has_a_name_and_says_no_more_than_it_must(shown: Any) -> None:
    open_settings(tile(shown, "peak"))
    open_settings(tile(shown, "image"))
    session = shown.context.new_cdp_session(shown)
    for key in ("", "a", "l", "g"):
        if key:
            shown.locator("h1").click()
            shown.keyboard.press(key)
            shown.locator("#panel h2").wait_for()
        for node in session.send("Accessibility.getFullAXTree")["nodes"]:
            role, name = (node.get(one, {}).get("value", "") for one in ("role", "name"))
            assert node["ignored"] or role not in ROLES or name.strip(), node
    shown.keyboard.press("Escape")
    shown.evaluate("document.activeElement.blur()")
    shown.evaluate("""() => {
      const wanted = ':is(button, select, input, textarea):not(:disabled), a[href], [tabindex="0"]';
      window.left = new Set([...document.querySelectorAll(wanted)].filter((one) => one.checkVisibility()));
      addEventListener('focusin', ({target}) => window.left.delete(target));
      window.spoken = [];
    }""")
    for _ in range(shown.evaluate("window.left.size") + 40):
        shown.keyboard.press("Tab")
        if not shown.evaluate("window.left.size"):
            break
    assert not shown.evaluate(
        "[...window.left].filter((one) => one.isConnected).map((one) => one.outerHTML.slice(0, 200))"
    )
    # While values come, and a crosshair lies there, nothing is read aloud.
    tile(shown, "image").locator(".view").focus()
    shown.keyboard.press("ArrowLeft")
    before = tile(shown, "number").locator(".number").inner_text()
    shown.wait_for_timeout(1500)
    shown.evaluate(f"""() => document.querySelectorAll('{LIVE}').forEach((one) => new MutationObserver(
      () => window.spoken.push(one.outerHTML)).observe(one, {{characterData: true, childList: true,
      subtree: true}}))""")
    wait_until(lambda: tile(shown, "number").locator(".number").inner_text() != before, what="newer values")
    shown.wait_for_timeout(1000)
    assert not shown.evaluate("window.spoken")


def test_names_and_errors_are_texts(shown: Any) -> None:
    error = shown.locator("section .error:not([hidden])").first
    await_text(error, "onerror")
    assert shown.evaluate("document.querySelectorAll('#wall img, #wall script').length") == 0
