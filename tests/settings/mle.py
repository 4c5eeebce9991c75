"""Settings under which maximum likelihood is tested."""

from typing import Any

FURTHER: dict[str, dict[str, Any]] = {
    "scheduled": {"scheduled_sampling": 0.5, "num_layers": 2, "dropout": 0.3, "steps": 8, "patience": 1, "lr": 0.5},
    "transformer": {
        "network": "transformer",
        "num_layers": 2,
        "num_heads": 2,
        "dropout": 0.3,
        "scheduled_sampling": 0.5,
        "steps": 8,
        "patience": 1,
        "lr": 0.5,
    },
}
LINES: dict[str, Any] = {"steps": 60, "hidden_dim": 32, "embedding_dim": 16, "lr": 0.05}
TABLE: dict[str, Any] = {"steps": 150, "lr": 0.02, "batch_size": 64}
