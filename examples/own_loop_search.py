"""Your own loop, plain PyTorch, with the search of `--kd-weight auto`: 20% of the digits, a teacher of all of them.

The search needs two functions, `train` and `evaluate`. It trains the first half with what its prior proposes, probes other
KD weights and temperatures from there, and says with which of them the second half is trained.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import datapruning as dp

NUM_STEPS, BATCH_SIZE, LR = 300, 32, 0.01
digits = load_digits()
images, labels = torch.tensor(digits.images / 16, dtype=torch.float32), torch.tensor(digits.target)
train_images, train_labels, test_images, test_labels = images[:1437], labels[:1437], images[1437:], labels[1437:]
kept_ids = np.random.default_rng(0).permutation(1437)[:287]


def make_network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )  # fmt: skip


teacher = make_network()
optimizer = torch.optim.Adam(teacher.parameters(), LR)
for _ in range(100):
    optimizer.zero_grad()
    cross_entropy(teacher(train_images), train_labels).backward()
    optimizer.step()
teacher_logits = teacher(train_images).detach()


def train(candidate, state, steps):
    network = make_network()
    optimizer = torch.optim.Adam(network.parameters(), LR)
    if state is not None:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    criterion = dp.KDLoss(candidate.weight, candidate.temperature)
    for step in steps:
        ids = torch.tensor(np.random.default_rng(step).choice(kept_ids, BATCH_SIZE, replace=False))
        for group in optimizer.param_groups:
            group["lr"] = steps.learning_rate(lambda step: LR * (1 - step / NUM_STEPS), step)
        optimizer.zero_grad()
        criterion(network(train_images[ids]), train_labels[ids], teacher_logits[ids]).total.backward()
        optimizer.step()
    return {"network": network.state_dict(), "optimizer": optimizer.state_dict()}


def predict(state, images):
    network = make_network()
    network.load_state_dict(state["network"])
    with torch.no_grad():
        return network(images)


search = dp.WeightSearch(teacher_logits, train_labels, kept_ids, num_steps=NUM_STEPS, batch_size=BATCH_SIZE)
validation = search.choose_validation_set(subset_is_random=True)  # pruned-away samples
decision = search.run(
    train, lambda state: predict(state, train_images[validation.ids]), train_labels[validation.ids], validation.weights
)
state = train(decision.chosen, decision.state, decision.remaining)

print(decision)
accuracy = (predict(state, test_images).argmax(1) == test_labels).float().mean()
print(f"{accuracy:.1%} on the test set; {decision.predicted[decision.chosen]:.1f}% were predicted half way")
