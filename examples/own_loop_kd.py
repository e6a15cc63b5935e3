"""A training loop of your own, with a network of timm: record, select, and distil on what is kept.

    python examples/own_loop_kd.py

One training on all the data is recorded; it gives the scores and the teacher. Students are then trained on a tenth of the
data, first with the labels alone, then with the teacher's soft labels of the same augmented images. A student so small
depends on its seed: the accuracies are means over two. It takes about 30 seconds on a CPU.
"""

import numpy as np
import timm
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms import v2

import datapruning as dp

FRACTION = 0.1
SEEDS = (1, 2)


class Digits(Dataset):
    """Handwritten digits of 8x8 pixels: (image float32 [1, 16, 16], label), augmented as the transform says."""

    def __init__(self, ids, transform):
        digits = load_digits()
        self.images = torch.from_numpy(digits.images[ids]).float()[:, None] / 16
        self.labels, self.transform = digits.target[ids], transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(self.images[i]), int(self.labels[i])


class WithIds(Dataset):
    """The items of a dataset with their position, which is the sample id."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, i):
        return *self.dataset[i], i


def new_network(seed):
    """A small ResNet for images of one channel."""
    torch.manual_seed(seed)
    sizes = {"layers": (1, 1, 1, 1), "channels": (16, 32, 64, 64), "output_stride": 8}
    return timm.create_model("resnet18", num_classes=10, in_chans=1, **sizes)


def train(network, dataset, epochs, criterion, recorder=None):
    """A plain loop; items are (image, label, id), and with a teacher also its logits."""
    loader = DataLoader(dataset, batch_size=32, shuffle=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, epochs * len(loader))
    network.train()
    for epoch in range(epochs):
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(epoch)  # the view of this epoch
        if recorder:
            recorder.start_epoch(epoch)
        for images, labels, ids, *teacher_logits in loader:
            logits = network(images)
            if recorder:
                recorder.update(logits, labels, ids)
            optimizer.zero_grad()
            criterion(logits, labels, *teacher_logits).total.backward()
            optimizer.step()
            schedule.step()
        if recorder:
            recorder.end_epoch()
    return network.eval()


@torch.inference_mode()
def accuracy(network, dataset):
    """In percent."""
    correct = [(network(images).argmax(1) == labels).float() for images, labels in DataLoader(dataset, batch_size=256)]
    return 100 * torch.cat(correct).mean().item()


def main(teacher_epochs=6, epochs=40):
    """Train the teacher and the students, and print their accuracies."""
    order = np.random.default_rng(0).permutation(1797)
    resize = v2.Resize(16, antialias=True)
    train_set = Digits(order[:1438], v2.Compose([v2.RandomCrop(8, padding=1), resize]))
    test_set = Digits(order[1438:], resize)
    labels_alone = dp.KDLoss(weight=0)

    recorder = dp.record("recording", "digits in my order", total=len(train_set), epochs=teacher_epochs)
    teacher = train(new_network(seed=0), WithIds(train_set), teacher_epochs, labels_alone, recorder)
    recorder.finish()
    print(f"teacher, all {len(train_set):,} samples: {accuracy(teacher, test_set):.1f}%")

    scores = dp.score_recording("recording", "aum")
    kept = dp.select(scores, FRACTION, strategy="ccs").indices
    students = [train(new_network(seed), Subset(WithIds(train_set), kept), epochs, labels_alone) for seed in SEEDS]
    print(f"students, {len(kept):,} samples, labels alone: {np.mean([accuracy(s, test_set) for s in students]):.1f}%")

    soft_labels = dp.soft_labels(teacher, train_set, kept, num_views=8)
    with_teacher = dp.KDLoss(weight=0.9, temperature=4)
    students = [train(new_network(seed), soft_labels.dataset(), epochs, with_teacher) for seed in SEEDS]
    print(f"students, {len(kept):,} samples, with the teacher: {np.mean([accuracy(s, test_set) for s in students]):.1f}%")


if __name__ == "__main__":
    main()
