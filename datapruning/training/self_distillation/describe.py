"""Self-distillation in words: what a run says before it trains."""

from datapruning.config.self_distillation import SelfDistillConfig

EXTRA = {
    "cs-kd": "one more forward pass per update: ",
    "dlb": "the batch before passes through every update again: ",
    "tf-kd-self": "its teacher is a training of its own; beside that, ",
}


def describe_self_distillation(settings: SelfDistillConfig) -> str:
    """The method, its numbers and its compute."""
    numbers = ", ".join(f"{key} {value:g}" for key, value in settings.to_dict().items() if key != "method")
    times = f"{settings.compute:.3g} times " if settings.compute > 1 else ""
    extra = EXTRA.get(settings.method, "")
    return f"self-distillation: {settings.method} ({numbers}); {extra}{times}the compute of plain training"
