"""`inspect`: what a file or a run folder is, where it came from and whether it is intact."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from datapruning.artifacts.influence import load_influence
from datapruning.artifacts.label_issues import load_label_issues
from datapruning.artifacts.metadata import Metadata
from datapruning.artifacts.pred_probs import load_pred_probs
from datapruning.artifacts.ready_made_scores import scores_file
from datapruning.artifacts.scores import load_scores
from datapruning.artifacts.subset import load_subset
from datapruning.data.dataset_spec import DatasetSpec
from datapruning.data.npz_dataset import open_npz
from datapruning.errors import InvalidFile, first_line
from datapruning.evidence.manifests import MANIFEST
from datapruning.evidence.recording import open_recording
from datapruning.io.npz import read_meta
from datapruning.runs.result import RunResult, StudentResult, TeacherResult, TrainedResult
from datapruning.runs.run import CONFIG, MODEL, Run
from datapruning.runs.training_records import PrunedLayer
from datapruning.selection.strategy import format_settings
from datapruning.utils.plural import plural

RESULT_LINES = ("role", "dataset", "model", "test_accuracy", "fraction", "kept", "total", "scorer", "kd_weight", "budget")
"""Entries of result.json that have a line each."""


def describe(path: Path) -> list[str]:
    """Describe a file or a folder of this package, or ready-made scores, in lines of text, after reading it to its end.

    Raises:
        InvalidFile: It is broken, or of no kind that is known here. UnknownName: No ready-made scores of that name.
    """
    try:
        if not path.is_dir():
            return _describe_file(path)
        return _recording(path) if (path / MANIFEST).exists() else _run(path)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:  # values its reader did not check
        raise InvalidFile(f"{path} is broken: {type(error).__name__}, {first_line(error)}") from None


def _describe_file(path: Path) -> list[str]:
    file = scores_file(path)
    if not file.exists():
        raise InvalidFile(f"{path} is not there")
    if file.suffix in READERS_BY_SUFFIX:
        return READERS_BY_SUFFIX[file.suffix](path)
    if file.suffix != ".npz":
        raise InvalidFile(
            f"{path} is nothing that inspect knows: a scores, subset or dataset .npz, a .safetensors, a .beton, label "
            "issues, a recording or a run folder"
        )
    try:
        meta = read_meta(file, "a scores or subset")
    except InvalidFile as error:
        if "no readable 'meta'" not in str(error):
            raise
        return _dataset(path)
    file_format = str(meta.get("format"))
    if file_format not in READERS_BY_FORMAT:
        raise InvalidFile(f"{path} is neither a scores nor a subset file: its format is '{file_format}'")
    return READERS_BY_FORMAT[file_format](path)


def _dataset(path: Path) -> list[str]:
    try:
        data = open_npz(DatasetSpec(str(path)))
    except InvalidFile as error:  # without the option of other commands
        raise InvalidFile(str(error)) from None
    return [
        f"{path}: a dataset, intact",
        f"  {data.total:,} training and {len(data.test):,} test images of {'x'.join(map(str, data.train.shape))}",
        f"  {data.classes} classes, fingerprint {data.fingerprint}",
    ]


def _artifact(path: Path, title: str, meta: Metadata, seed: int | None, *details: str) -> list[str]:
    """The lines of an artifact: what it is, details, and where it came from."""
    return [
        f"{path}: {title}, intact",
        *(f"  {line}" for line in details),
        f"  made from {meta.dataset} ({meta.total:,} samples), fingerprint {meta.fingerprint}",
        f"  seed {seed}, by datapruning {meta.package_version} on {meta.created}",
    ]


def _scores(path: Path) -> list[str]:
    scores = load_scores(path)
    finite = scores.values[np.isfinite(scores.values)].astype(np.float64)
    low, median, high = np.quantile(finite, [0, 0.5, 1]) if finite.size else [np.nan] * 3
    num_infinite = len(scores.values) - len(finite)
    details = f"; {num_infinite:,} are infinite" if num_infinite else ""
    if scores.stderr is not None:
        details += f", standard error {scores.stderr.astype(np.float64).mean():.3g} on average"
    order = f"scorer {scores.scorer} ({scores.meta.sign}), higher = keep first"
    spread = f"lowest {low:.4g}, median {median:.4g}, highest {high:.4g}{details}"
    return _artifact(path, "a scores file", scores.meta, scores.meta.seed, order, spread)


def _subset(path: Path) -> list[str]:
    subset = load_subset(path)
    meta = subset.meta
    settings = f" ({', '.join(format_settings(meta.settings))})" if meta.settings else ""
    strategy = f"strategy {meta.strategy or 'ids'}{settings}, balance {meta.balance or 'none'}"
    return _artifact(path, "a subset file", meta, meta.seed, f"{subset}; scorer {meta.scorer}, {strategy}")


def _label_issues(path: Path) -> list[str]:
    issues = load_label_issues(path)
    title = f"a list of {len(issues):,} samples whose label is likely wrong"
    return _artifact(path, title, issues.meta, issues.meta.seed, f"by {issues.order}")


def _influence(path: Path) -> list[str]:
    influence = load_influence(path)
    meta = influence.meta
    pairs = f"{len(influence):,} pairs of high influence ({meta.pairs}), {meta.members} members; by chance {meta.expected}"
    return _artifact(path, "an influence file", meta, meta.seed, pairs)


def _pred_probs(path: Path) -> list[str]:
    table = load_pred_probs(path)
    title = f"out-of-sample probabilities of {table.probs.shape[1]} classes"
    return _artifact(path, title, table.meta, table.meta.seed)


def _masks(path: Path) -> list[str]:
    from datapruning.training.sparsity.masks import load_masks

    masks, metadata = load_masks(path)
    layers = _layer_lines(metadata.sparsity.layers)
    return [f"{path}: masks of a pruned network, intact", f"  {masks}", *layers]


def _sparse_weights(path: Path) -> list[str]:
    from datapruning.training.sparsity.export import load_sparse

    weights = load_sparse(path).values()
    count, nonzero = sum(tensor.numel() for tensor in weights), sum(int((tensor != 0).sum()) for tensor in weights)
    return [f"{path}: sparse weights of a pruned network, intact", f"  {nonzero:,} of {count:,} numbers are not zero"]


def _tensors(path: Path) -> list[str]:
    from datapruning.io.tensors import load_tensors

    weights, metadata = load_tensors(path, external=True)
    count = sum(tensor.numel() for tensor in weights.values())
    return [f"{path}: {len(weights)} tensors of {count:,} numbers, intact", *(f"  {key}" for key in metadata)]


def _beton(path: Path) -> list[str]:
    from datapruning.data.loaders.ffcv import Beton

    beton = Beton(path)
    return [f"{path}: an FFCV cache of {len(beton):,} images of {'x'.join(map(str, beton.shape))}, intact"]


READERS_BY_FORMAT: dict[str, Callable[[Path], list[str]]] = {
    "datapruning.scores": _scores, "datapruning.subset": _subset, "datapruning.influence": _influence,
    "datapruning.probs": _pred_probs, "datapruning.masks": _masks, "datapruning.sparse-weights": _sparse_weights,
}  # fmt: skip
READERS_BY_SUFFIX: dict[str, Callable[[Path], list[str]]] = {
    ".csv": _label_issues, ".safetensors": _tensors, ".beton": _beton,
}  # fmt: skip


def _recording(path: Path) -> list[str]:
    recording = open_recording(path)
    recording.labels()
    runs = recording.runs()
    for run in runs:
        recording.check_run(run)
    return [
        f"{path}: a recording of {plural(len(runs), 'run')} of {plural(recording.manifest.epochs, 'epoch')}, intact",
        f"  made from {recording.name} ({recording.total:,} samples), fingerprint {recording.fingerprint}",
    ]


def _run(path: Path) -> list[str]:
    if not (path / CONFIG).exists():
        raise InvalidFile(f"{path} is no run folder: it has no {CONFIG}")
    run = Run(path)
    environment = "  made with " + ", ".join(f"{name} {value}" for name, value in run.environment.to_json().items())
    result = run.result(RunResult)
    if result is None:
        return [f"{path}: a run that is not finished{_progress(run)}; the command that started it resumes it", environment]
    from datapruning.io.tensors import load_tensors

    weights, _ = load_tensors(path / MODEL)
    count = sum(tensor.numel() for tensor in weights.values())
    lines = [f"{path}: a finished run, intact ({count:,} numbers in {MODEL})"]
    values = dict(result)
    lines += [f"  {key}: {values[key]}" for key in RESULT_LINES if values.get(key) is not None]
    if isinstance(result, TrainedResult) and result.self_distill is not None:
        settings = ", ".join(f"{key} {value:g}" for key, value in result.self_distill.settings.items())
        lines.append(f"  self-distillation: {result.self_distill.method} ({settings})")
    if isinstance(result, TeacherResult) and result.early:
        for checkpoint in result.early:
            load_tensors(run.early_checkpoint_path(checkpoint.epoch))
        names = ", ".join(f"{path}@{checkpoint.epoch}" for checkpoint in result.early)
        lines.append(f"  early checkpoints, intact: {names}")
    if isinstance(result, StudentResult):
        if (record := result.sparsity) is not None:
            lines.append(
                f"  weights: {record.kept:,} of {record.total:,} kept ({1 - record.kept / record.total:.2%} removed) by "
                f"{record.settings.criterion}, {record.flops_without_zeros / 1e6:.2f} of {record.flops / 1e6:.2f} M FLOPs "
                "if zeros were skipped"
            )
            lines += [f"  {line}" for line in _layer_lines(record.layers)]
        lines += [f"  teacher: {teacher.path}, {teacher.description}" for teacher in result.teacher]
    seconds = ", ".join(f"{phase} {value:.1f}" for phase, value in result.seconds if value is not None)
    return [*lines, f"  seconds: {seconds}", environment]


def _progress(run: Run) -> str:
    checkpoint = run.checkpoint_path()
    if not checkpoint.exists():
        return ""
    from datapruning.io.tensors import load_tensors

    _, metadata = load_tensors(checkpoint)
    return f" (checkpoint after epoch {json.loads(metadata['state'])['epoch']})"


def _layer_lines(layers: Sequence[PrunedLayer]) -> list[str]:
    return [f"  {layer.name}: {layer.kept:,} of {layer.total:,} kept ({layer.kept / layer.total:.1%})" for layer in layers]
