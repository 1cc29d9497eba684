"""`clip:MODEL/TAG`: the image tower of open_clip's models, and their text tower for prompts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip import factory, pretrained

from embedkit.backbones.cards import Card, Options
from embedkit.backbones.network import Network
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.backbones.threads import one_thread
from embedkit.backbones.weights import Source, known_sha256, licence_of, needed
from embedkit.errors import InputError, WeightsError
from embedkit.vectors import FloatArray, unit_rows

HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TEXTS = 64  # in one pass


class Clip(Network):
    """Both towers of a CLIP model."""

    def __init__(
        self, card: Card, model: Any, preprocessing: Preprocessing, weights_sha256: str
    ) -> None:
        super().__init__(card, model, preprocessing, weights_sha256, read=model.encode_image)
        self._model = model
        self.text_scale = float(model.logit_scale.detach().exp())
        self._tokenise = open_clip.get_tokenizer(_model_and_tag(card)[0])

    def embed_text(self, prompts: Sequence[str]) -> FloatArray:
        """Return the text tower's vectors of prompts: (n, d) float32, unit rows.

        They can be compared with the vectors of pictures by their cosine.
        """
        with one_thread(self._threads), torch.inference_mode():
            parts = [
                self._model.encode_text(tokens.to(self.device)).float().cpu()
                for tokens in self._tokenise(list(prompts)).split(TEXTS)
            ]
        return unit_rows(torch.cat(parts).numpy())


def build(card: Card, options: Options) -> Clip:
    """Load a model of open_clip with the weights of a tag.

    Raises:
        InputError: open_clip has no such model or tag.
        WeightsError: the weights are not here, or of another network.
    """
    name, tag = _model_and_tag(card)
    published = _published(name, tag)
    origin = source(card)
    card = replace(card, licence=licence_of(card, origin))
    with needed(origin, options, card.name) as held:
        # A tag trained with QuickGELU loads into the model without it, and gives other vectors.
        model: Any = open_clip.create_model(
            name,
            load_weights=False,
            pretrained_text=False,
            force_quick_gelu=bool(published.get("quick_gelu", False)),
        )
        _load(model, held.path, card.name)
    size = model.visual.image_size
    config = open_clip.transform.PreprocessCfg(
        **(
            open_clip.transform.merge_preprocess_dict(
                open_clip.transform.PreprocessCfg(), published
            )
            | {"size": size}
        )
    )
    preprocessing = Preprocessing(
        size=(size, size) if isinstance(size, int) else tuple(size),
        resize=config.resize_mode,
        interpolation="bilinear" if config.interpolation == "bilinear" else "bicubic",
        mean=tuple(config.mean),
        std=tuple(config.std),
        fill=config.fill_color,
    )
    return Clip(card, model, preprocessing, held.sha256)


def source(card: Card) -> Source:
    """Return where open_clip takes a tag's weights from."""
    published = _published(*_model_and_tag(card))
    hub = published.get("hf_hub", "")
    if hub:
        repository, _, file = hub.rpartition("/")
        return Source(files=(file,) if file else HUB_FILES, hub=repository)
    url = published["url"]
    file = url.rpartition("/")[2]
    known = url.split("/")[-2] if "openaipublic" in url else known_sha256(file)
    return Source(files=(file,), url=url, cache="~/.cache/clip", sha256=known)


def _model_and_tag(card: Card) -> tuple[str, str]:
    name, _, tag = card.name.removeprefix("clip:").partition("/")
    return name, tag


def _published(name: str, tag: str) -> dict[str, Any]:
    tags = pretrained.list_pretrained_tags_by_model(name)
    if not tags:
        raise InputError(
            f"open_clip has no model called {name!r} with weights; some are ViT-B-32, ViT-B-16, "
            "ViT-L-14, RN50, ViT-B-16-SigLIP"
        )
    if tag not in tags:
        raise InputError(f"open_clip has no weights {tag!r} of {name}; there are {', '.join(tags)}")
    return dict(pretrained.get_pretrained_cfg(name, tag))


def _load(model: Any, path: Path, name: str) -> None:
    """Load a checkpoint as open_clip does, which knows its older forms; check it first.

    Raises:
        WeightsError: as `weights.fill`.
    """
    try:
        factory.load_checkpoint(model, str(path), strict=True, weights_only=True)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} holds no weights of {name}: {first}") from None
    except Exception:  # noqa: BLE001 (what is raised of a bad file is of any kind)
        raise WeightsError(
            f"{path} cannot be read: damaged, or more than weights is in it (a TorchScript "
            "archive, for example); embedkit runs nothing that is in such a file"
        ) from None
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsError(f"{path} is unusable: {key} holds values that are not finite")
