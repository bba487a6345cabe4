"""The stepper in a real browser: every step, the keys, what hovering highlights, and narrow windows."""

import html
import shutil

import numpy as np
import pytest

import minires as mr
from minires.explain import block_loss, step

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install '.[test]'")
pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"there is no Chromium (none of {', '.join(BROWSERS)}): apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, timeout=180_000)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def stepper():
    found = block_loss()
    return step(found.loss, found.network, {"x": found.x, "loss": found.loss})


@pytest.fixture
def show(browser, tmp_path):
    """``show(stepper)`` opens its page; the test fails if the page complains or asks the network for anything."""
    contexts, complaints, requests = [], [], []

    def open_page(text, width=1200, height=800, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        file = tmp_path / "step.html"
        file.write_text(text, encoding="utf-8")
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert len(requests) == len(contexts) and all(url.endswith("step.html") for url in requests)


def state(page):
    return page.evaluate("({...document.body.dataset})")


def go(page, stepper, name, phase="forward"):
    number = [node.name for node in stepper.tape.nodes].index(name)
    count = len(stepper.tape.nodes)
    page.select_option("#goto", str(number if phase == "forward" else 2 * count - 1 - number))


def test_the_arrow_keys_walk_through_every_node_forward_and_back(show, stepper):
    page, nodes = show(stepper.html), stepper.tape.nodes
    walked = []
    for _ in range(2 * len(nodes)):
        walked.append(state(page) | {"heading": page.inner_text("h2"), "norm": None})
        if walked[-1]["phase"] == "backward":
            walked[-1]["norm"] = page.locator("#gradient-norm").inner_text()
        page.keyboard.press("ArrowRight")
    numbers = [int(at["node"]) for at in walked]
    assert numbers == [*range(len(nodes)), *reversed(range(len(nodes)))]
    assert [at["phase"] for at in walked] == ["forward"] * len(nodes) + ["backward"] * len(nodes)
    assert state(page)["step"] == str(2 * len(nodes) - 1), "the last step is where it ends"
    for at in walked:
        assert at["heading"].split()[0] == nodes[int(at["node"])].name
        if at["norm"] is not None:
            norm = np.linalg.norm(nodes[int(at["node"])].gradient.astype(float))
            assert float(at["norm"]) == pytest.approx(norm, rel=1e-6)
    page.keyboard.press("ArrowLeft")
    assert state(page)["step"] == str(2 * len(nodes) - 2)
    page.keyboard.press("Home")
    assert state(page)["step"] == "0"
    page.keyboard.press("ArrowLeft")
    assert state(page)["step"] == "0"
    page.keyboard.press("End")
    assert state(page)["step"] == str(2 * len(nodes) - 1)
    page.keyboard.press("t")
    assert state(page)["step"] == "0" and state(page)["phase"] == "forward"


def test_the_norms_are_those_of_pythons_own_backward(show):
    found = block_loss(seed=3)
    stepper = step(found.loss, found.network, {"x": found.x})
    page = show(stepper.html)
    with mr.engine("textbook"):
        found.loss.backward()
    for name, tensor in [("x", found.x), *found.network.named_parameters()]:
        if tensor.grad is not None:  # that of the layers that were cut off stays None
            go(page, stepper, name, "backward")
            shown = float(page.locator("#gradient-norm").inner_text())
            assert shown == pytest.approx(np.linalg.norm(tensor.grad.numpy().astype(float)), rel=1e-6)


def test_the_join_shows_the_event_and_both_norms(show, stepper):
    page = show(stepper.html)
    go(page, stepper, "relu_1", "backward")
    rows = page.locator(".arrivals li").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["=", "+="]
    assert "shortcut" in rows[0] and "F norm" in rows[1]
    nodes = stepper.tape.nodes
    for row, arrival in zip(rows, nodes[6].arrivals, strict=True):
        norm = np.linalg.norm(nodes[arrival.consumer].inputs[arrival.input].gradient)
        assert float(row.split()[-1]) == pytest.approx(norm, rel=1e-3)
    assert page.locator(".badge.shown").count() == 1
    assert "2 gradients are added up: shortcut with norm" in page.locator("#announcement").inner_text()
    go(page, stepper, "layer1.0.conv1", "backward")
    assert "+= is added to the gradient of relu_1" in page.locator(".card").first.inner_text()


def test_unbroadcast_shows_both_shapes(show, stepper):
    page = show(stepper.html)
    go(page, stepper, "bn1", "backward")
    assert page.locator(".unbroadcast").count() == 2
    assert "1x16x8x8 summed to 16" in page.locator(".unbroadcast").first.inner_text()


def test_a_column_lights_its_pixels_and_a_pixel_its_columns(show):
    """The pixels are numbered, so im2col shows where each number came from; zeros are the padding."""
    x = mr.tensor(np.arange(1.0, 145.0).reshape(1, 2, 8, 9), requires_grad=True)
    cols = mr.ops.im2col(x, (3, 2), stride=(2, 3), padding=(1, 0), dilation=(2, 3))
    columns = cols.numpy().reshape(6, 12).T  # (C*KH*KW, OH*OW), as the page draws them
    page = show(step(cols.sum()).html)
    page.keyboard.press("ArrowRight")
    view = page.locator(".columns")
    image, matrix, words = view.locator(".image").first, view.locator(".image").last, view.locator(".words")
    cell = matrix.evaluate("element => element.offsetWidth") / 6
    pixel = (image.evaluate("element => element.offsetWidth") - 4) / 18  # two channels side by side, and a gap

    def lit(where, kind, size):
        """The positions of the marks, as [row, column]."""
        places = "marks => marks.map(mark => [mark.y.baseVal.value, mark.x.baseVal.value])"
        marks = where.locator(f".overlay .{kind}").evaluate_all(places)
        return (np.reshape(marks, (-1, 2)) / size).round().tolist()

    def drawn(number):
        """Where a pixel is in the image: the second channel is right of the first."""
        ((c, row, column),) = np.argwhere(x.numpy()[0] == number)
        return [row, column + c * (9 + 4 / pixel)]

    for k, p in [(0, 0), (3, 1), (7, 2), (10, 5), (11, 3)]:
        matrix.hover(position={"x": (p + 0.5) * cell, "y": (k + 0.5) * cell})
        pixels, exact = columns[:, p][columns[:, p] > 0], columns[k, p]
        marks = lit(image, "exact", pixel) + lit(image, "lit", pixel)
        assert sorted(marks) == sorted(np.round(drawn(number)).tolist() for number in pixels)
        said = words.inner_text()
        assert f"Column {p} is the window of output pixel ({p // 2}, {p % 2}): {len(pixels)} pixels" in said
        where = f"x[0, {', '.join(map(str, *np.argwhere(x.numpy()[0] == exact)))}]" if exact else "0, of the padding"
        assert f"Number {k} in it is {where}" in said
        assert (f"and {12 - len(pixels)} zeros of the padding" in said) == (len(pixels) < 12)

    for number in (1, 31, 50, 130):
        row, column = drawn(number)
        image.hover(position={"x": (column + 0.5) * pixel, "y": (row + 0.5) * pixel})
        copies = np.argwhere(columns == number).tolist()
        assert sorted(lit(matrix, "exact", cell)) == copies
        assert f"is copied {'once' if len(copies) == 1 else f'{len(copies)} times'}" in words.inner_text()

    view.locator(".by-column").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert "Column 1 is the window of output pixel (0, 1)" in words.inner_text()
    assert state(page)["step"] == "1", "a slider keeps its keys"


def test_a_heat_map_says_what_is_under_the_pointer(show):
    x = mr.tensor([[1.5, -2.25], [float("nan"), 0.0]], requires_grad=True)
    page = show(step((x * 2).sum()).html)
    image = page.locator("#detail .image").first
    said = []
    for row in range(2):
        for column in range(2):
            width = image.evaluate("element => element.offsetWidth")
            image.hover(position={"x": (column + 0.5) * width / 2, "y": (row + 0.5) * width / 2})
            said.append(page.locator(".readout").first.inner_text())
    assert [" ".join(words.split()) for words in said] == [
        "[0, 0] 1.5",
        "[0, 1] \N{MINUS SIGN}2.25",
        "[1, 0] NaN",
        "[1, 1] 0",
    ]


def test_screen_readers_are_told(show, stepper):
    page = show(stepper.html)
    go(page, stepper, "layer1.0.conv1")
    assert page.locator("#announcement").get_attribute("aria-live") == "polite"
    assert page.locator("#announcement").inner_text() == "Forward 9 of 24: layer1.0.conv1, conv2d, 1x16x8x8."
    unnamed = page.evaluate(
        "[...document.querySelectorAll('canvas, button, select, input, #tape > svg')]"
        ".filter(e => !(e.getAttribute('aria-label') || e.innerText || e.labels?.length)).length"
    )
    assert unnamed == 0
    page.locator(".turn").focus()
    page.keyboard.press("Enter")
    assert state(page)["phase"] == "backward"
    assert page.evaluate("document.activeElement.tagName") == "H2", "the focus is not lost with what had it"


def test_a_narrow_window_does_not_scroll_sideways(show, stepper):
    page = show(stepper.html, width=360, height=740)
    for name, phase in [("x", "forward"), ("layer1.0.conv1", "forward"), ("relu_1", "backward"), ("fc", "backward")]:
        go(page, stepper, name, phase)
        assert page.evaluate("document.documentElement.scrollWidth") == 360, name
        sticking_out = page.evaluate(
            "[...document.querySelectorAll('#detail h2, #detail p, button, select, summary, .card')]"
            ".filter(e => e.getBoundingClientRect().right > 360).length"
        )
        assert sticking_out == 0, name


def test_dark_mode_and_reduced_motion(show, stepper):
    light, dark = show(stepper.html), show(stepper.html, color_scheme="dark", reduced_motion="reduce")
    background = "getComputedStyle(document.body).backgroundColor"
    assert light.evaluate(background) == "rgb(255, 255, 255)" != dark.evaluate(background)
    colour = "css(colourOf(0, 1))"
    assert light.evaluate(colour) != dark.evaluate(colour)
    for page in (light, dark):
        go(page, stepper, "relu_1", "backward")
    animation = "getComputedStyle(document.querySelector('.join')).animationName"
    assert (light.evaluate(animation), dark.evaluate(animation)) == ("flash", "none")


def test_the_frame_of_a_notebook_works_in_its_sandbox(show, stepper):
    page = show(f"<!doctype html><link rel=icon href='data:,'>{stepper._repr_html_()}")
    frame = page.frame_locator("iframe")
    frame.locator("h2").click()
    page.keyboard.press("ArrowRight")
    assert frame.locator("h2").inner_text().startswith("conv1.weight")
    frame.locator("#last").click()
    assert frame.locator("#gradient-norm").count() == 1


def test_hostile_names_do_nothing(show):
    name = "</script><img src=x onerror=alert(1)>"
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    page = show(step((x * x).sum(), names={name: x}).html)
    assert page.locator("h2").inner_text().startswith(name)
    assert page.locator("img").count() == 0 and html.escape(name) in page.inner_html("h2")


def test_what_was_freed_is_said(show, rng):
    x = mr.tensor(rng.normal(size=(2, 3)), requires_grad=True)
    page = show(step(mr.ops.exp(x + 1).sum(), names={}).html)
    page.keyboard.press("ArrowRight")
    assert "freed after the forward pass" in page.inner_text("#detail")
