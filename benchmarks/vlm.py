"""Training DeepSeek-OCR-2 with LoRA: a hand-written loop, the plain Trainer, and DeepSynth.

    python benchmarks/vlm.py                 # real widths at reduced depth, on a CPU
    python benchmarks/vlm.py --size full     # the whole architecture, on a GPU

Needs no internet and no weights: the architecture is real, the weights are random. Every way runs
in a process of its own, and the ways take turns, round after round; trust the ratios, not the
times. No round begins that might not end within `--minutes`.

`naive` is the loop of the guide: target names as it writes them (they reach the vision tower),
pages decoded and processed in the loop, 32-bit weights, logits for every position.
`trainer` is `transformers.Trainer` with LoRA on the language model alone, bfloat16 where the
machine computes in it, and worker processes (on a GPU). `ours` adds cached features, an encoder
that leaves memory once they are cached, and logits on the summary only. All of them take the same
documents in the same order, so that their losses can be laid over each other; grouping by length
is therefore left out. Results go to `benchmarks/results/vlm_SIZE.json`, the curves to
`vlm_SIZE.png`.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vlm_results import WAYS, draw_curves, table

ROOT = Path(__file__).parent
ARTICLES = ROOT.parent / "examples" / "articles" / "articles.jsonl"
LEARNING_RATE = 1e-3
PROMPT = "Summarize this document."
DEPTHS = {
    # Decoder layers, SAM layers, query-encoder layers; the real model has 12, 12 and 24.
    "smoke": (2, 1, 1),
    "reduced": (2, 2, 4),
    "full": (12, 12, 24),
}
AMOUNTS = {
    # Batch size, documents, updates, rounds.
    "smoke": (1, 2, 2, 1),
    "reduced": (2, 4, 8, 2),
    "full": (4, 64, 24, 2),
}


def now() -> float:
    """Wall time on a GPU; on a CPU processor time, which a busy machine disturbs less."""
    import torch

    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def in_halves(device: str) -> bool:
    """Whether this machine computes in bfloat16, rather than emulating it."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = Path("/proc/cpuinfo")
    known = flags.read_text(encoding="utf-8") if flags.is_file() else ""
    return "avx512_bf16" in known or "amx_bf16" in known


def documents(count: int) -> list[dict[str, Any]]:
    """Articles of the project drawn on one page of 1024 pixels each."""
    from PIL import Image, ImageDraw, ImageFont

    lines = ARTICLES.read_text(encoding="utf-8").splitlines()
    font = ImageFont.load_default(16)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        article = json.loads(lines[number % len(lines)])
        image = Image.new("L", (1024, 1024), "white")
        text = f"{number} {article['text']}"
        wrapped = "\n".join(text[i : i + 110] for i in range(0, min(len(text), 5000), 110))
        ImageDraw.Draw(image).multiline_text((32, 32), wrapped, fill="black", font=font)
        stream = io.BytesIO()
        image.save(stream, format="PNG")
        rows.append({"images": [stream.getvalue()], "summary": article["summary"]})
    return rows


def processor() -> Any:
    """The real geometry over a small tokenizer: 257 tokens for a page of 1024 pixels."""
    from transformers import DeepseekOcr2ImageProcessorPil, DeepseekOcr2Processor

    from deepsynth.families.summarize.tiny_model import tiny_tokenizer

    texts = ARTICLES.read_text(encoding="utf-8").splitlines()
    return DeepseekOcr2Processor(
        image_processor=DeepseekOcr2ImageProcessorPil(
            size={"height": 1024, "width": 1024}, tile_size=768
        ),
        tokenizer=tiny_tokenizer(texts, 2048),
        patch_size=16,
        downsample_ratio=4,
    )


def build(way: str, args: argparse.Namespace, device: str) -> tuple[Any, Any, Any]:
    """Model with adapters, processor and geometry of one way."""
    import torch
    from benchmarks.reference_model import reference_config
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    from deepsynth.families.summarize.job import LoraSettings
    from deepsynth.families.summarize.lora import place_lora
    from deepsynth.families.summarize.model import page_view
    from deepsynth.training import get_lora_preset

    made = processor()
    token = made.tokenizer.convert_tokens_to_ids("<image>")
    config = reference_config(*DEPTHS[args.size], image_token_id=token)
    halves = way != "naive" and in_halves(device)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(
            config, dtype=torch.bfloat16 if halves else torch.float32
        )
    if way == "naive":
        names = ["q_proj", "k_proj", "v_proj", "o_proj"]
        lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=names)
        model = get_peft_model(model, lora)
    else:
        settings = LoraSettings(dropout=0.0).filled(get_lora_preset("standard"))
        model = place_lora(model, settings)
    return model.to(device), made, page_view(made, (1024, 1024))


def run_naive(args: argparse.Namespace, device: str) -> dict[str, Any]:
    """Read, process, forward, backward, update: one after the other."""
    import torch

    from deepsynth.families.summarize.batches import PageCollator
    from deepsynth.families.summarize.samples import PageSamples

    model, made, view = build("naive", args, device)
    samples = PageSamples(documents(args.samples), "articles")
    collator = PageCollator(made, view, PROMPT)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=LEARNING_RATE)
    model.train()
    losses: list[float] = []
    marks = [now()]
    for step in range(args.steps):
        indices = [(step * args.batch + i) % len(samples) for i in range(args.batch)]
        batch = collator([samples[i] for i in indices])
        batch.pop("sample_index")
        batch = {name: value.to(device) for name, value in batch.items()}
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
        marks.append(now())
    return {"losses": losses, "marks": marks, "encode_seconds": 0.0}


def run_trainer(way: str, args: argparse.Namespace, device: str) -> dict[str, Any]:
    """`transformers.Trainer` as it is, or with what DeepSynth adds."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainerCallback

    from deepsynth.families.summarize.batches import PageCollator
    from deepsynth.families.summarize.features import (
        FeatureStore,
        encode_pages,
        page_encoder,
        plain_model,
        release_encoder,
    )
    from deepsynth.families.summarize.job import TrainerConfig
    from deepsynth.families.summarize.recommend import filled
    from deepsynth.families.summarize.samples import PageSamples
    from deepsynth.families.summarize.trainer import VlmTrainer, training_arguments

    class InOrder(VlmTrainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(samples)

    ours = way == "ours"
    model, made, view = build(way, args, device)
    samples = PageSamples(documents(args.samples), "articles")
    collator = PageCollator(made, view, PROMPT)
    halves = in_halves(device)
    epochs = args.steps * args.batch / args.samples
    config = filled(
        TrainerConfig(
            epochs=epochs,
            batch_size=args.batch,
            gradient_accumulation=1,
            learning_rate=LEARNING_RATE,
            scheduler="constant",
            warmup_ratio=0.0,
            evaluations=1,
            mixed_precision="bf16" if halves else "no",
            target_only_logits=ours,
            preset="standard",
        ),
        args.samples,
    )
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *arguments: Any, **kwargs: Any) -> None:
            marks.append(now())

        def on_step_end(self, *arguments: Any, **kwargs: Any) -> None:
            if device == "cuda":
                torch.cuda.synchronize()
            marks.append(now())

    with tempfile.TemporaryDirectory() as folder:
        encoded = 0.0
        if ours:
            dtype = torch.bfloat16 if halves else torch.float32

            def autocast() -> Any:
                return torch.autocast(device, torch.bfloat16, enabled=halves)

            started = now()
            store = FeatureStore(Path(folder), ["benchmark"], 1280, dtype)
            encode_pages(
                samples,
                store,
                page_encoder(model, collator, autocast),
                batch_size=8 if device == "cuda" else 1,
            )
            samples.forget_bytes()
            release_encoder(plain_model(model))
            collator = PageCollator(made, view, PROMPT, pages="features", features=store)
            encoded = now() - started
            if device == "cuda":
                torch.cuda.empty_cache()
        arguments = training_arguments(
            config,
            Path(folder) / "out",
            args.samples,
            validates=False,
            workers=0 if ours or device == "cpu" else min(8, (os.cpu_count() or 2) - 1),
        )
        arguments.save_strategy = "no"
        arguments.logging_steps = 1
        arguments.train_sampling_strategy = "sequential"
        if ours:
            trainer: Any = InOrder(model, arguments, config, samples, None, collator, [Clock()])
        else:

            def without_index(rows: Any) -> dict[str, Any]:
                batch = collator(rows)
                batch.pop("sample_index")
                return batch

            trainer = Trainer(
                model=model,
                args=arguments,
                train_dataset=samples,
                data_collator=without_index,
                processing_class=made,
                callbacks=[Clock()],
            )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"losses": losses, "marks": marks, "encode_seconds": encoded}


def run_way(args: argparse.Namespace) -> dict[str, Any]:
    """One way in this process: steps, and what they cost."""
    import torch

    device = _device()
    if device == "cpu":
        torch.set_num_threads(args.threads)
    found = run_naive(args, device) if args.way == "naive" else run_trainer(args.way, args, device)
    marks = found.pop("marks")
    # The first step warms up.
    seconds = [after - before for before, after in itertools.pairwise(marks[1:])]
    peak = (
        torch.cuda.max_memory_allocated() / 1e9
        if device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    )
    return {
        "way": args.way,
        "samples_per_second": args.batch / statistics.median(seconds),
        "peak_gb": peak,
        **found,
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All ways in turn, each in a process of its own, `--rounds` times."""
    runs: list[dict[str, Any]] = []
    started, longest = time.monotonic(), 0.0
    for number in range(args.rounds):
        began = time.monotonic()
        if began - started + longest > 60 * args.minutes:
            print(f"round {number} might not end within {args.minutes:g} minutes: left out")
            break
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way]
            for name in ("size", "batch", "samples", "steps", "threads"):
                command += [f"--{name}", str(getattr(args, name))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stderr[-3000:], file=sys.stderr)
                raise SystemExit(f"{way} failed")
            runs.append({"round": number, **json.loads(done.stdout.splitlines()[-1])})
            print(f"round {number} {way}: {runs[-1]['samples_per_second']:.3f} samples/s, "
                  f"{runs[-1]['peak_gb']:.1f} GB", flush=True)  # fmt: skip
        longest = max(longest, time.monotonic() - began)
    return {
        "settings": {k: getattr(args, k) for k in ("size", "batch", "samples", "steps", "rounds")},
        "depths": DEPTHS[args.size],
        "machine": _machine(),
        "precision": {
            "naive": "32 bits",
            **dict.fromkeys(WAYS[1:], "bfloat16" if in_halves(_device()) else "32 bits"),
        },
        "versions": {n: version(n) for n in ("torch", "transformers", "peft")},
        "table": table(runs),
        "runs": runs,
    }


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _machine() -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"cpus": os.cpu_count(), "gpu": gpu, "platform": platform.platform()}


def main() -> None:
    """Parse, measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=list(DEPTHS), default="reduced")
    for name in ("batch", "samples", "steps", "rounds"):
        parser.add_argument(f"--{name}", type=int, help="by default as the size asks")
    parser.add_argument("--minutes", type=float, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--way", choices=WAYS)
    args = parser.parse_args()
    for name, amount in zip(
        ("batch", "samples", "steps", "rounds"), AMOUNTS[args.size], strict=True
    ):
        if getattr(args, name) is None:
            setattr(args, name, amount)
    if args.way:
        print(json.dumps(run_way(args)))
        return
    result = measure(args)
    place = ROOT / "results" / f"vlm_{args.size}.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    draw_curves(result["runs"], args.size, place.with_suffix(".png"))
    for row in result["table"]:
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
