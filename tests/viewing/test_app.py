"""The web page without a browser: requests as gradio's own client and plain HTTP send them."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid

import numpy as np
import pytest
from PIL import Image

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # of gradio's client, which is imported here before the app
pytest.importorskip("gradio", reason='the app needs pip install "diffgs_jax[app]"')
pytest.importorskip("viser", reason='the app needs pip install "diffgs_jax[app]"')

import gradio_client
from gradio_client.exceptions import AppError

from diffgs_jax.app import AppOptions, _warm_up, main, served
from diffgs_jax.errors import UserError
from diffgs_jax.inference import InputOptions, SamplingOptions
from diffgs_jax.interop import read_gaussians

SETTINGS = {"seed": 3, "steps": 4, "sampler": "dpm", "elevation": 10, "guidance": 1.5, "mesh": True}


@pytest.fixture
def page(fake_pipeline, no_rendering):
    with served(fake_pipeline, AppOptions(port=0, waiting=12, max_upload=2), warm=False) as page:
        yield page


@pytest.fixture
def client(page, tmp_path):
    client = gradio_client.Client(page.local_url, verbose=False, download_files=str(tmp_path / "downloads"))
    yield client
    client.close()


def ask(client, picture, **settings):
    return client.predict(gradio_client.handle_file(str(picture)), **SETTINGS | settings, api_name="/make")


def upload(page, name, content):
    """Posts a file as a browser does and returns where the server put it."""
    mark = uuid.uuid4().hex
    body = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    request = urllib.request.Request(
        f"{page.local_url}gradio_api/upload",
        body + content + f"\r\n--{mark}--\r\n".encode(),
        {"Content-Type": f"multipart/form-data; boundary={mark}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)[0]


def join(page, path, session, seed=0, steps=4):
    """Puts a request into the line without following it; returns what tells about it."""
    picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
    number = next(key for key, function in page.fns.items() if function.api_name == "make")
    event = {"data": [picture, seed, steps, "ddim", 20, 1, False], "fn_index": number, "session_hash": session}
    request = urllib.request.Request(
        f"{page.local_url}gradio_api/queue/join", json.dumps(event).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60):
        return urllib.request.urlopen(f"{page.local_url}gradio_api/queue/data?session_hash={session}", timeout=60)


def messages(stream):
    for line in stream:
        if line.startswith(b"data:"):
            yield json.loads(line[5:])


def test_a_picture_becomes_files(client, picture, fake_pipeline):
    told, splat, mesh, film, views, files = ask(client, picture)
    assert "200 Gaussians" in told
    assert "<iframe" in splat and "&lt;!doctype html&gt;a viewer" in splat and "<iframe" in mesh
    assert [pathlib.Path(path).suffix for path in files] == [".ply", ".spz", ".splat", ".mp4", ".glb", ".html"]
    assert len(read_gaussians(files[0]).means) == 200
    assert pathlib.Path(views).read_bytes().startswith(b"\x89PNG")
    sampling = SamplingOptions(steps=4, sampler="dpm", guidance=(1.5,), seed=3)
    assert fake_pipeline.calls == [(InputOptions(elevation=10.0), sampling)]


def test_progress_is_told(client, picture, monkeypatch, fake_pipeline):
    monkeypatch.setattr(type(fake_pipeline), "seconds", 1.0)
    job = client.submit(gradio_client.handle_file(str(picture)), **SETTINGS, api_name="/make")
    job.result(60)
    told = [output[0] for output in job.outputs()]
    assert any("Denoising" in text and "2 of 4" in text for text in told)
    assert any("Filming" in text for text in told)


def test_no_mesh_where_none_was_asked_for(client, picture):
    _, _, mesh, _, _, files = ask(client, picture, mesh=False)
    assert "<iframe" not in mesh and not any(path.endswith(".glb") for path in files)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.png", b"this is not a picture at all\n", "text.png is"),
        ("cut.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "cut.png"),
        ("empty.png", b"", "empty.png"),
    ],
)
def test_a_bad_picture_is_one_line_and_the_next_one_works(client, picture, tmp_path, capfd, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AppError) as caught:
        ask(client, tmp_path / name)
    message = str(caught.value)
    assert words in message and "\n" not in message and "/" not in message.replace("3D/", "")
    assert "Traceback" not in capfd.readouterr().err
    ask(client, picture)


def test_a_bad_setting_is_one_line(client, picture):
    with pytest.raises(AppError, match="greater than maximum value 80"):
        ask(client, picture, elevation=1000)
    with pytest.raises(AppError, match="seed must be a whole number"):
        ask(client, picture, seed=None)


def test_the_splat_comes_first_then_the_film_then_the_mesh(client, picture, fake_pipeline):
    job = client.submit(gradio_client.handle_file(str(picture)), **SETTINGS, api_name="/make")
    job.result(60)

    def first(place, wanted):
        return next(index for index, output in enumerate(job.outputs()) if wanted(output[place]))

    splat = first(1, lambda content: isinstance(content, str) and "<iframe" in content)
    film = first(3, lambda content: content is not None and "turntable" in str(content))
    mesh = first(2, lambda content: isinstance(content, str) and "<iframe" in content)
    assert splat < film <= mesh
    between = job.outputs()[splat + 1 : -1]
    assert not any(
        "a viewer" in str(output[1]) for output in between
    )  # a megabyte, sent when it is there and at the end


def test_settings_are_those_that_change_something(fake_pipeline, no_rendering, monkeypatch):
    """A model that takes no steps has no seed, and no sampler."""
    monkeypatch.setattr(type(fake_pipeline), "sampler_kinds", ())
    with served(fake_pipeline, AppOptions(port=0), warm=False) as page:
        parts = [part["props"] for part in page.config["components"]]
        seen = {part["label"]: part["visible"] for part in parts if "label" in part}
        assert [seen[label] for label in ("Seed", "Denoising steps", "Sampler")] == [False] * 3
        assert seen["Elevation"] and seen["Make a mesh, too"]


def test_a_model_of_four_pictures_has_four_fields(fake_pipeline, no_rendering, monkeypatch, picture, tmp_path):
    needs = dataclasses.replace(fake_pipeline.requirements, condition_views=(4, 4))
    monkeypatch.setitem(fake_pipeline.__dict__, "requirements", needs)
    with served(fake_pipeline, AppOptions(port=0), warm=False) as page:
        client = gradio_client.Client(page.local_url, verbose=False, download_files=str(tmp_path / "downloads"))
        given = [gradio_client.handle_file(str(picture))] * 4
        told, *_ = client.predict(*given, **SETTINGS, api_name="/make")
        assert "200 Gaussians" in told
        with pytest.raises(AppError, match="this model needs all four"):
            client.predict(*given[:3], None, **SETTINGS, api_name="/make")
        (tmp_path / "text.png").write_bytes(b"this is not a picture")
        with pytest.raises(AppError, match="text.png is"):
            client.predict(
                *given[:3], gradio_client.handle_file(str(tmp_path / "text.png")), **SETTINGS, api_name="/make"
            )
        client.close()


def test_errors_are_in_the_pages_own_words(client, tmp_path):
    """A photograph's background is busy; the command line would advise options that the page does not have."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    with pytest.raises(AppError) as caught:
        ask(client, tmp_path / "photo.png")
    told = str(caught.value)
    assert told.startswith("This picture cannot be used: photo.png has a busy background: give a cut-out")
    assert told.endswith("in front of one plain colour.") and "--" not in told


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_documentation_of_the_endpoint(page, tmp_path, monkeypatch, capsys, fake_pipeline):
    """Its Python and its curl example, run as they stand, at this page's address."""
    root = pathlib.Path(__file__).parents[2]
    text = (root / "docs" / "web-page.md").read_text()
    blocks = re.findall(r"^```(python|bash)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    (python,) = [block for kind, block in blocks if kind == "python"]
    (curl,) = [block for kind, block in blocks if kind == "bash" and "curl" in block]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assets").mkdir()
    shutil.copy(root / "assets" / "example.png", tmp_path / "assets")
    address = page.local_url.rstrip("/")
    exec(compile(python.replace("http://127.0.0.1:7860", address), "docs/web-page.md", "exec"), {})
    assert "splat.ply" in capsys.readouterr().out
    subprocess.run(["bash", "-eu", "-c", curl.replace("http://127.0.0.1:7860", address)], check=True, timeout=120)
    assert len(read_gaussians(tmp_path / "splat.ply").means) == 200
    assert len(fake_pipeline.finished) == 2


def test_no_picture(client):
    with pytest.raises(AppError, match="Choose a picture"):
        client.predict(None, **SETTINGS, api_name="/make")


@pytest.mark.slow
def test_a_model_of_any_number_of_views_takes_none_one_or_several(fake_pipeline, no_rendering, picture, tmp_path):
    model = dataclasses.replace(fake_pipeline.config.model, condition_views=(0, 4))
    several = dataclasses.replace(fake_pipeline, config=dataclasses.replace(fake_pipeline.config, model=model))
    listing = tmp_path / "transforms.json"
    listing.write_text(json.dumps({"camera_angle_x": 0.8, "frames": [{"file_path": "a/red.png"}]}))
    with served(several, AppOptions(port=0), warm=False) as page:
        client = gradio_client.Client(page.local_url, verbose=False, download_files=str(tmp_path / "downloads"))
        client.predict(None, **SETTINGS, posed=None, api_name="/make")
        client.predict(gradio_client.handle_file(str(picture)), **SETTINGS, posed=None, api_name="/make")
        files = [gradio_client.handle_file(str(path)) for path in (listing, picture)]
        client.predict(None, **SETTINGS, posed=files, api_name="/make")
        client.close()
    none, one, many = several.given
    assert none is None and one.suffix == ".png" and many.name == "transforms.json"


def test_an_upload_of_50_megabytes_is_refused_and_the_next_one_works(page, client, picture):
    with pytest.raises(urllib.error.URLError) as caught:
        upload(page, "large.png", bytes(50_000_000))
    # The server answers as soon as it is too much and listens no longer, which a sender may notice first.
    assert getattr(caught.value, "code", None) == 413 or isinstance(caught.value.reason, ConnectionError)
    ask(client, picture)


def test_files_elsewhere_cannot_be_named(page, fake_pipeline):
    outside = pathlib.Path(__file__).absolute()
    stream = join(page, str(outside), "thief")
    last = [message for message in messages(stream) if message["msg"] == "process_completed"][0]
    assert not last["success"] and fake_pipeline.calls == []


@pytest.mark.slow
def test_ten_requests_wait_for_each_other(client, picture, fake_pipeline):
    jobs = [
        client.submit(gradio_client.handle_file(str(picture)), **SETTINGS | {"seed": seed}, api_name="/make")
        for seed in range(10)
    ]
    for job in jobs:
        assert "200 Gaussians" in job.result(120)[0]
    assert sorted(fake_pipeline.finished) == list(range(10))


def test_a_full_line_is_told(page, picture, monkeypatch, fake_pipeline):
    monkeypatch.setattr(type(fake_pipeline), "seconds", 3.0)
    path = upload(page, "red.png", picture.read_bytes())
    with contextlib.ExitStack() as streams:
        with pytest.raises(urllib.error.HTTPError) as caught:
            for number in range(20):
                streams.enter_context(join(page, path, f"visitor{number}"))
        assert caught.value.code == 503 and b"full" in caught.value.read()


def test_a_client_that_leaves_midway_frees_the_model(page, client, picture, monkeypatch, fake_pipeline):
    monkeypatch.setattr(type(fake_pipeline), "seconds", 100.0)
    path = upload(page, "red.png", picture.read_bytes())
    stream = join(page, path, "leaver", seed=7, steps=100)
    for message in messages(stream):
        if message["msg"] == "process_generating" and fake_pipeline.calls:
            break
    stream.close()
    monkeypatch.setattr(type(fake_pipeline), "seconds", 0.0)
    ask(client, picture)
    assert fake_pipeline.finished == [3]  # the job that was left came to no end


def test_nothing_stays_on_the_disk(fake_pipeline, no_rendering, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with served(fake_pipeline, AppOptions(port=0), warm=True) as page:
        client = gradio_client.Client(page.local_url, verbose=False, download_files=str(tmp_path / "downloads"))
        ask(client, picture)
        [folder] = (tmp_path / "temporary").glob("diffgs-app-*")
        assert [path.name for path in folder.iterdir()] == ["cache"]  # the job's own folder is gone already
        client.close()
    assert list((tmp_path / "temporary").glob("diffgs-app-*")) == []


def test_no_other_machine_is_asked(fake_pipeline, no_rendering, picture, tmp_path, monkeypatch):
    asked, resolve = [], socket.getaddrinfo

    def guarded(host, *rest, **more):
        if host not in ("127.0.0.1", "localhost", "::1", None, b"127.0.0.1"):
            asked.append(host)
            raise socket.gaierror("no network in this test")
        return resolve(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", guarded)
    with served(fake_pipeline, AppOptions(port=0), warm=False) as page:
        client = gradio_client.Client(page.local_url, verbose=False, download_files=str(tmp_path / "downloads"))
        ask(client, picture)
        client.close()
    assert asked == []


def test_names_of_other_machines_are_refused(page):
    with pytest.raises(urllib.error.HTTPError, match="421"):
        urllib.request.urlopen(urllib.request.Request(page.local_url, headers={"Host": "evil.example"}), timeout=20)


@pytest.mark.long
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_no_files_are_left_after_a_signal(name, tmp_path):
    """The real command, killed while it compiles its programs."""
    places = {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "diffgs_jax.app", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | places)
    assert "Picture to 3D at" in process.stdout.readline()
    assert list(tmp_path.glob("diffgs-app-*"))
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=300) == 0
    assert not list(tmp_path.glob("diffgs-app-*"))


def test_options_are_checked_before_anything_starts(fake_pipeline):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for options in (AppOptions(port=port), AppOptions(port=0, waiting=0), AppOptions(port=0, max_upload=0)):
            with pytest.raises(UserError), served(fake_pipeline, options):
                pass


def test_one_line_without_gradio(fake_pipeline, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "diffgs_jax.viewing.page", raising=False)
    with pytest.raises(UserError, match=r'pip install "diffgs_jax\[app\]"'), served(fake_pipeline, AppOptions(port=0)):
        pass


def test_the_command_line_reports_in_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--checkpoint", "no/such/folder"])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1


def test_importing_the_page_wrote_no_files(page):
    from diffgs_jax.viewing import page as module

    written = {path.name for path in pathlib.Path(module.__file__).parent.glob("*.pyi")} - {"__init__.pyi"}  # ours
    assert not written  # gradio writes them for some subclasses


def test_warming_up_samples_once_and_leaves_nothing(fake_pipeline, no_rendering, tmp_path, capsys):
    _warm_up(fake_pipeline, tmp_path, lambda progress: None)
    assert fake_pipeline.finished == [0] and list(tmp_path.iterdir()) == []
    _warm_up(fake_pipeline, tmp_path / "missing", lambda progress: None)
    assert "warning" in capsys.readouterr().err
