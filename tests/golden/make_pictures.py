"""Writes stable_diffusion.npz and vision_language.npz: outputs of diffusers 0.32.2 and transformers 4.47.1.

    python tests/golden/make_pictures.py

Run in an environment of its own with torch, diffusers==0.32.2 and transformers==4.47.1; no test does. Weights are
random, with four bits behind the leading one, so that they are exact in float16, which is how they are kept.
"""

import json
import pathlib
import re
import tempfile

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.numpy import load_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.models.blip.configuration_blip import BlipTextConfig, BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

HERE = pathlib.Path(__file__).parent
PROMPT, NEGATIVE = "a red chair", "blurry"
HEAD = (0, 2, 4, 6, 7)


def rounded(array):
    """An array with four bits behind the leading one."""
    mantissa, exponent = np.frexp(np.asarray(array, np.float64))
    return np.ldexp(np.round(mantissa * 32) / 32, exponent).astype(np.float16)


def randomize(module, seed):
    """Gives every parameter a random value: near 1 for scales of norms, as large as a layer wants for the rest."""
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            shape = tuple(parameter.shape)
            fan = int(np.prod(shape[1:])) if len(shape) > 1 else 50
            values = random.standard_normal(shape) / np.sqrt(fan)
            if "norm" in name.lower() and name.endswith("weight"):
                values = 1 + 0.1 * values
            parameter.copy_(torch.from_numpy(np.asarray(rounded(values), np.float32).reshape(shape)))
    return module.eval()


def tokenizer(folder):
    """CLIP's tokenizer with next to no words."""
    letters = [chr(number) for number in range(97, 123)]
    words = [*letters, *(f"{one}</w>" for one in letters), "re", "red</w>", "ch", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\nc h\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77), len(words)


def stable_diffusion():
    """A folder of a tiny pipeline, and its picture after ten steps."""
    with tempfile.TemporaryDirectory() as place:
        words, count = tokenizer(pathlib.Path(place))
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=count,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                projection_dim=16,
                eos_token_id=count - 1,
                bos_token_id=count - 2,
                pad_token_id=count - 1,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 24),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=16,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        )
        scheduler = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            timestep_spacing="trailing",
        )
        parts = [randomize(part, seed) for seed, part in enumerate((text, unet, vae))]
        pipeline = StableDiffusionPipeline(
            vae=parts[2],
            text_encoder=parts[0],
            tokenizer=words,
            unet=parts[1],
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        folder = pathlib.Path(place) / "saved"
        pipeline.save_pretrained(folder)
        start = rounded(np.random.default_rng(9).standard_normal((1, 4, 8, 8)))
        ask = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": 10, "guidance_scale": 7.5}
        ask |= {"height": 16, "width": 16, "latents": torch.from_numpy(start.astype(np.float32)), "eta": 0.0}
        arrays = {
            "prompt": np.array([PROMPT, NEGATIVE]),
            "start": start,
            "latents": pipeline(**ask, output_type="latent").images.numpy(),
            "picture": pipeline(**(ask | {"latents": ask["latents"].clone()}), output_type="np").images,
        }
        for file in sorted(folder.rglob("*")):
            name = str(file.relative_to(folder))
            if file.suffix == ".safetensors":
                for key, array in load_file(file).items():
                    assert np.array_equal(array, array.astype(np.float16)) or array.dtype != np.float32, key
                    arrays[f"weights/{name}/{key}"] = array.astype(np.float16)
            elif file.is_file():
                arrays[f"text/{name}"] = np.array(file.read_text())
    np.savez_compressed(HERE / "stable_diffusion.npz", **arrays)


def vision_language():
    """CLIP's two halves, and BLIP with ImageReward's head under the names of its published file."""
    random = np.random.default_rng(5)
    config = CLIPConfig(
        text_config={
            "vocab_size": 50,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 12,
            "eos_token_id": 49,
            "bos_token_id": 48,
            "pad_token_id": 49,
        },
        vision_config={
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "image_size": 16,
            "patch_size": 4,
        },
        projection_dim=10,
    )
    clip = randomize(CLIPModel(config), 1)
    pictures = rounded(random.standard_normal((2, 3, 16, 16)))
    ids = np.array([[48, 3, 7, 49, 49, 49], [48, 1, 2, 3, 4, 49]])
    with torch.no_grad():
        found = clip(input_ids=torch.from_numpy(ids), pixel_values=torch.from_numpy(pictures.astype(np.float32)))
    arrays = {
        "clip/config": np.array(json.dumps(config.to_dict(), default=str)),
        "clip/ids": ids.astype(np.int32),
        "clip/pictures": pictures,
        "clip/text_embeds": found.text_embeds.numpy(),
        "clip/image_embeds": found.image_embeds.numpy(),
        **{f"clip/sd/{name}": value.numpy() for name, value in clip.state_dict().items()},
    }
    size, width = 16, 64
    vision = BlipVisionConfig(
        hidden_size=width,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=1,
        image_size=size,
        patch_size=8,
        layer_norm_eps=1e-6,
    )
    text = BlipTextConfig(
        vocab_size=40,
        hidden_size=width,
        encoder_hidden_size=width,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=20,
    )
    looks, reads = randomize(BlipVisionModel(vision), 2), randomize(BlipTextModel(text, add_pooling_layer=False), 3)
    widths = (width, 20, 12, 8, 4, 1)
    head = torch.nn.ModuleDict(
        {str(n): torch.nn.Linear(a, b) for n, a, b in zip(HEAD, widths, widths[1:], strict=False)}
    )
    randomize(head, 4)
    words = np.array([[2, 5, 6, 3, 0, 0], [2, 7, 8, 9, 10, 3]])
    mask = (words != 0).astype(np.int64)
    shown = rounded(random.standard_normal((2, 3, size, size)))
    with torch.no_grad():
        seen = looks(pixel_values=torch.from_numpy(shown.astype(np.float32))).last_hidden_state
        x = reads(
            input_ids=torch.from_numpy(words),
            attention_mask=torch.from_numpy(mask),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long),
            is_decoder=False,
        ).last_hidden_state[:, 0]
        for number in HEAD:
            x = head[str(number)](x)
    published = {}
    for name, value in looks.state_dict().items():
        for pattern, new in (
            (r"^embeddings\.class_embedding$", "cls_token"),
            (r"^embeddings\.position_embedding$", "pos_embed"),
            (r"^embeddings\.patch_embedding", "patch_embed.proj"),
            (r"^encoder\.layers\.", "blocks."),
            (r"\.self_attn\.qkv", ".attn.qkv"),
            (r"\.self_attn\.projection", ".attn.proj"),
            (r"\.layer_norm(\d)", r".norm\1"),
            (r"^post_layernorm", "norm"),
        ):
            name = re.sub(pattern, new, name)
        published[f"blip.visual_encoder.{name}"] = value.numpy()
    published |= {f"blip.text_encoder.{name}": value.numpy() for name, value in reads.state_dict().items()}
    published |= {f"mlp.layers.{name}": value.numpy() for name, value in head.state_dict().items()}
    arrays |= {
        "blip/ids": words.astype(np.int32),
        "blip/mask": mask.astype(bool),
        "blip/pictures": shown,
        "blip/tokens": seen.numpy(),
        "blip/out": x[:, 0].numpy(),
        **{f"blip/sd/{name}": value for name, value in published.items()},
    }
    for name, array in arrays.items():
        if "/sd/" in name and array.dtype == np.float32:
            arrays[name] = array.astype(np.float16)
    np.savez_compressed(HERE / "vision_language.npz", **arrays)


if __name__ == "__main__":
    torch.manual_seed(0)
    stable_diffusion()
    vision_language()
