"""What messages say: the dataset, the option and the setting that a user has to change, and numbers with their nouns."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datapruning.artifacts.metadata import SubsetMetadata, check_same_dataset, common_fields
from datapruning.data.dataset import Dataset
from datapruning.data.registry import open_dataset
from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.evidence.collect import EvidenceEstimate, print_evidence_cost
from datapruning.models import create_model
from datapruning.runs.context import Context
from datapruning.runs.training_records import LABELS_ONLY, Candidate, ProbeResult
from datapruning.scorers import get_scorer
from datapruning.training.distillation.candidate_search import CandidateSearch, Proposal
from datapruning.utils.plural import plural


def test_ids_outside_name_the_dataset(expect_refusal: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("3\n1438\n")
    line = expect_refusal("select", "--ids", "ids.txt", "--data", "digits")
    assert line == "dprune: ids.txt: id 1438 is not in 0..1437, the training samples of digits (1 such id)"
    (tmp_path / "ids.txt").write_text("3\n1438\n-1\n")
    assert expect_refusal("train", "--subset", "ids.txt", "--data", "digits").endswith("of digits (2 such ids)")


def test_weights_of_another_network_name_the_setting(expect_refusal: Callable[..., str], tmp_path: Path) -> None:
    torch.save(create_model("tinynet8", (8, 8, 1), 10, 0).state_dict(), tmp_path / "weights.pth")
    line = expect_refusal("train", "--fraction", 0.2, "--teacher", "weights.pth")
    assert line.startswith("dprune: weights.pth does not fit the model: weight ")
    assert line.endswith("; teacher.model is convnet: set it to the network of these weights")


def test_a_network_that_does_not_take_the_images_names_the_setting(expect_refusal: Callable[..., str]) -> None:
    line = expect_refusal("teach", "--set", "teacher.model=torchvision:alexnet")
    assert line.startswith("dprune: teacher.model 'torchvision:alexnet' ")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("train.lr=-3", "dprune: train.lr lies in 0..1e+06; got -3.0 (--set)"),
        (
            "train.optimizer=adam",
            "dprune: train.optimizer: unknown optimizer 'adam': did you mean 'adamw'? known: adamw, muon, sgd (--set)",
        ),
    ],
)
def test_a_wrong_change_is_not_blamed_on_the_recipe(change: str, line: str, expect_refusal: Callable[..., str]) -> None:
    assert expect_refusal("teach", "--set", change) == line


def test_another_dataset_names_the_options_that_differ(small_dataset: Dataset) -> None:
    photos = replace(small_dataset, content_hash="00ff", source="/photos?holdout=0.1", name="photos")
    recorded = SubsetMetadata(**common_fields(photos), scorer="ids").model_copy(update={"fingerprint": "0"})

    def refusal(source: str) -> str:
        with pytest.raises(IncompatibleInputs) as refused:
            check_same_dataset("this subset", recorded, replace(photos, source=source))
        return str(refused.value).partition("): ")[2]

    assert refusal("/photos?image-size=96&holdout=0.2") == "image-size not given, here 96; holdout 0.1, here 0.2"
    assert refusal("/photos?holdout=0.1&image-format=jpg:80") == "image-format raw, here jpg:80"
    assert refusal("/elsewhere/photos?holdout=0.1") == "the options are the same, so images or labels have changed since"


def test_a_weight_that_was_not_probed_says_why_it_is_chosen() -> None:
    probed, other = (Candidate(weight=weight, temperature=4.0, teacher=0) for weight in (0.75, 0.9))
    proposal = Proposal(probed, [LABELS_ONLY, probed, other], np.zeros(3), None, ())
    search = CandidateSearch(proposal, np.ones(4), 3, probe_cost=0.05)
    search.results.append(ProbeResult(**dict(probed), accuracy=50.0, stderr=1.0, samples_seen=1, seconds=1.0))
    assert search.describe_choice(probed).endswith("is chosen, as the prior proposed")
    assert search.describe_choice(other).endswith(
        ": not probed itself, but by the probes of others and the prior it is expected to be the best"
    )


def test_numbers_agree_with_their_nouns(dprune: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    assert (plural(1, "trial"), plural(1200, "trial"), plural(2, "class", "classes")) == (
        "1 trial",
        "1,200 trials",
        "2 classes",
    )
    assert str(EvidenceEstimate(1, 2)) == "1 proxy and 2 members of an ensemble"
    options = (
        "--set",
        "train.epochs=1",
        "--set",
        "train.model=tinynet8",
        "--kd-weights",
        0,
        "--seeds",
        1,
        "--fractions",
        0.1,
    )
    command = dprune("sweep", *options)
    assert "sweep: 1 trial, one of each" in command.err  # type: ignore[attr-defined]
    assert "to train: 1 student, 144 samples in all" in command.err  # type: ignore[attr-defined]
    assert "Student: tinynet8, 1 epoch, budget: epochs." in command.out  # type: ignore[attr-defined]


def test_memorization_says_what_fewer_members_give(
    digits: Dataset, make_context: Callable[..., Context], capsys: pytest.CaptureFixture[str]
) -> None:
    context = make_context(digits, "ensemble.num_members=60")
    print_evidence_cost(context, [get_scorer("memorization")])
    assert capsys.readouterr().err.splitlines()[1] == (
        "ensemble: fewer members cost less (ensemble.num_members=20: a third): in our measurement 100 ranked samples as 300 "
        "do to 0.95 of what is attainable, 30 to 0.94"
    )


def make_tiny_imagenet(root: Path) -> list[str]:
    """Write a folder as Tiny-ImageNet unpacks: two classes, four validation images, unlabelled test images."""
    rng = np.random.default_rng(0)
    paths = [f"train/{name}/images/{name}_{k}.JPEG" for name in ("n01", "n02") for k in range(6)]
    paths += [f"val/images/val_{k}.JPEG" for k in range(4)] + ["test/images/test_0.JPEG"]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(root / path)
    return [f"val_{k}.JPEG\tn0{1 + k % 2}\t0\t0\t9\t9" for k in (0, 1, 3, 2)]


def test_tiny_imagenet_is_read_as_it_unpacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = make_tiny_imagenet(tmp_path / "tiny")
    (tmp_path / "tiny/val/val_annotations.txt").write_text("\n".join(lines) + "\n")
    data = open_dataset(f"{tmp_path / 'tiny'}?image-size=16", workspace=tmp_path / "runs")
    assert (data.class_names, data.total, data.test.labels.tolist()) == (("n01", "n02"), 12, [0, 0, 1, 1])
    assert data.test_paths is not None
    assert [Path(path).name for path in data.test_paths] == ["val_0.JPEG", "val_2.JPEG", "val_1.JPEG", "val_3.JPEG"]
    assert f"{tmp_path / 'tiny/val'}: 4 images, whose classes val_annotations.txt names\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("val_0.JPEG\tn03", "line 1: class 'n03' is no folder of the training set"),
        ("val_9.JPEG\tn01", "line 1: .*val_9.JPEG is not there"),
        ("val_0.JPEG n01", "line 1: the name of an image, a tab and its class are needed"),
        ("../../x\tn01", "line 1: the name of an image, a tab and its class are needed"),
        ("", "val_annotations.txt names no image"),
    ],
)
def test_a_wrong_list_of_classes_is_one_line(line: str, message: str, tmp_path: Path) -> None:
    make_tiny_imagenet(tmp_path / "tiny")
    (tmp_path / "tiny/val/val_annotations.txt").write_text(line + "\n")
    with pytest.raises(InvalidFile, match=message):
        open_dataset(f"{tmp_path / 'tiny'}?image-size=16", workspace=tmp_path / "runs")
