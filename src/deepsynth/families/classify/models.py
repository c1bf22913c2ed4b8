"""The model and tokenizer of a job: from the Hub, from a folder, or small with fresh weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepsynth.errors import DeepSynthError, ModelError
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.hub.account import client_token

# Hidden size, layers and vocabulary of the models with fresh weights. ModernBERT is taken because
# it can average over the tokens: a [CLS] vector has to learn where to look first, and a small set
# does not teach that.
SCRATCH = {
    "tiny": {"hidden_size": 128, "num_hidden_layers": 2, "vocabulary": 2_000},
    "small": {"hidden_size": 256, "num_hidden_layers": 4, "vocabulary": 16_000},
}
_SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}


def check_model_name(model: str) -> None:
    """Refuse a `scratch:` name or a folder that does not exist.

    Raises:
        ModelError: Says which there are.
    """
    if Path(model).is_absolute() and not Path(model).is_dir():
        raise ModelError(
            "there is no such folder.",
            where=f"model: {model}",
            hint="Give the folder of a model, the name of one on the Hub, or scratch:tiny.",
        )
    kind, _, name = model.partition(":")
    if kind == "scratch" and name not in SCRATCH:
        raise ModelError(
            f"there is no model {model!r}.",
            where="model",
            hint=f"Models with fresh weights: {', '.join(f'scratch:{n}' for n in SCRATCH)}.",
        )


def load_tokenizer(job: ClassifyJob, model: str, texts: Sequence[str]) -> Any:
    """The fast tokenizer of a model; for `scratch:` one trained on `texts`.

    Args:
        job: The job.
        model: Its model, with the path it has on this machine.
        texts: The training split.

    Raises:
        ModelError: There is none, or only a slow one.
    """
    if job.is_scratch:
        return train_tokenizer(texts, SCRATCH[model.partition(":")[2]]["vocabulary"])
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, **_from_hub(job))
    except (OSError, ValueError, KeyError) as error:
        raise _not_loaded(model, error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_config(job: ClassifyJob, model: str, tokenizer: Any, labels: Sequence[str]) -> Any:
    """The configuration of the model with this job's labels; loads no weights.

    Raises:
        ModelError: The model does not exist or is no text encoder a classifier can be put on.
    """
    names: dict[str, Any] = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    if job.is_scratch:
        return _scratch_config(SCRATCH[model.partition(":")[2]], tokenizer, names)
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig

    try:
        config = AutoConfig.from_pretrained(model, **_from_hub(job), **names)
    except (OSError, ValueError, KeyError) as error:
        raise _not_loaded(model, error) from error
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ModelError(
            f"{config.model_type} is not a model that can classify texts.",
            where=f"model: {model}",
            hint="Take an encoder, such as sentence-transformers/all-MiniLM-L6-v2.",
        )
    config.problem_type = "single_label_classification"
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    return config


def build_model(job: ClassifyJob, model: str, config: Any, seed: int) -> Any:
    """The model, ready to train; what is not pretrained is drawn from `seed`.

    A sentence encoder is pooled as it was made to be; any other model is the classifier that
    transformers makes of it.

    Raises:
        ModelError: Its weights cannot be read.
    """
    from transformers import AutoModelForSequenceClassification, set_seed

    set_seed(seed)
    if job.is_scratch:
        return AutoModelForSequenceClassification.from_config(config)
    from deepsynth.families.classify.encoder import SentenceClassifier, read_pooling

    try:
        pooling = read_pooling(model, job.revision)
        if pooling is not None:
            return SentenceClassifier.from_pretrained(model, config, pooling, job.revision)
        return AutoModelForSequenceClassification.from_pretrained(
            model, config=config, **_from_hub(job), ignore_mismatched_sizes=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_loaded(model, error) from error


def usable_length(config: Any, tokenizer: Any, wanted: int) -> int:
    """The longest text, in tokens, that both the job and the model allow."""
    positions = getattr(config, "max_position_embeddings", None) or wanted
    # RoBERTa-like models count positions from pad_token_id + 1.
    if config.model_type in ("roberta", "camembert", "xlm-roberta"):
        positions -= config.pad_token_id + 1
    return min(wanted, positions, tokenizer.model_max_length)


def _from_hub(job: ClassifyJob) -> dict[str, Any]:
    """How a model is asked for; the repository's own code is never run, nor is it asked whether."""
    return {"revision": job.revision, "token": client_token(), "trust_remote_code": False}


def _not_loaded(model: str, error: Exception) -> DeepSynthError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(model).is_absolute():
        return ModelError(
            f"this folder holds no model that can be loaded: {first}",
            where=f"model: {model}",
            hint="It needs config.json, the weights and the tokenizer's files.",
        )
    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    return ModelError(
        f"the model cannot be had: {first}",
        where=f"model: {model}",
        hint=(
            "HF_HUB_OFFLINE=1 is set; unset it, or give a folder."
            if offline
            else "Check the name and the network (private models need HF_TOKEN), give a folder "
            "that holds the model, or use scratch:tiny, which needs no download."
        ),
    )


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """A fast WordPiece tokenizer of at most so many pieces, the same for the same texts."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    def tokenizer_of(model: models.WordPiece) -> Tokenizer:
        made = Tokenizer(model)  # pyright: ignore[reportCallIssue]
        made.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return made

    learner = tokenizer_of(models.WordPiece(unk_token=_SPECIAL["unk"]))
    # The trainer numbers these pieces in the order of a hash map, which is another in each process,
    # and breaks ties by number. Numbered here, the same texts give the same tokenizer.
    pieces = sorted(
        {
            f"##{letter}"
            for text in texts
            for word, _ in learner.pre_tokenizer.pre_tokenize_str(
                learner.normalizer.normalize_str(text)
            )
            for letter in word[1:]
        }
    )
    special = list(_SPECIAL.values())
    learner.train_from_iterator(
        texts,
        trainers.WordPieceTrainer(
            vocab_size=vocabulary, special_tokens=[*special, *pieces], show_progress=False
        ),
    )
    # A tokenizer of its own: in the learner, the pieces are special and would be cut out of texts.
    ids = learner.get_vocab()
    tokenizer = tokenizer_of(models.WordPiece(ids, unk_token=_SPECIAL["unk"]))
    tokenizer.add_special_tokens(special)
    cls, sep = (ids[_SPECIAL[name]] for name in ("cls", "sep"))
    tokenizer.post_processor = processors.BertProcessing(
        (_SPECIAL["sep"], sep), (_SPECIAL["cls"], cls)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        **{f"{name}_token": token for name, token in _SPECIAL.items()},
    )


def _scratch_config(size: dict[str, int], tokenizer: Any, names: dict[str, Any]) -> Any:
    from transformers import ModernBertConfig

    return ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=size["hidden_size"],
        intermediate_size=2 * size["hidden_size"],
        num_hidden_layers=size["num_hidden_layers"],
        num_attention_heads=4,
        classifier_pooling="mean",
        embedding_dropout=0.3,
        mlp_dropout=0.3,
        attention_dropout=0.1,
        classifier_dropout=0.3,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        problem_type="single_label_classification",
        **names,
    )
