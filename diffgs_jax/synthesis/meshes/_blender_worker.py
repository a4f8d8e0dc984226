"""Runs inside Blender's Python, never in this package's: renders the jobs whose folders are named on stdin.

Blender's module `bpy` needs NumPy 1, and JAX needs NumPy 2, so they cannot share an interpreter. This file therefore
imports nothing but NumPy and what comes with Blender; `mesh_blender` starts it and says what a job's folder holds.
"""

import glob
import importlib
import pathlib
import sys
import tempfile

import numpy as np

bpy = importlib.import_module("bpy")
sys.path += glob.glob(bpy.utils.resource_path("LOCAL") + "/python/lib/python3*/site-packages")
oiio = importlib.import_module("OpenImageIO")

SAY = "diffgs_jax:"
NOTHING = 1e9  # Cycles' depth where there is no surface is 1e10


def main():
    """Renders job after job until stdin is closed."""
    say(f"ready {bpy.app.version_string}")
    for line in sys.stdin:
        folder = pathlib.Path(line.strip())
        try:
            render_job(folder)
            say("done")
        except Exception as error:  # whatever a mesh makes Blender raise must not end the other jobs
            say(f"failed {type(error).__name__}: {error}".replace("\n", " "))


def say(words):
    """Blender writes to stdout too, so what is meant for the parent is marked."""
    print(SAY, words, flush=True)


def render_job(folder):
    """Reads `job.npz` and writes `pictures.npy`, or `surfaces.npy` (normal, depth)."""
    with np.load(folder / "job.npz") as job:
        scene = empty_scene(job)
        for number in range(int(job["parts"])):
            names = ("positions", "normals", "uv", "colors", "texture", "blended", "linear", "clamped")
            add_part(scene, **{name: job[f"{number}.{name}"] for name in names}, cut_out=float(job["cut_out"]))
        add_light(scene, job)
        poses, intrinsics, surfaces = job["poses"], job["intrinsics"], bool(job["surfaces"])
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    views = []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        scene.render.filepath = str(pathlib.Path(place) / "view.exr")
        for pose, focal in zip(poses, intrinsics, strict=True):
            place_camera(camera, pose, focal)
            bpy.ops.render.render(write_still=True)
            passes = read_passes(scene.render.filepath)
            if surfaces:
                normal, depth = passes["Normal"], passes["Depth"]
                views.append(np.concatenate([normal, np.where(depth < NOTHING, depth, np.nan)], axis=-1))
            else:
                views.append(display(passes["Combined"]))
    np.save(folder / ("surfaces.npy" if surfaces else "pictures.npy"), np.stack(views))


def empty_scene(job):
    """Forgets the last job and sets Cycles up."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = int(job["samples"])
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.transparent_max_bounces = 32
    scene.cycles.use_denoising = not job["surfaces"]
    scene.cycles.seed = 0
    if job["surfaces"]:  # one ray through the middle of each pixel
        scene.cycles.samples, scene.cycles.pixel_filter_type, scene.cycles.filter_width = 1, "BOX", 0.01
    scene.render.resolution_x = scene.render.resolution_y = int(job["size"])
    scene.render.film_transparent = True
    scene.render.use_persistent_data = True
    if job["threads"]:
        scene.render.threads_mode, scene.render.threads = "FIXED", int(job["threads"])
    scene.view_settings.view_transform = "Standard"
    files = scene.render.image_settings
    files.media_type = "MULTI_LAYER_IMAGE"
    files.file_format, files.color_depth, files.exr_codec = "OPEN_EXR_MULTILAYER", "32", "ZIP"
    layer = bpy.context.view_layer
    layer.use_pass_z = layer.use_pass_normal = True
    layer.pass_alpha_threshold = float(job["cut_out"])
    return scene


def add_part(scene, positions, normals, uv, colors, texture, *, blended, linear, clamped, cut_out):
    """Adds triangles that share a material."""
    count = len(positions)
    mesh = bpy.data.meshes.new("part")
    mesh.vertices.add(3 * count)
    mesh.vertices.foreach_set("co", positions.astype(np.float32).ravel())
    mesh.loops.add(3 * count)
    mesh.loops.foreach_set("vertex_index", np.arange(3 * count, dtype=np.int32))
    mesh.polygons.add(count)
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
    mesh.uv_layers.new().data.foreach_set("uv", uv.astype(np.float32).ravel())
    tint = colors.copy()
    if not linear:
        tint[..., :3] = decoded(colors[..., :3])
    layer = mesh.color_attributes.new("tint", "FLOAT_COLOR", "CORNER")
    layer.data.foreach_set("color", tint.astype(np.float32).ravel())
    mesh.update(calc_edges=True)
    # Cycles turns a surface's normals to the viewer by the side the corners' order says.
    flat = np.cross(positions[:, 1] - positions[:, 0], positions[:, 2] - positions[:, 0])[:, None]
    normals = normals * np.where(np.sum(normals * flat, axis=-1, keepdims=True) < 0, -1.0, 1.0)
    mesh.normals_split_custom_set(normals.reshape(-1, 3).tolist())
    mesh.materials.append(material(texture if texture.size else None, bool(blended), clamped.tolist(), cut_out))
    scene.collection.objects.link(bpy.data.objects.new("part", mesh))


def material(texture, blended, clamped, cut_out):
    """Returns a matt surface of the corners' colours times the texture, with its holes, or as glass."""
    made = bpy.data.materials.new("surface")
    made.use_nodes = True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    surface = nodes["Principled BSDF"]
    surface.inputs["Roughness"].default_value = 0.7
    surface.inputs["Specular IOR Level"].default_value = 0.2
    tint = nodes.new("ShaderNodeVertexColor")
    tint.layer_name = "tint"
    color, alpha = tint.outputs["Color"], tint.outputs["Alpha"]
    if texture is not None:
        height, width = texture.shape[:2]
        image = bpy.data.images.new("texture", width, height, alpha=True)
        image.alpha_mode = "CHANNEL_PACKED"
        image.pixels.foreach_set((texture[::-1].astype(np.float32) / 255).ravel())
        image.update()
        picture, mix = nodes.new("ShaderNodeTexImage"), nodes.new("ShaderNodeMix")
        picture.image = image
        if any(clamped):
            links.new(within(nodes, links, (0.5 / width, 0.5 / height), clamped), picture.inputs["Vector"])
        mix.data_type, mix.blend_type, mix.inputs["Factor"].default_value = "RGBA", "MULTIPLY", 1.0
        colors = [socket for socket in mix.inputs if socket.type == "RGBA"]
        links.new(color, colors[0])
        links.new(picture.outputs["Color"], colors[1])
        color = next(socket for socket in mix.outputs if socket.type == "RGBA")
        alpha = calculated(nodes, links, "MULTIPLY", alpha, picture.outputs["Alpha"])
    if not blended:
        alpha = calculated(nodes, links, "GREATER_THAN", alpha, cut_out)
    links.new(color, surface.inputs["Base Color"])
    links.new(alpha, surface.inputs["Alpha"])
    return made


def calculated(nodes, links, operation, first, second):
    """Returns the result of an operation on a socket and another, or a number."""
    node = nodes.new("ShaderNodeMath")
    node.operation = operation
    links.new(first, node.inputs[0])
    if isinstance(second, float):
        node.inputs[1].default_value = second
    else:
        links.new(second, node.inputs[1])
    return node.outputs[0]


def within(nodes, links, halves, clamped):
    """Returns texture coordinates kept half a texel inside the texture, in the directions that are clamped."""
    place = nodes.new("ShaderNodeTexCoord").outputs["UV"]
    low = [half if on else -1e6 for half, on in zip(halves, clamped, strict=True)]
    high = [1.0 - half if on else 1e6 for half, on in zip(halves, clamped, strict=True)]
    for operation, limit in (("MAXIMUM", low), ("MINIMUM", high)):
        node = nodes.new("ShaderNodeVectorMath")
        node.operation = operation
        links.new(place, node.inputs[0])
        node.inputs[1].default_value = (*limit, 0.0)
        place = node.outputs[0]
    return place


def add_light(scene, job):
    """Adds a sky that is dimmer below, so that no side is black, and a soft sun."""
    world = bpy.data.worlds.new("sky")
    scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    direction, parts = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeSeparateXYZ")
    ramp = nodes.new("ShaderNodeMapRange")
    sky, ground, sun = float(job["sky"]), float(job["ground"]), float(job["sun_strength"])
    for name, value in (("From Min", -1.0), ("From Max", 1.0), ("To Min", ground), ("To Max", sky)):
        ramp.inputs[name].default_value = value
    links.new(direction.outputs["Generated"], parts.inputs[0])
    links.new(parts.outputs["Z"], ramp.inputs["Value"])
    links.new(ramp.outputs[0], nodes["Background"].inputs["Strength"])
    nodes["Background"].inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
    lamp = bpy.data.lights.new("sun", "SUN")
    lamp.energy, lamp.angle = np.pi * sun, 0.3
    shine = bpy.data.objects.new("sun", lamp)
    mathutils = importlib.import_module("mathutils")
    shine.rotation_euler = mathutils.Vector(job["sun"].tolist()).to_track_quat("Z", "Y").to_euler()
    scene.collection.objects.link(shine)


def place_camera(camera, pose, intrinsics):
    """Turns an OpenCV camera with normalised intrinsics, fx = fy, into Blender's."""
    mathutils = importlib.import_module("mathutils")
    fx, _, cx, cy = (float(value) for value in intrinsics)
    camera.matrix_world = mathutils.Matrix((pose @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist())
    lens = camera.data
    lens.sensor_fit, lens.sensor_width, lens.lens = "HORIZONTAL", 1.0, fx
    lens.shift_x, lens.shift_y = 0.5 - cx, cy - 0.5
    lens.clip_start, lens.clip_end = 0.005, 1000.0


def read_passes(path):
    """Returns the arrays of a multi-layer EXR file by the name of their pass."""
    passes = {}
    file = oiio.ImageInput.open(path)
    number = 0
    while file.seek_subimage(number, 0):
        spec = file.spec()
        name = spec.channelnames[0].split(".")[-2]
        passes[name] = file.read_image(number, 0, 0, spec.nchannels, "float")
        number += 1
    file.close()
    return passes


def decoded(shown):
    """Turns sRGB display values into linear light (IEC 61966-2-1)."""
    return np.where(shown <= 0.04045, shown / 12.92, ((np.maximum(shown, 0.04045) + 0.055) / 1.055) ** 2.4)


def display(premultiplied):
    """Turns linear light multiplied by alpha into 8-bit RGBA display values, straight alpha."""
    alpha = np.clip(premultiplied[..., 3:], 0.0, 1.0)
    light = np.clip(premultiplied[..., :3] / np.maximum(alpha, 1e-6), 0.0, 1.0)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    return np.rint(255 * np.concatenate([shown, alpha], axis=-1)).astype(np.uint8)


if __name__ == "__main__":
    main()
