"""Models of 0 A.D., from files written field by field, held against what the game does with them."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from zeroad_files import actor, archive, ball, dds, pmd, psa

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.synthesis.meshes.zeroad.actors import Variant, composed
from diffgs_jax.synthesis.meshes.zeroad.archive import GameArchive
from diffgs_jax.synthesis.meshes.zeroad.assembly import Choice, chosen_variant, meshes_of, read_game_object
from diffgs_jax.synthesis.meshes.zeroad.catalogue import category_of, find_game_objects, spoken
from diffgs_jax.synthesis.meshes.zeroad.models import posed_model, read_pmd, read_psa

STILL = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def random_pose(random):
    return random.normal(size=3), Rotation.random(random_state=random).as_quat()


def moved(pose, points):
    return Rotation.from_quat(pose[1]).apply(points) + pose[0]


def test_vertices_and_attachment_points_follow_their_bones():
    random = np.random.default_rng(0)
    rest, idle = [random_pose(random) for _ in range(3)], [random_pose(random) for _ in range(3)]
    positions = random.normal(size=(6, 3))
    owners = [(0, 255), (1, 255), (2, 255), (0, 1), (1, 2), (255, 255)]
    point = random_pose(random)
    data = pmd(
        positions,
        [(0, 1, 2), (3, 4, 5)],
        bones=rest,
        owners=owners,
        points=[("hand", *point, 1), ("root", *STILL, 255)],
    )
    model = read_pmd(data)
    np.testing.assert_allclose(model.positions, positions, atol=1e-6)
    assert model.faces.tolist() == [[0, 1, 2], [3, 4, 5]]
    posed = posed_model(model, read_psa(psa(idle)))
    for vertex, pair in enumerate(owners):
        bones = [bone for bone in pair if bone != 255]
        places = []
        for bone in bones:
            local = Rotation.from_quat(rest[bone][1]).inv().apply(positions[vertex] - rest[bone][0])
            places.append(moved(idle[bone], local))
        expected = np.mean(places, axis=0) if bones else positions[vertex]
        np.testing.assert_allclose(posed.positions[vertex], expected, atol=1e-5)
    here = np.asarray([[0.3, -0.2, 0.5]])
    transform = posed.points["hand"].transform
    np.testing.assert_allclose(
        here @ transform[:3, :3].T + transform[:3, 3], moved(idle[1], moved(point, here)), atol=1e-5
    )
    np.testing.assert_array_equal(posed.points["root"].transform, np.eye(4))
    # Another skeleton's animation leaves it as it is.
    np.testing.assert_allclose(posed_model(model, read_psa(psa(idle[:2]))).positions, positions, atol=1e-5)


def test_damaged_models_are_told():
    good = pmd(*ball())
    for data, reason in (
        (b"OBJ" + good, "PSMD"),
        (good[:4] + b"\x03" + good[5:], "version 3"),
        (good[:200], "no mesh of 0 A.D."),
        (pmd([(0, 0, 0)], [(0, 0, 7)]), "not there"),
    ):
        with pytest.raises(DataError, match=reason):
            read_pmd(data)
    with pytest.raises(DataError, match="no frame"):
        read_psa(psa([STILL], frames=0)[:36])
    with pytest.raises(DataError, match="no animation"):
        read_psa(psa([STILL])[:40])


def test_later_variants_replace_what_earlier_ones_brought():
    first = Variant(
        "a", 1, "mesh1", "", {"baseTex": "t1", "normTex": "n"}, (("head", "h1"), ("hand", "s")), {"idle": "i"}
    )
    second = Variant("b", 1, "", "1 2 3", {"baseTex": "t2"}, (("head", ""), ("back", "q")), {"walk": "w"})
    made = composed([first, second])
    assert made.mesh == "mesh1" and made.color == "1 2 3" and made.textures == {"baseTex": "t2", "normTex": "n"}
    assert made.props == (("hand", "s"), ("head", ""), ("back", "q")) and made.animations == {"idle": "i", "walk": "w"}


SOLDIER = actor(
    "body",
    "skin",
    [(point, "props/units/weapons/sword.xml") for point in ("hand", "lost", "projectile")] + [("root", "no/actor.xml")],
    "player_trans.xml",
    more="<animations><animation name='Idle' file='stand.dae'/></animations>",
    groups=(
        "<group><variant name='Idle' frequency='1'/><variant name='death'><mesh>other</mesh></variant></group>"
        "<group><variant file='shield.xml'/></group>"
    ),
)


@pytest.fixture(scope="module")
def game(tmp_path_factory):
    """A soldier with a sword in the hand, helmets, a tree, a rider on a horse, and what is to be left out."""
    body, faces = ball(radius=1.0)
    turned = ((0.0, 2.0, 0.0), Rotation.from_euler("z", 90, degrees=True).as_quat())
    hand = ("hand", (1.0, 0.0, 0.0), STILL[1], 0)
    variants = "".join(f"<variant frequency='1'><mesh>{mesh}</mesh></variant>" for mesh in ("oak_a", "oak_b"))
    actors = {
        "units/romans/soldier_b": SOLDIER,
        "units/romans/soldier_a": SOLDIER,
        "units/romans/rider_b_r": actor("rider", "skin"),
        "units/romans/rider_b_m": actor("horse", "skin", [("root", "units/romans/rider_b_r.xml")]),
        "units/hero_star": actor("star", "skin"),
        "props/units/weapons/sword": actor("sword", "metal", material="objectcolor.xml", more="<color>255 0 0</color>"),
        "props/units/heads/head": actor("head", "skin"),
        "props/structures/door": actor("door", "skin"),
        "props/special/lake": actor("lake", "skin", material="player_water.xml"),
        "flora/trees/oak": actor("oak_a", "leaf", material="basic_trans.xml", groups=f"<group>{variants}</group>"),
        "flora/trees/oak_again": actor("oak_a", "leaf"),
        "geology/pebble": actor("pebble", "skin"),
        "geology/plate": actor("plate", "skin"),
        "geology/broken": "<actor",
        "geology/bare": actor("pebble", "missing"),
        "fauna/quality": (
            "<qualitylevels><actor quality='low'/><actor inline=''/><inline><group>"
            "<variant maxquality='high'><mesh>pebble</mesh></variant><variant><mesh>horse</mesh>"
            "<textures><texture file='skin.png' name='baseTex'/></textures></variant></group></inline></qualitylevels>"
        ),
    }
    flat = np.asarray(body) * [1.0, 0.001, 1.0]
    meshes = {
        "body": pmd(
            body, faces, bones=[STILL], owners=np.zeros((len(body), 1), int), points=[hand, ("root", *STILL, 255)]
        ),
        "sword": pmd(*ball((0.0, 3.0, 0.0), 0.5)),
        "horse": pmd(*ball((0.0, -1.0, 0.0)), points=[("root", *STILL, 255)]),
        "rider": pmd(*ball((0.0, 1.0, 0.0))),
        "pebble": pmd(body[:4], [(0, 1, 2), (1, 2, 3)]),
        "plate": pmd(flat, faces),
        **{name: pmd(*ball(radius=size)) for name, size in (("oak_a", 1), ("oak_b", 2), ("star", 9), ("lake", 1))},
        **{name: pmd(*ball()) for name in ("head", "door", "other")},
    }
    textures = {"skin": dds((200, 100, 50, 128)), "metal": dds((100, 100, 100, 0)), "leaf": dds((10, 200, 20, 90))}
    template = "<Entity><Identity><GenericName>{}</GenericName></Identity>"
    template += "<VisualActor><Actor>{}</Actor></VisualActor></Entity>"
    return archive(
        tmp_path_factory.mktemp("game") / "public.zip",
        actors,
        meshes=meshes,
        textures=textures,
        animations={"stand": psa([turned])},
        variants={"shield": "<variant frequency='1' name='none'/>"},
        templates={
            "units/one": template.format("Roman Swordsman", "units/romans/soldier_b.xml"),
            "units/two": template.format("Swordsman", "units/romans/soldier_b.xml"),
        },
    )


def test_a_figure_holds_its_weapon_in_its_idle_pose(game):
    parts = read_game_object(game, Choice("units/romans/soldier_b"))
    assert len(parts) == 2, [part.texture[0, 0] for part in parts]
    body, sword = parts
    center = body.vertices[body.faces].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(center, [0.0, 2.0, 0.0], atol=1e-6)
    # The hand is 1 along the bone's x, which the pose turns up, and the sword 3 along its y, which it turns to −x.
    np.testing.assert_allclose(
        sword.vertices[sword.faces].reshape(-1, 3).mean(axis=0), [-3.0, 2.0 + 1.0, 0.0], atol=1e-5
    )
    assert body.transparency == sword.transparency == "solid"
    assert sword.texture[0, 0].tolist() == [100, 0, 0, 255]
    color = body.texture[0, 0]
    assert (
        color[3] == 255 and (color[:3] <= [200, 100, 50]).all() and (color[:3] >= np.array([200, 100, 50]) // 2).all()
    )


def test_the_world_is_mirrored_once(tmp_path):
    positions, faces = ball()
    file = archive(
        tmp_path / "z.zip",
        {"fauna/x": actor("m", "t")},
        meshes={"m": pmd(positions, faces)},
        textures={"t": dds((9, 9, 9, 9))},
    )
    (part,) = read_game_object(file, Choice("fauna/x"))
    np.testing.assert_allclose(part.vertices, positions * [1, 1, -1], atol=1e-6)
    assert part.texture[0, 0].tolist() == [9, 9, 9, 255]


def test_leaves_are_cut_out_and_simple_or_flat_things_refused(game):
    (leaves,) = read_game_object(game, Choice("flora/trees/oak"))
    assert leaves.transparency == "cut" and leaves.texture[0, 0, 3] == 90
    for name, reason in (("geology/pebble", "fewer than 40 triangles"), ("geology/plate", "is flat")):
        with pytest.raises(DataError, match=f"{name} .*{reason}|{name} {reason}"):
            read_game_object(game, Choice(name))
    with pytest.raises(DataError, match="lacks art/actors/fauna/none.xml"):
        read_game_object(game, Choice("fauna/none"))


def test_what_is_shown_and_what_is_left_out(game):
    objects, left_out = find_game_objects(GameArchive(game))
    assert [(one.uid, one.name, one.category) for one in objects] == [
        ("fauna/quality", "quality", "animal"),
        ("flora/trees/oak/0", "oak", "tree"),
        ("flora/trees/oak/1", "oak", "tree"),
        ("geology/pebble", "pebble", "rock"),
        ("geology/plate", "plate", "rock"),
        ("props/units/weapons/sword", "sword", "weapon"),
        ("units/romans/rider_b_m", "Roman rider", "game figure"),
        ("units/romans/soldier_b", "Swordsman", "game figure"),
    ]
    assert left_out == {
        "fragments of buildings and plants": 1,
        "parts of bodies and loose cloth": 1,
        "particles and markers": 1,
        "other ranks of the same figure": 1,
        "riders and crews, which are shown with their mounts": 1,
        "no mesh with a texture": 2,
        "made of the same meshes as another": 1,
        "broken files": 1,
    }
    game_archive = GameArchive(game)
    assert meshes_of(game_archive, Choice("units/romans/rider_b_m")) == ("horse", "rider")
    assert meshes_of(game_archive, Choice("fauna/quality")) == ("horse",)


def test_draws_follow_frequencies_and_names(game):
    read = GameArchive(game).actor("flora/trees/oak")
    drawn = [chosen_variant(read, "flora/trees/oak", str(seed)).mesh for seed in range(200)]
    assert 70 < drawn.count("oak_a") < 130 and set(drawn) == {"oak_a", "oak_b"}
    assert drawn == [chosen_variant(read, "flora/trees/oak", str(seed)).mesh for seed in range(200)]
    soldier = GameArchive(game).actor("units/romans/soldier_b")
    assert {chosen_variant(soldier, "x", str(seed)).mesh for seed in range(50)} == {"body"}  # nobody stands about dead


def test_names_in_words():
    assert spoken("props/units/helmets/hele_attic_b3") == "Greek attic"
    assert spoken("structures/persians/scout_tower") == "Persian scout tower"
    assert spoken("fauna/bear_brown") == "bear brown"
    assert category_of("structures/romans/trireme") == "ship" and category_of("structures/romans/house") == "building"
    assert category_of("units/han/siege_ram") == "game figure" and category_of("props/wooden_cart") == ""


def test_an_archive_that_is_none(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        GameArchive(tmp_path / "nowhere.zip")
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(DataError, match="no archive of 0 A.D."):
        GameArchive(tmp_path / "text.zip")
    with pytest.raises(DataError, match="holds no actors"):
        find_game_objects(GameArchive(archive(tmp_path / "empty.zip", {})))
