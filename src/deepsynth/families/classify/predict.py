"""Using a trained classifier: a label and its probability for each text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deepsynth.checks.report import refuse_errors
from deepsynth.data.columns import find_text_column
from deepsynth.data.table import FORMATS, read_table
from deepsynth.errors import DataError
from deepsynth.families.classify.inference import load_trained, probabilities
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.prepared import model_folder
from deepsynth.run.run import Run


def predict(run: Run, texts: Sequence[str], files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Label texts with the model of a run.

    Args:
        run: A run whose training is done.
        texts: Texts to label.
        files: Tables as for training (their text column is found the same way), or plain text
            files with one text a line.

    Yields:
        `text`, `label`, `probability`, and `probabilities` by label.

    Raises:
        ModelError: The run has no model yet.
        DataError: A file cannot be read.
    """
    job = run.job(ClassifyJob)
    wanted = [*texts, *(text for file in files for text in read_texts(file, job))]
    model, tokenizer, settings = load_trained(model_folder(run))
    if not wanted:
        return
    scores = probabilities(model, tokenizer, wanted, max_length=settings["max_length"])
    for text, row in zip(wanted, scores, strict=True):
        best = int(row.argmax())
        yield {
            "text": text,
            "label": settings["labels"][best],
            "probability": round(float(row[best]), 6),
            "probabilities": {
                label: round(float(p), 6) for label, p in zip(settings["labels"], row, strict=True)
            },
        }


def read_texts(file: Path, job: ClassifyJob) -> list[str]:
    """The texts of a file: the text column of a table, or the lines of a `.txt`.

    Raises:
        DataError: It cannot be read, or a row of it has no text.
    """
    if file.suffix.lower() in FORMATS:
        table = read_table(file, job.data.encoding)
        refuse_errors(table.problems)
        column = job.data.text if job.data.text in table.columns else None
        values = table.columns[find_text_column(table, column)]
        for value, place in zip(values, table.places, strict=True):
            if not isinstance(value, str) or not value.strip():
                raise DataError("this row has no text.", where=place, hint="Remove it, or fill it.")
        return values
    try:
        lines = file.read_text(encoding=job.data.encoding or "utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError("there is no such file.", where=file) from None
    except IsADirectoryError:
        raise DataError("this is a folder; give a file.", where=file) from None
    except UnicodeDecodeError:
        raise DataError(
            "this is not a text file in UTF-8.",
            where=file,
            hint=f"Give a text file with one text a line, or a table: {', '.join(FORMATS)}.",
        ) from None
    return [line for line in lines if line.strip()]
