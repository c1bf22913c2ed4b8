"""Let a torchvision built for CUDA be imported beside a torch built for CPUs.

Copied into the managed environment, where a `.pth` file imports it at start, so it may import
nothing of DeepSynth. The C extension of the torchvision wheel cannot load there, and torchvision
then registers fake kernels for two operators that do not exist. Declaring the operators first is
enough: the transforms, all that Kraken uses, are pure Python. Calling `nms` itself still fails,
as it should.
"""

import importlib.abc
import sys


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Declares the missing operators just before torchvision is imported for the first time."""

    kept = None

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name != "torchvision":
            return
        sys.meta_path.remove(self)
        import torch

        if not torch.backends.cuda.is_built():
            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou) -> Tensor")
            _BeforeTorchvision.kept = library


sys.meta_path.insert(0, _BeforeTorchvision())
