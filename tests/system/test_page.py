"""The page in a real browser, on a real node: what people see and do there, and what happens to it.

Needs chromium, and playwright to lead it by the hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.request import urlopen

import pytest

from ami.client import Client, connect
from ami.client.page import find_page
from ami.cluster.node import Node, free_port
from ami.errors import AmiError
from tests.node_rig import running
from tests.openapi import answer_faults
from tests.system.conftest import PATIENT, Experiment, visit
from tests.waiting import PATIENCE_S, wait_until

GRAPH = """
results:
  shots: count(monitor)
  now: last(camera)
  by_delay: mean_vs(diode, key=delay)
  spread: histogram(diode, 50, 0, 3)
"""
# A page that cannot be hidden in a browser without windows is told that it is, and gets no frames.
HIDE = """() => {
  Object.defineProperty(document, 'hidden', {get: () => true, configurable: true});
  window.requestAnimationFrame = () => 0;
  document.dispatchEvent(new Event('visibilitychange'));
}"""
COUNT = """
  window.received = 0;
  const Real = WebSocket;
  window.WebSocket = class extends Real {
    constructor(...all) {
      super(...all);
      this.addEventListener('message', ({data}) => { if (typeof data !== 'string') window.received++; });
    }
  };
"""

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def node(browser: Any) -> Iterator[Node]:
    # A port of its own that stays, for a page whose daemon comes back.
    settings = PATIENT | {"AMI_WEB_HOST": "127.0.0.1", "AMI_WEB_PORT": str(free_port())}
    with running(Node(source="sim://pump-probe?rate=200", settings=settings)) as node:
        yield node


@pytest.fixture
def experiment(node: Node) -> Iterator[Experiment]:
    with connect(node.config, name="test", timeout_s=PATIENCE_S) as client:
        wait_until(client.schema, what="a source that has told its fields")
        client.set(GRAPH, force=True)
        wait_until(lambda: "now" in client.results(), what="an image")
        wait_until(lambda: _is_served(client), what="the page")
        yield Experiment(node, client)


def _is_served(client: Client) -> bool:
    with suppress(AmiError):
        return bool(find_page(client.config, client.status()))
    return False


@pytest.fixture
def open_page(browser: Any, experiment: Experiment) -> Iterator[Open]:
    """Return a function that opens the page as somebody else does. What a page complains of is an error."""
    complaints: list[str] = []
    contexts = []

    def open_one(fragment: str = "") -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 720})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_S * 1000)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None,
        )
        page.add_init_script(COUNT)
        link = find_page(experiment.client.config, experiment.client.status())
        visit(page, link + fragment)
        tile(page, "now").locator("canvas").first.wait_for()
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not complaints


def tile(page: Any, name: str) -> Any:
    return page.locator(f'section[aria-label^="{name}, "]')


def value(page: Any, name: str) -> int:
    return int(tile(page, name).locator(".number").inner_text().replace(",", ""))


def await_text(where: Any, text: str) -> None:
    where.filter(has_text=re.compile(text)).first.wait_for()


def test_what_one_adds_the_other_sees_and_what_is_denied_says_why(open_page: Open) -> None:
    anna, bob = open_page(), open_page()
    for page, name in ((anna, "anna"), (bob, "bob")):
        page.keyboard.press("g")
        page.get_by_label("your name").fill(name)
        page.get_by_label("your name").blur()
    definitions, answer = anna.get_by_label("definitions", exact=True), anna.locator("p.answer[role=status]")
    definitions.fill("bright = mean_events(smu(camera))")
    await_text(answer, "did you mean 'sum'")
    definitions.fill("bright = count(camera where monitor > 0)")
    await_text(answer, "published bright")
    anna.get_by_role("button", name="Add these definitions").click()
    tile(bob, "bright").locator(".number").wait_for()
    await_text(tile(bob, "bright").locator("footer"), "anna")

    bob.get_by_label("definitions", exact=True).fill("bright = last(monitor)")
    bob.get_by_role("button", name="Replace").click()
    await_text(bob.locator("p.answer.denied"), "in use by anna")

    anna.get_by_role("button", name="Undo", exact=True).click()
    tile(bob, "bright").wait_for(state="detached")


def test_a_region_that_is_drawn_becomes_a_result(open_page: Open, experiment: Experiment) -> None:
    page = open_page()
    image = tile(page, "now")
    image.hover()
    image.get_by_role("button", name="Draw a region").click()
    box = image.locator(".view").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.6, steps=4)
    page.mouse.up()
    await_text(image.locator(".region-box"), "graph version")
    yaml = image.locator(".region-box code").first.inner_text()
    definition = experiment.client.document().definitions["spot"]
    assert yaml == f"spot: {definition.text}"
    assert re.fullmatch(r"sum\(roi\(camera, rows=\d+:\d+, cols=\d+:\d+\)\)", definition.text)
    tile(page, "spot_now").locator(".number").wait_for()

    image.locator(".view").focus()
    page.keyboard.press("ArrowRight")
    wait_until(
        lambda: experiment.client.document().definitions["spot"].text != definition.text,
        what="the region, moved by a key",
    )


def test_an_arc_is_drawn_and_what_another_loses_is_shown_before_it_is_taken(
    open_page: Open, experiment: Experiment
) -> None:
    page = open_page()
    image = tile(page, "now")
    image.hover()
    image.get_by_role("button", name="Draw a region").click()
    image.get_by_label("shape").select_option("arc")
    image.locator(".view").focus()
    page.keyboard.press("Enter")
    await_text(image.locator(".region-box"), "graph version")
    text = experiment.client.document().definitions["arc"].text
    assert re.fullmatch(
        r"azimuthal\(camera, center=\[\d+, \d+\], radii=\d+:[\d.]+, angles=-?\d+:\d+, bins=60\)", text
    )

    page.locator("h1").click()
    page.keyboard.press("g")
    page.get_by_role("button", name="Remove shots").click()
    await_text(page.locator("p.answer.denied"), "test would lose, or begin anew with: shots")
    assert "shots" in experiment.client.document().definitions
    page.get_by_role("button", name="Do it all the same").click()
    wait_until(lambda: "shots" not in experiment.client.document().definitions, what="what was taken")


def test_a_pixel_has_its_exact_value_and_a_layout_is_opened_by_its_link(open_page: Open) -> None:
    page = open_page()
    image = tile(page, "now")
    image.locator(".view").focus()
    page.keyboard.press("ArrowLeft")
    readout = image.locator(".readout")
    await_text(readout, r"row \d+, column \d+: -?\d+\.\d+ counts")
    # What is paused is not asked for: the node has newer ones.
    page.keyboard.press("p")
    page.keyboard.press("ArrowLeft")
    await_text(readout, "≈")

    tile(page, "spread").focus()
    page.keyboard.press("Delete")
    page.locator("h1").click()
    page.keyboard.press("l")
    page.get_by_label("name of the layout").fill("short")
    page.get_by_role("button", name="Save this arrangement").click()
    await_text(page.locator("p.answer.fine"), "saved")
    other = open_page("&layout=short")
    tile(other, "by_delay").wait_for()
    assert not tile(other, "spread").count()
    assert "token" not in other.url


def test_a_hidden_page_takes_what_comes_and_one_whose_daemon_died_comes_back(
    open_page: Open, experiment: Experiment
) -> None:
    page, hidden = open_page(), open_page()
    hidden.evaluate(HIDE)
    before = hidden.evaluate("received")
    # More than may be under way.
    wait_until(lambda: hidden.evaluate("received") > before + 4, what="messages to a page that draws nothing")

    image = tile(page, "now")

    def look() -> str:
        """Return which pixel is at a place of the tile."""
        page.mouse.move(0, 0)
        image.locator(".view").hover(position={"x": 100, "y": 60})
        return str(image.locator(".readout").inner_text().partition(":")[0])

    whole = look()
    image.locator(".view").focus()
    page.keyboard.press("+")
    zoomed = look()
    assert zoomed != whole
    experiment.node.kill("web")
    await_text(page.locator("#connection"), "away")
    await_text(page.locator("#connection"), "connected")
    shots = value(page, "shots")
    wait_until(lambda: value(page, "shots") > shots, what="newer values")
    assert look() == zoomed


def test_what_a_node_answers_is_as_its_openapi_document_says(experiment: Experiment) -> None:
    address = find_page(experiment.client.config, experiment.client.status()).partition("/#")[0]

    def ask(path: str) -> Any:
        with urlopen(address + path, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())

    document = ask("/openapi.json")
    names = {"/api/results/{name}": ("now", "shots", "by_delay"), "/api/results/{name}/pixel": ("now",)}
    asked = 0
    for path in document["paths"]:
        if path in ("/", "/metrics", "/api/results/{name}/file", "/api/layouts/{name}"):
            continue
        query = "?row=1&column=2" if path.endswith("pixel") else ""
        for name in names.get(path, ("shots",)):
            said = ask(path.replace("{name}", name) + query)
            assert not answer_faults(document, path, "GET", 200, said)
            asked += 1
    assert asked > 10
