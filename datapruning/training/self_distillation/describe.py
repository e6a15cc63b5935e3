"""Self-distillation in words, for the line that a run prints before it trains."""

from datapruning.config.self_distillation import SelfDistillConfig

EXTRA_COMPUTE = {
    "cs-kd": "one more forward pass per step: ",
    "dlb": "every step repeats the batch before: ",
    "tf-kd-self": "its teacher is trained first; after that, ",
}


def describe_self_distillation(settings: SelfDistillConfig) -> str:
    """The method, its numbers and its compute."""
    numbers = ", ".join(f"{key} {value:g}" for key, value in settings.to_dict().items() if key != "method")
    times = f"{settings.compute:.3g} times " if settings.compute > 1 else ""
    extra = EXTRA_COMPUTE.get(settings.method, "")
    return f"self-distillation: {settings.method} ({numbers}); {extra}{times}the compute of plain training"
