"""Loading a vision-language model, and the geometry between its processor and our pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth.errors import JobError, ModelError
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.tiny_model import SCRATCH_MODELS, SCRATCH_PREFIX
from deepsynth.hub.account import client_token

if TYPE_CHECKING:
    from deepsynth.training.arguments import Precision

_TINY = 5_000_000
"""Parameters below which threads cost more than they bring."""


@dataclass(frozen=True)
class PageView:
    """How the processor turns one page into tokens.

    Attributes:
        page: `(width, height)` of the pages, in pixels.
        size: Side of the square view the encoder sees, in pixels; 0 when the processor does not
            say.
        tokens: Tokens one page takes in the prompt.
        call: Keyword arguments that every call of the processor needs for this view.
    """

    page: tuple[int, int]
    size: int
    tokens: int
    call: dict[str, Any] = field(default_factory=dict)


def check_model_name(job: SummarizeJob) -> None:
    """Refuse, before a run is made, what can be seen to be wrong from the name alone.

    Raises:
        ModelError: The model cannot be trained here.
        JobError: Remote code is asked for without a full commit.
    """
    if job.is_scratch and job.model.removeprefix(SCRATCH_PREFIX) not in SCRATCH_MODELS:
        known = ", ".join(SCRATCH_PREFIX + name for name in SCRATCH_MODELS)
        raise ModelError("this cannot be made from scratch.", where=job.model, hint=f"Can: {known}")
    name = job.model.lower().rstrip("/")
    if name.endswith("deepseek-ocr") and not job.trust_remote_code:
        raise ModelError(
            "DeepSeek-OCR version 1 is not supported: it runs only by code of its own repository, "
            "written for transformers 4.46.",
            where=job.model,
            hint="Use deepseek-community/DeepSeek-OCR-2, which transformers has natively.",
        )
    if job.trust_remote_code and len(job.revision or "") != 40:
        raise JobError(
            "trust_remote_code needs revision, a full 40-digit commit.",
            where="trust_remote_code",
            hint="Read that commit's code first: it runs with your rights.",
        )


def model_config(name: str, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """The configuration of a model, after making sure that it reads images and writes text.

    Args:
        name: Hub name or folder.
        revision: Commit or tag of a Hub model.
        trust_remote_code: Whether the job allows the repository's own code.

    Raises:
        ModelError: It is not there, cannot be reached, or is of another kind.
    """
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

    folder = Path(name)
    if folder.is_absolute() and not folder.is_dir():
        raise ModelError("there is no such folder.", where=name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelError(
            "this folder holds no model (no config.json).",
            where=name,
            hint="Name the folder of a model, or a run that has been trained.",
        )
    try:
        config = AutoConfig.from_pretrained(
            name,
            revision=revision,
            trust_remote_code=trust_remote_code,
            token=client_token(),
        )
    except (OSError, ValueError, KeyError) as error:
        raise _not_loadable(name, error) from None
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and not trust_remote_code:
        raise ModelError(
            f"{config.model_type} reads text only: it has no image encoder.",
            where=name,
            hint="Use a model that reads images, such as deepseek-community/DeepSeek-OCR-2.",
        )
    return config


def load_processor(name: str, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """The processor of a model, with a tokenizer that can pad.

    A tokenizer without a pad token pads with its end token: padding is masked out of attention
    and labels by position, never by token, so this changes nothing that is learned.

    Raises:
        ModelError: It has no processor, or its tokenizer has no end token either.
    """
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(
            name,
            revision=revision,
            trust_remote_code=trust_remote_code,
            token=client_token(),
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _not_loadable(name, error) from None
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or not hasattr(processor, "image_processor"):
        raise ModelError("its processor does not take image and text.", where=name)
    if tokenizer.eos_token is None:
        raise ModelError(
            "its tokenizer has no end token, so it could never learn where a summary ends.",
            where=name,
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def load_model(
    name: str,
    *,
    precision: Precision = "no",
    trains_fully: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    quantize: str = "none",
) -> Any:
    """The model in memory; a tiny one on a CPU computes on one thread from then on.

    Frozen weights are held in the precision they are computed in; weights that train stay in
    32 bits, since an update of 1e-5 would vanish in bfloat16.

    Raises:
        ModelError: It cannot be loaded, or is cut short.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    model_config(name, revision, trust_remote_code)
    extra: dict[str, Any] = {}
    if quantize == "nf4":
        extra["quantization_config"] = _nf4(name)
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            name,
            dtype=torch.float32 if trains_fully else dtype_of(precision),
            revision=revision,
            trust_remote_code=trust_remote_code,
            token=client_token(),
            **extra,
        )
    except Exception as error:
        if type(error).__name__ == "SafetensorError":
            raise ModelError(
                f"a weight file is cut short or damaged: {error}.",
                where=name,
                hint="Copy or download the model again.",
            ) from None
        if isinstance(error, OSError | ValueError | KeyError):
            raise _not_loadable(name, error) from None
        raise
    calm_threads(model)
    return model


def dtype_of(precision: Precision) -> Any:
    """The torch dtype of a precision."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}[precision]


def autocast(precision: Precision) -> Any:
    """The context in which a model loaded in `precision` computes.

    Pages come in 32 bits and adapters train in 32 bits; a model in 16 bits takes neither outside
    of this context.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device, dtype, enabled=precision != "no")


def calm_threads(model: Any) -> None:
    """Compute a tiny model on one thread, where it only waits for the others.

    On a machine that is busy otherwise this has been a factor of ten.
    """
    import torch

    if not torch.cuda.is_available() and sum(p.numel() for p in model.parameters()) < _TINY:
        torch.set_num_threads(1)


def scratch_folder(name: str, folder: Path, corpus: Iterable[str], seed: int) -> Path:
    """Make the model that `scratch:...` names in `folder`.

    Raises:
        ModelError: No such model can be made.
    """
    from deepsynth.families.summarize.tiny_model import save_tiny

    known = ", ".join(SCRATCH_PREFIX + model for model in SCRATCH_MODELS)
    if name.removeprefix(SCRATCH_PREFIX) not in SCRATCH_MODELS:
        raise ModelError("this cannot be made from scratch.", where=name, hint=f"Can: {known}")
    return save_tiny(folder, corpus, seed)


def page_view(processor: Any, page: tuple[int, int], tiles: bool = False) -> PageView:
    """How `processor` sees pages of a size.

    DeepSeek-OCR-2 tiles anything over 768 px unless told otherwise, and `crop_to_patches=False`
    alone asks for 257 tokens while the encoder makes 145. One whole view needs both arguments.

    Args:
        processor: As `load_processor` returns it.
        page: `(width, height)` in pixels.
        tiles: Allow tiles.
    """
    from PIL import Image

    images = processor.image_processor
    call: dict[str, Any] = {}
    size = _view_side(images)
    if hasattr(images, "tile_size") and hasattr(images, "crop_to_patches") and not tiles:
        call = {"crop_to_patches": False, "tile_size": size}
    blank = Image.new("RGB", page, "white")
    batch = processor(images=[blank], text=[image_token(processor)], return_tensors="pt", **call)
    token = processor.tokenizer.convert_tokens_to_ids(image_token(processor))
    tokens = int((batch["input_ids"] == token).sum())
    return PageView(page, size, tokens, call)


def image_token(processor: Any) -> str:
    """The placeholder that stands for an image in the prompt."""
    return getattr(processor, "image_token", None) or "<image>"


def encoder_fingerprint(model: Any) -> str:
    """sha256 of every weight outside the language model: the identity of the vision encoder."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if "language_model" not in name and "lm_head" not in name:
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            flat = tensor.detach().to("cpu").contiguous().reshape(-1)
            digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


def processor_fingerprint(processor: Any, view: PageView) -> str:
    """sha256 of the image settings that decide pixel values and tokens."""
    settings = json.loads(processor.image_processor.to_json_string())
    text = json.dumps([settings, view.call], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _view_side(images: Any) -> int:
    size = getattr(images, "size", None) or {}
    sides = [size[key] for key in ("height", "shortest_edge", "longest_edge") if key in size]
    return int(sides[0]) if sides else 0


def _nf4(name: str) -> Any:
    import torch

    from deepsynth.errors import MissingDependency

    if not torch.cuda.is_available():
        raise ModelError(
            "4-bit weights need a GPU, and there is none here.",
            where=name,
            hint="Take the preset standard instead of qlora_4bit.",
        )
    try:
        import bitsandbytes  # noqa: F401  # pyright: ignore
    except ImportError:
        raise MissingDependency(
            "4-bit weights need the package bitsandbytes.",
            where="train.preset",
            hint='Install it: pip install "bitsandbytes>=0.48"',
        ) from None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        # Without the prefix transformers would quantise the vision tower all the same.
        llm_int8_skip_modules=["model.vision_tower", "model.multi_modal_projector", "lm_head"],
    )


def _not_loadable(name: str, error: Exception) -> ModelError:
    text = str(error).strip()
    if "trust_remote_code" in text or "deepseek_vl" in text or "deepseek_vl" in name.lower():
        return ModelError(
            "it runs only by code of its own repository, written for another transformers.",
            where=name,
            hint="DeepSeek-OCR version 1 is not supported; use deepseek-community/DeepSeek-OCR-2. "
            "Other models: set trust_remote_code and a full commit as revision.",
        )
    return ModelError(
        f"the model cannot be loaded: {(text.splitlines() or [type(error).__name__])[0]}",
        where=name,
        hint="Check the name, the network, and HF_TOKEN for a private model.",
    )
