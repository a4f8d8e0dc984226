import numpy as np
import pytest

from diffgs_jax import evaluation
from diffgs_jax.data import Record, encode_record, open_store, to_scene_frame
from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.maps import encode_depth
from diffgs_jax.data.store import write_store
from diffgs_jax.datasets import EvaluationViews
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import SCENE, Cameras

SIZE = 16


@pytest.fixture
def store(tmp_path):
    """Two walks of six frames; a frame's grey tells its number, its depth is ten times as much, and an object."""
    poses = np.tile(np.eye(4, dtype=np.float32), (6, 1, 1))
    poses[:, 0, 3] = np.arange(6) * 0.5
    poses[:, 2, 3] = 7.0
    cameras = Cameras(poses, np.tile(np.float32([0.9, 0.9, 0.5, 0.5]), (6, 1)))

    def record(uid, domain):
        grey = (np.arange(6) * 40).astype(np.uint8)
        images = [encode_webp(np.uint8([value] * 3 + [255]) * np.ones((SIZE, SIZE, 1), np.uint8)) for value in grey]
        depth = encode_depth(np.arange(1, 7)[:, None, None] * np.ones((6, 2 * SIZE, 2 * SIZE)))
        return uid, lambda: encode_record(Record(uid, domain, images, cameras, {"depth": depth}))

    records = [record("walk/1", "scene"), record("walk/2", "scene"), record("chair", "object")]
    write_store(tmp_path / "data", {"train": [], "test": records}, {"name": "walks"})
    return open_store(tmp_path / "data", "test")


def test_the_first_context_frame_is_shown_and_targets_are_denoised_and_scored(store):
    index = {"walk/2": EvaluationViews((1, 5), (2, 4, 3)), "elsewhere": EvaluationViews((0,), (1,))}
    (scene,) = evaluation.load_scenes(store, index, SIZE, frame="mean_camera", extent=0.5)
    assert scene.uid == "walk/2" and scene.condition == 0 and scene.domain == SCENE
    np.testing.assert_allclose(scene.images[:, 0, 0, 0] * 255, [40, 80, 160, 120], atol=3)
    # Four cameras in a row, 0.5 apart, the mean of them at the origin, the outermost at 0.5: lengths grow by 2/3.
    expected, scale = to_scene_frame(store[1].cameras.camera_to_world[[1, 2, 4, 3]], 4, frame="mean_camera", extent=0.5)
    assert scale == pytest.approx(0.5 / 0.75)
    np.testing.assert_allclose(scene.cameras.camera_to_world, expected, atol=1e-6)
    np.testing.assert_allclose(scene.depths[:, 0, 0], np.asarray([2, 3, 5, 4]) * scale, rtol=1e-3)
    np.testing.assert_array_equal(scene.denoised.camera_to_world, scene.cameras.camera_to_world[1:])

    cases = evaluation.make_cases([scene])
    np.testing.assert_array_equal(cases.condition_cameras.camera_to_world[0], scene.cameras.camera_to_world[0])
    asked = evaluation.request_views(
        cases.condition_images, cases.condition_cameras, cases.denoised_cameras, SIZE, cases.domain
    )
    poses = [asked.condition.cameras.camera_to_world[0], asked.cameras.camera_to_world[0]]
    np.testing.assert_array_equal(np.concatenate(poses), scene.cameras.camera_to_world)
    np.testing.assert_array_equal(asked.condition.is_condition, [[True]])
    assert asked.domain.tolist() == [SCENE]


def test_scenes_are_scored_without_boxes_and_silhouettes(store):
    index = {f"walk/{i}": EvaluationViews((0, 5), (1, 2)) for i in (1, 2)}
    scenes = evaluation.load_scenes(store, index, SIZE)

    def paint(cases):
        image, alpha = cases.target_images, np.ones(cases.target_images.shape[:-1], np.float32)
        return evaluation.ViewImages(image, alpha, cases.target_depths * np.float32(1.1))

    row = evaluation.evaluate_views(paint, scenes, evaluation.ProtocolConfig())
    means = evaluation.mean_scores(row.scores)
    assert set(means) == {"psnr", "ssim", "depth_error", "consistency"}
    assert means["psnr"] == evaluation.PSNR_LIMIT and means["depth_error"] == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"elsewhere": EvaluationViews((0,), (1,))}, "none of the 3 records"),
        ({"walk/1": EvaluationViews((0,), (6,))}, "6 views; the index asks for the frames"),
        ({"chair": EvaluationViews((0,), (1,))}, "is a object"),
        (
            {"walk/1": EvaluationViews((0,), (1,)), "walk/2": EvaluationViews((0,), (1, 2))},
            "walk/2 has 2 targets",
        ),
    ],
)
def test_an_index_that_does_not_fit_is_refused(store, index, message):
    with pytest.raises(DataError, match=message):
        evaluation.load_scenes(store, index, SIZE)


def test_chosen_views_of_objects_are_shown_and_asked_for(store):
    (item,) = evaluation.load_objects(store, SIZE, [2], condition_view=3, target_views=[5, 1, 3, 0])
    np.testing.assert_allclose(item.images[:, 0, 0, 0] * 255, [0, 40, 120, 200], atol=3)
    assert item.condition == 2 and item.depths.shape == (4, SIZE, SIZE)
    (item,) = evaluation.load_objects(store, SIZE, [2], condition_view=0, max_views=2)
    np.testing.assert_allclose(item.images[:, 0, 0, 0] * 255, [0, 40, 120], atol=3)
    with pytest.raises(DataError, match="has 6 views"):
        evaluation.load_objects(store, SIZE, [2], target_views=[9])
