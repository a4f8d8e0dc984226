"""The viewer and the web page in a real browser.

`DIFFGS_JAX_SCREENSHOTS=docs python -m pytest -m long -n 0 tests/viewing/test_browser.py` also writes the pictures of
the docs.
"""

import io
import os
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason='the app needs pip install "diffgs_jax[app]"')
pytest.importorskip("viser", reason='the viewer needs pip install "diffgs_jax[view]"')

from diffgs_jax.app import AppOptions, served
from diffgs_jax.files import cache_folder
from diffgs_jax.geometry import Cameras, Gaussians, ObjectRig, condition_camera
from diffgs_jax.inference import load
from diffgs_jax.rasterizer import render
from diffgs_jax.viewing import assets, read_viewable, viewer_page, viewer_server

pytestmark = pytest.mark.long
PATIENCE = 1000 * int(os.environ.get("DIFFGS_JAX_PATIENCE", 300))  # milliseconds: software 3D on a busy machine
ASSETS = Path(__file__).parents[2] / "assets"
READERS = Path(os.environ.get("DIFFGS_JAX_READERS") or cache_folder() / "readers")
AXE = READERS / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture
def tab(browser):
    """A page that refuses every other machine, and remembers what went wrong."""
    tab = browser.new_page(viewport={"width": 1280, "height": 1120})
    tab.set_default_timeout(PATIENCE)
    tab.others, tab.errors = [], []

    def guard(route):
        local = route.request.url.startswith(("http://127.0.0.1", "file:", "data:", "blob:"))
        if not local:
            tab.others.append(route.request.url)
        return route.continue_() if local else route.abort()

    tab.route("**/*", guard)
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    yield tab
    tab.close()
    assert tab.others == [] and tab.errors == []


def pixels_of(tab, **clip):
    return np.asarray(Image.open(io.BytesIO(tab.screenshot(**clip))).convert("RGB")).astype(int)


def wait_for_colors(tab, test, **clip):
    """Waits until what is drawn passes a test and has stopped changing (viser fades in), and returns it."""
    before, end = None, time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        now = pixels_of(tab, **clip)
        if before is not None and test(now) and np.abs(now - before).max() < 8:
            return now
        before = now
        tab.wait_for_timeout(1000)
    raise AssertionError("the expected picture did not appear")


def keep(tab, name):
    """Keeps a screenshot for the docs, if asked to."""
    if folder := os.environ.get("DIFFGS_JAX_SCREENSHOTS"):
        Image.open(io.BytesIO(tab.screenshot())).convert("RGB").save(Path(folder) / name, optimize=True)


def close_warnings(tab, frame):
    """Closes the note that 3D is drawn in software, which nobody with a graphics card sees."""
    tab.wait_for_timeout(2000)
    for button in frame.locator(".mantine-Notification-closeButton").all():
        button.click()


def red(pixels):
    return (pixels[..., 0] > pixels[..., 2] + 60) & (pixels[..., 0] > pixels[..., 1] + 60)


def blue(pixels):
    return (pixels[..., 2] > pixels[..., 0] + 60) & (pixels[..., 2] > pixels[..., 1] + 60)


def test_the_viewer_shows_a_splat_upright_and_turns_it(tab, gaussians):
    # From the start camera on +x with z up, +y is to the right: red is right of blue. Raised, red is above as well.
    lifted = gaussians._replace(
        means=gaussians.means + 0.4 * np.sign(gaussians.means[:, 1:2]) * np.asarray([[0, 0, 1]])
    )
    lifted = lifted._replace(means=lifted.means.astype(np.float32))
    with viewer_server(lifted, port=0, title="ball.ply") as server:
        tab.goto(f"http://127.0.0.1:{server.get_port()}")
        seen = wait_for_colors(tab, lambda now: red(now).sum() > 2000 and blue(now).sum() > 2000)
        middle = {name: np.argwhere(kind(seen)).mean(0) for name, kind in (("red", red), ("blue", blue))}
        assert middle["red"][1] > middle["blue"][1] + 100 and middle["red"][0] < middle["blue"][0] - 100
        tab.get_by_text("200 Gaussians").wait_for()

        tab.mouse.move(640, 540)
        tab.mouse.down()
        tab.mouse.move(1100, 540, steps=8)
        tab.mouse.up()
        tab.wait_for_timeout(1500)
        assert np.mean(np.abs(pixels_of(tab) - seen).max(-1) > 40) > 0.02


def test_the_page_shows_what_our_own_rasterizer_renders(tab, gaussians, tmp_path):
    rig = ObjectRig()
    (tmp_path / "viewer.html").write_text(viewer_page(gaussians, rig=rig))
    tab.set_viewport_size({"width": 512, "height": 512})
    tab.goto((tmp_path / "viewer.html").as_uri())
    close_warnings(tab, tab)
    seen = wait_for_colors(tab, lambda now: red(now).sum() > 2000 and blue(now).sum() > 2000)
    on_device = Gaussians(*map(jnp.asarray, gaussians))
    image = render(on_device, Cameras(*map(jnp.asarray, condition_camera(rig))), height=512, width=512).image[0]
    difference = np.abs(255 * np.asarray(image) - seen).mean(-1)
    difference[:80] = 0  # the panel's button
    assert difference[(image < 0.98).any(-1)].mean() < 6 and difference.mean() < 1


def test_the_viewer_shows_a_mesh(tab, tmp_path):
    import trimesh

    mesh = trimesh.creation.box((1, 1, 1))
    mesh.visual = trimesh.visual.TextureVisuals(
        material=trimesh.visual.material.PBRMaterial(baseColorFactor=(200, 20, 20, 255), metallicFactor=0.0)
    )
    mesh.export(tmp_path / "box.glb")
    with viewer_server(read_viewable(tmp_path / "box.glb"), port=0, up="y") as server:
        tab.goto(f"http://127.0.0.1:{server.get_port()}")
        wait_for_colors(tab, lambda now: red(now).sum() > 20_000)
        tab.get_by_text("12 triangles").wait_for()


def test_from_a_picture_to_an_object_that_turns(tab, tmp_path):
    with served(load(), AppOptions(port=0, max_upload=20)) as page:
        tab.goto(page.local_url)
        make = tab.get_by_role("button", name="Make it 3D")

        # A click without a picture, a text file named .png, and 50 MB: one line each
        make.click()
        tab.get_by_text("Choose a picture first").first.wait_for()
        (tmp_path / "text.png").write_text("this is not a picture")
        tab.locator("input[type=file]").first.set_input_files(tmp_path / "text.png")
        tab.wait_for_timeout(3000)
        make.click()
        tab.get_by_text("text.png is").first.wait_for()
        tab.reload()
        make.wait_for()
        (tmp_path / "large.png").write_bytes(bytes(50_000_000))
        tab.locator("input[type=file]").first.set_input_files(tmp_path / "large.png")
        tab.get_by_text("exceed").first.wait_for()
        tab.reload()

        # An example becomes an object
        tab.locator("#examples .gallery-item").nth(0).click()
        tab.locator('[data-testid="image"] img').first.wait_for()
        make.click()
        tab.get_by_text("of 30").first.wait_for()
        tab.locator("iframe.stage").first.wait_for()
        tab.get_by_text("Filming a turn").or_(tab.get_by_text("Making a mesh")).first.wait_for()  # the splat is first
        tab.get_by_text("Gaussians in").first.wait_for()
        for name in ("splat.ply", "splat.spz", "mesh.glb", "turntable.mp4"):
            assert tab.get_by_text(name.split(".")[0]).count()
        frame = tab.frame_locator("iframe.stage").first
        close_warnings(tab, frame)
        box = tab.locator("iframe.stage").first.bounding_box()
        wait_for_colors(tab, lambda now: (now.min(-1) < 200).mean() > 0.05, clip=box)
        tab.get_by_text("Gaussians in").first.wait_for()
        keep(tab, "app.png")
        tab.set_viewport_size({"width": 390, "height": 844})
        tab.wait_for_timeout(3000)
        tab.evaluate("document.querySelector('#picture').scrollIntoView()")
        keep(tab, "app_phone.png")
        tab.set_viewport_size({"width": 1280, "height": 1120})
        tab.evaluate("window.scrollTo(0, 0)")
        tab.wait_for_timeout(3000)
        box = tab.locator("iframe.stage").first.bounding_box()

        # It turns, and so does the mesh
        before = pixels_of(tab, clip=box)
        tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        tab.mouse.down()
        tab.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] / 2, steps=8)
        tab.mouse.up()
        tab.wait_for_timeout(2000)
        assert np.mean(np.abs(pixels_of(tab, clip=box) - before).max(-1) > 20) > 0.02
        tab.get_by_role("tab", name="Mesh").click()
        wait_for_colors(tab, lambda now: (now.min(-1) < 200).mean() > 0.05, clip=box)

        with tab.expect_download() as download:
            tab.locator('a[download="splat.ply"]').first.click()
        assert download.value.path().stat().st_size > 1000


@pytest.fixture
def slow_page(fake_pipeline, no_rendering, monkeypatch):
    """A model that takes twelve seconds, and films and meshes that take none."""
    monkeypatch.setattr(type(fake_pipeline), "seconds", 12.0)
    with served(fake_pipeline, AppOptions(port=0), warm=False) as page:
        yield page


def choose_the_first_example(tab):
    tab.locator("#examples .gallery-item").nth(0).click()
    tab.locator('[data-testid="image"] img').first.wait_for()


def test_cancelling_frees_the_line(tab, slow_page, fake_pipeline):
    tab.goto(slow_page.local_url)
    choose_the_first_example(tab)
    make, cancel = tab.locator("#make"), tab.get_by_role("button", name="Cancel")
    assert not cancel.is_visible() and make.is_enabled()
    make.click()
    tab.get_by_text("Denoising").first.wait_for()
    assert make.is_disabled() and cancel.is_visible()
    cancel.click()
    tab.get_by_text("Cancelled.").wait_for()
    assert make.is_enabled() and not cancel.is_visible()
    type(fake_pipeline).seconds = 0.0
    make.click()
    tab.get_by_text("Gaussians in").first.wait_for()
    assert fake_pipeline.finished == [0] and len(fake_pipeline.calls) == 2  # the first came to no end
    make.click(trial=True)  # it is there to be clicked again


def test_the_splat_is_on_the_page_within_two_seconds_of_the_last_step(tab, fake_pipeline, no_rendering, monkeypatch):
    """Of as many Gaussians as the bundled model makes, all of them visible; the film and the mesh come after it."""

    def page_of(viewable, **options):
        return "<!doctype html>a mesh" if viewable is None else viewer_page(viewable, **options)

    monkeypatch.setattr(assets, "viewer_page", page_of)
    ended = []
    sample = type(fake_pipeline).__call__

    def timed(*arguments, **options):
        result = sample(*arguments, **options)
        ended.append(time.monotonic())
        return result

    monkeypatch.setattr(type(fake_pipeline), "__call__", timed)
    monkeypatch.setattr(type(fake_pipeline), "count", 16_386)
    with served(fake_pipeline, AppOptions(port=0), warm=False) as page:
        for _ in range(2):  # the command is warm before the first visitor comes
            tab.goto(page.local_url)
            choose_the_first_example(tab)
            tab.locator("#make").click()
            tab.locator("iframe.stage").first.wait_for()
            seconds = time.monotonic() - ended[-1]
            tab.get_by_text("Gaussians in").first.wait_for()
    print(f"the splat was on the page after {seconds:.2f} s")
    assert seconds < 2.0


def test_an_error_gives_the_button_back(tab, slow_page, tmp_path):
    tab.goto(slow_page.local_url)
    make = tab.locator("#make")
    make.click()
    tab.get_by_role("alert").get_by_text("Choose a picture first").first.wait_for()
    make.click(trial=True)


@pytest.mark.parametrize("width", [390, 1280])
def test_layout_names_and_contrast(tab, width, fake_pipeline, monkeypatch, no_rendering):
    """On a phone picture, button and splat are in order and fit the width; axe finds nothing serious."""
    viewport = {"width": width, "height": 844}
    tab.set_viewport_size(viewport)
    with served(fake_pipeline, AppOptions(port=0), warm=False) as page:
        tab.goto(page.local_url)
        choose_the_first_example(tab)
        tab.locator("#make").click()
        tab.get_by_text("Gaussians in").first.wait_for()
        tab.locator("iframe.stage").first.wait_for()
        boxes = [tab.locator(name).first.bounding_box() for name in ("#picture", "#make", "iframe.stage")]
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        for box in boxes:
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
        if width == 390:
            tops = [box["y"] for box in boxes]
            assert tops == sorted(tops) and boxes[2]["width"] > 330
            assert boxes[2]["y"] - (boxes[1]["y"] + boxes[1]["height"]) < 160  # right under the button
        for number in range(2):
            assert (
                tab.locator("#examples button.gallery-item")
                .nth(number)
                .get_attribute("aria-label")
                .startswith("Example")
            )
        if not AXE.exists():
            pytest.skip(f"no axe-core at {AXE}: run scripts/fetch_readers.sh")
        tab.add_script_tag(path=AXE)
        found = tab.evaluate("axe.run(document, {resultTypes: ['violations'], iframes: false})")["violations"]
        serious = [
            (fault["id"], [node["html"][:200] for node in fault["nodes"]])
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_the_viewing_command_on_a_sample(tab, tmp_path):
    result = load()(ASSETS / "example.png", seed=1)
    result.save_ply(tmp_path / "gaussians.ply")
    with viewer_server(read_viewable(tmp_path / "gaussians.ply"), port=0, title="gaussians.ply") as server:
        tab.set_viewport_size({"width": 1280, "height": 800})
        tab.goto(f"http://127.0.0.1:{server.get_port()}")
        close_warnings(tab, tab)
        wait_for_colors(tab, lambda now: (now.min(-1) < 200).mean() > 0.05)
        keep(tab, "view.png")
