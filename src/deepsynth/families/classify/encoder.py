"""A sentence encoder with a linear head, and the folder it is kept in.

A sentence encoder gives a text one vector, pooled over its tokens as it was trained to be. The
classifiers of transformers read another one, mostly that of the first token, which such an encoder
never learned to fill. This puts the head on the vector the encoder was made for.

The folder is one of sentence-transformers, whose last module is the head:

```
config.json, model.safetensors    the encoder     sentence_bert_config.json   tokens of a text
1_Pooling/, 2_Normalize/          one vector      3_Dense/                    scores of the labels
```
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from deepsynth import durable
from deepsynth.hub.account import client_token

MODULES = "modules.json"
_KIND = "sentence_transformers.models."
_POOLING, _NORMALIZE, _DENSE = "1_Pooling", "2_Normalize", "3_Dense"
_HEAD = "model.safetensors"
_PLAIN = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Pooling:
    """How the vectors of the tokens become the one of the text.

    Attributes:
        mode: Their mean, or the vector of the first token.
        normalize: Whether it is scaled to length 1.
    """

    mode: Literal["mean", "cls"]
    normalize: bool


def read_pooling(model: str, revision: str | None = None) -> Pooling | None:
    """The pooling a model was made for; None for one that is no sentence encoder.

    Args:
        model: Folder, or name on the Hub.
        revision: Of the Hub.
    """
    modules = _read(model, MODULES, revision)
    if not isinstance(modules, list):
        return None
    named = [m for m in modules if isinstance(m, dict)]
    paths = {str(m.get("type")).rsplit(".", 1)[-1]: str(m.get("path")) for m in named}
    place = paths.get("Pooling", "")
    # The folder stands in somebody's file: a plain name, so that nothing else is read.
    said = _read(model, f"{place}/config.json", revision) if _PLAIN.fullmatch(place) else None
    if not isinstance(said, dict):
        return None
    mode = said.get("pooling_mode")
    if said.get("pooling_mode_mean_tokens") or mode == "mean":
        return Pooling("mean", "Normalize" in paths)
    if said.get("pooling_mode_cls_token") or mode == "cls":
        return Pooling("cls", "Normalize" in paths)
    return None


class SentenceClassifier(nn.Module):
    """An encoder, its pooling and a linear head; called as transformers' classifiers are.

    Args:
        encoder: Of transformers, with the labels in its configuration.
        pooling: What it was made for.
    """

    def __init__(self, encoder: Any, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.config = encoder.config
        self.classifier = nn.Linear(encoder.config.hidden_size, encoder.config.num_labels)

    @classmethod
    def from_pretrained(
        cls, model: str, config: Any, pooling: Pooling, revision: str | None = None
    ) -> SentenceClassifier:
        """The encoder of a folder or of the Hub, with a fresh head."""
        from transformers import MODEL_MAPPING

        kind: Any = MODEL_MAPPING[type(config)]
        kind = kind[0] if isinstance(kind, tuple) else kind
        # BERT's own pooler reads the first token; nothing would train it here.
        own = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
        more = {"add_pooling_layer": False} if own else {}
        encoder = kind.from_pretrained(
            model,
            config=config,
            revision=revision,
            token=client_token(),
            dtype=torch.float32,
            **more,
        )
        return cls(encoder, pooling)

    @classmethod
    def load(cls, folder: Path) -> SentenceClassifier:
        """What `save` wrote.

        Raises:
            OSError: A file is missing.
            ValueError: It is another kind of sentence-transformers folder.
        """
        from transformers import AutoConfig

        pooling = read_pooling(str(folder))
        if pooling is None:
            raise ValueError(f"{folder / MODULES} names no pooling that is known")
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        self = cls.from_pretrained(str(folder), config, pooling)
        head = load_file(folder / _DENSE / _HEAD)
        with torch.no_grad():
            self.classifier.weight.copy_(head["linear.weight"])
            self.classifier.bias.copy_(head["linear.bias"])
        return self

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.classifier.weight.device

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor | None = None,
    ) -> Any:
        """Logits of shape (texts, labels), and the loss where labels are given."""
        from transformers.modeling_outputs import SequenceClassifierOutput

        found = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        hidden = found.last_hidden_state
        if self.pooling.mode == "mean":
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            vector = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        else:
            vector = hidden[:, 0]
        if self.pooling.normalize:
            vector = nn.functional.normalize(vector, dim=1)
        logits = self.classifier(vector)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=cast(Any, loss), logits=logits)

    def save(self, folder: Path, max_length: int) -> None:
        """Write the folder; the tokenizer's files belong beside it.

        Args:
            folder: Where.
            max_length: Tokens a text is cut to.
        """
        self.encoder.save_pretrained(str(folder))
        width, labels = self.classifier.in_features, self.classifier.out_features
        parts = [("Transformer", ""), ("Pooling", _POOLING)]
        parts += [("Normalize", _NORMALIZE)] if self.pooling.normalize else []
        parts.append(("Dense", _DENSE))
        for _, path in parts[1:]:
            (folder / path).mkdir()
        durable.write_json(
            folder / MODULES,
            [
                {"idx": index, "name": str(index), "path": path, "type": _KIND + kind}
                for index, (kind, path) in enumerate(parts)
            ],
        )
        durable.write_json(
            folder / "sentence_bert_config.json",
            {"max_seq_length": max_length, "do_lower_case": False},
        )
        durable.write_json(
            folder / _POOLING / "config.json",
            {
                "word_embedding_dimension": width,
                "pooling_mode_cls_token": self.pooling.mode == "cls",
                "pooling_mode_mean_tokens": self.pooling.mode == "mean",
            },
        )
        durable.write_json(
            folder / _DENSE / "config.json",
            {
                "in_features": width,
                "out_features": labels,
                "bias": True,
                "activation_function": "torch.nn.modules.linear.Identity",
            },
        )
        head = {f"linear.{name}": value for name, value in self.classifier.state_dict().items()}
        save_file(head, folder / _DENSE / _HEAD)


def _read(model: str, name: str, revision: str | None) -> Any:
    from transformers.utils.hub import cached_file

    found = cached_file(
        model,
        name,
        revision=revision,
        token=client_token(),
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return durable.read_json(Path(found)) if found else None
