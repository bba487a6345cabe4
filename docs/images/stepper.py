"""Draw docs/images/stepper.png: the stepper's page of one residual block, at the node where its paths part."""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from minires.explain import block_loss, step

HERE = Path(__file__).parent

example = block_loss("resnet8", "digits", seed=0)
stepper = step(example.loss, example.network, {"x": example.x, "loss": example.loss})
fork = next(number for number, node in enumerate(stepper.tape.nodes) if len(node.arrivals) > 1)

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
    page = browser.new_page(viewport={"width": 1200, "height": 700})
    page.set_content(stepper.html)
    page.select_option("#goto", str(2 * len(stepper.tape.nodes) - 1 - fork))
    page.screenshot(path=HERE / "stepper.png", animations="disabled")
    browser.close()
