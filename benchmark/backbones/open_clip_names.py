"""Which repository of the hub holds the weights that OpenCLIP calls ARCH/TAG."""

from __future__ import annotations

import importlib.util

import timm

from benchmark.errors import BackboneError, nearest

# OpenCLIP's names of image towers -> timm's. timm publishes the same weights, tower alone.
_TOWERS = {
    "RN50": "resnet50_clip", "RN101": "resnet101_clip", "RN50x4": "resnet50x4_clip", "RN50x16": "resnet50x16_clip",
    "RN50x64": "resnet50x64_clip", "ViT-B-32": "vit_base_patch32_clip_224", "ViT-B-16": "vit_base_patch16_clip_224",
    "ViT-L-14": "vit_large_patch14_clip_224", "ViT-L-14-336": "vit_large_patch14_clip_336",
    "ViT-H-14": "vit_huge_patch14_clip_224", "ViT-H-14-378": "vit_huge_patch14_clip_378",
    "ViT-g-14": "vit_giant_patch14_clip_224", "ViT-bigG-14": "vit_gigantic_patch14_clip_224",
    "ViT-B-16-SigLIP": "vit_base_patch16_siglip_224", "ViT-B-16-SigLIP-256": "vit_base_patch16_siglip_256",
    "ViT-B-16-SigLIP-384": "vit_base_patch16_siglip_384", "ViT-B-16-SigLIP-512": "vit_base_patch16_siglip_512",
    "ViT-L-16-SigLIP-256": "vit_large_patch16_siglip_256", "ViT-L-16-SigLIP-384": "vit_large_patch16_siglip_384",
    "ViT-SO400M-14-SigLIP": "vit_so400m_patch14_siglip_224",
    "ViT-SO400M-14-SigLIP-384": "vit_so400m_patch14_siglip_384",
}  # fmt: skip
# The beginnings of OpenCLIP's tags -> timm's tags.
_TAGS = (
    ("openai", "openai"), ("laion2b", "laion2b"), ("laion400m", "laion400m_e32"), ("datacomp_xl", "datacompxl"),
    ("metaclip_400m", "metaclip_400m"), ("metaclip_fullcc", "metaclip_2pt5b"), ("dfn2b", "dfn2b"), ("dfn5b", "dfn5b"),
    ("webli", "webli"), ("yfcc15m", "yfcc15m"), ("cc12m", "cc12m"),
)  # fmt: skip
_QUICK = "-quickgelu"
_TRAINED_WITH_QUICKGELU = ("openai", "metaclip", "dfn")


def open_clip_repository(spec: str, name: str) -> str | None:
    """`ORG/NAME` of the repository as OpenCLIP itself says it; None where the package is not installed.

    Raises:
        BackboneError: a SPEC of another form.
    """
    arch, slash, tag = name.partition("/")
    if not slash or not arch or not tag:
        raise BackboneError("openclip:ARCH/TAG", repr(spec), "write for instance openclip:ViT-B-32/laion2b_s34b_b79k")
    if importlib.util.find_spec("open_clip") is None:
        return None
    cards = importlib.import_module("open_clip")
    card = cards.get_pretrained_cfg(arch, tag) or {}
    return str(card.get("hf_hub", "")).strip("/") or None


def timm_name(spec: str, name: str) -> str:
    """The same weights as timm calls them.

    Raises:
        BackboneError: timm does not have them.
    """
    arch, _, tag = name.partition("/")
    plain = arch.removesuffix(_QUICK)
    tower = _TOWERS.get(plain)
    if tower is None:
        todo = f"{nearest(plain, _TOWERS)}; or install open_clip_torch, or give hf:ORG/NAME or a weights file"
        raise BackboneError("a model of OpenCLIP that timm has too", repr(spec), todo)
    ours = next((timm_tag for start, timm_tag in _TAGS if tag.startswith(start)), None)
    quick = arch != plain or tag.startswith(_TRAINED_WITH_QUICKGELU)
    wanted = tower.replace("_clip_", "_clip_quickgelu_") if quick else tower
    if f"{wanted}.{ours}" in timm.list_pretrained(f"{wanted}.*"):
        return f"{wanted}.{ours}"
    known = ", ".join(one.partition(".")[2] for one in timm.list_pretrained(f"{wanted}.*")) or "none"
    raise BackboneError(
        f"weights of {arch} that timm has too ({known})",
        repr(tag),
        "or install open_clip_torch, or give hf:ORG/NAME or a weights file",
    )
