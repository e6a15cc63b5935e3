"""Computing the norm of each sample's gradient, by all weights and by the last layer alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy, one_hot, softmax

from datapruning.data.batching import EVAL_BATCH_SIZE
from datapruning.evidence.gradients import Gradients
from datapruning.evidence.proxies import EARLY_WEIGHTS
from datapruning.evidence.recording import Recording, write_array
from datapruning.io.checksums import verify_checksum, write_checksummed
from datapruning.io.locks import exclusive_lock
from datapruning.io.memmap import open_checked_memmap
from datapruning.io.tensors import load_tensors
from datapruning.models import parameter_count
from datapruning.models.features import last_linear
from datapruning.runs.context import Context
from datapruning.training.checkpoint import load_weights
from datapruning.training.distributed.collectives import all_reduce
from datapruning.training.evaluate import predict_with_features
from datapruning.training.reproducibility import reproducible
from datapruning.utils.console import ProgressBar
from datapruning.utils.processes import agree, num_processes, rank

MAX_GRADIENT_NUMBERS = 1 << 28
"""Numbers in the gradients of one batch of samples together: 1 GB."""
RECOMPUTE_HINT = "delete it to have it made again"


def open_gradients(context: Context, recording: Recording, runs: int) -> Gradients:
    """Gradients at the early checkpoints of the first `runs` runs; computed when they are read, and kept in the recording.

    The network is in evaluation mode and sees no augmentation, as in the released code of Paul et al. 2021.
    """

    def compute(which: str) -> NDArray[np.float32]:
        return np.stack([_run_norms(context, recording, number, which) for number in range(runs)])

    return Gradients(compute, recording.early_evaluation().cost)


def _run_norms(context: Context, recording: Recording, number: int, which: str) -> NDArray[np.float32]:
    folder = recording.run_folder(number)
    name = f"gradient-{which}.npy"
    path = folder / name
    if not agree(path.exists()) and not context.may_write(folder):  # somebody else's recording
        path = context.workspace / "evidence" / recording.folder.name / folder.name / name
    if agree(path.exists()):
        return _read_norms(path, recording)
    with exclusive_lock(path, f"another process computes the gradients of proxy {number + 1}"):
        if not path.exists():
            weights = folder / EARLY_WEIGHTS
            model = context.new_model(context.recipe.proxy.model, 0)
            load_weights(model, {name: t.to(context.device) for name, t in load_tensors(weights)[0].items()}, weights)
            with reproducible(context.threads, context.recipe.proxy), write_checksummed(path):
                write_array(path, gradient_norms(context, model, which, f"gradients {number + 1}"))
    return _read_norms(path, recording)


def _read_norms(path: Path, recording: Recording) -> NDArray[np.float32]:
    verify_checksum(path, RECOMPUTE_HINT)
    return np.array(open_checked_memmap(path, np.float32, (recording.total,), "gradient norms", advice=RECOMPUTE_HINT))


def gradient_norms(context: Context, model: nn.Module, which: str, label: str) -> NDArray[np.float32]:
    """Gradient norms of every training sample, float32 [N]; `which`: "all" or "last"."""
    total = context.data.total
    norms = np.zeros(total, np.float32)
    model.eval()
    with ProgressBar.open(label, total) as bar:
        if which == "last":
            bias = last_linear(model).bias is not None
            batches = predict_with_features(model, context.loader("train"), np.arange(total), context.views)
            for ids, labels, logits, features in batches:
                norms[ids] = last_layer_norms(logits, labels, features, bias=bias).cpu().numpy()
                bar.advance(len(ids))
            return norms
        batch_size = int(min(EVAL_BATCH_SIZE, max(1, MAX_GRADIENT_NUMBERS // parameter_count(model))))
        loader, norms_of = context.loader("train"), per_sample_norms(model)
        parts = np.array_split(np.arange(total), -(-total // batch_size))
        for batch in loader.read(parts[rank() :: num_processes()]):
            norms[batch.ids] = norms_of(context.views.normalise(batch.images), batch.labels).cpu().numpy()
            bar.advance(len(batch.ids) * num_processes())
    return norms if num_processes() == 1 else all_reduce(torch.from_numpy(norms)).numpy()  # each sample is 0 in all but one


def last_layer_norms(logits: Tensor, labels: Tensor, features: Tensor, *, bias: bool) -> Tensor:
    """||d cross-entropy / d (weight, bias) of the last linear layer||_2 of each sample, [n].

    The gradient is the outer product of p - onehot(y) with the features (and 1, for the bias).
    """
    errors = softmax(logits, 1) - one_hot(labels, logits.shape[1])
    lengths = features.float().square().sum(1) + (1 if bias else 0)
    norms: Tensor = errors.norm(dim=1) * lengths.sqrt()
    return norms


def per_sample_norms(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """(images [n, c, h, w], labels [n]) -> ||gradient by all weights||_2 [n], float32 throughout."""
    weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    rest: dict[str, Any] = dict(model.named_buffers())
    rest |= {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, (weights, rest), (image[None],))
        value: Tensor = cross_entropy(logits, label[None])
        return value

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0))

    def norms(images: Tensor, labels: Tensor) -> Tensor:
        gradients = per_sample(weights, images, labels)
        squares = [g.flatten(1).square().sum(1) for g in gradients.values()]
        total: Tensor = torch.stack(squares).sum(0).sqrt()
        return total

    return norms
