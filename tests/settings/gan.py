"""Settings under which the GAN is tested."""

from typing import Any

FURTHER: dict[str, dict[str, Any]] = {
    "paper-like": {
        "optimizer": "momentum",
        "simultaneous": True,
        "k": 1,
        "noise": "uniform",
        "g_init": 0.05,
        "d_init": 0.5,
        "d_input_dropout": 0.2,
        "d_dropout": 0.5,
        "momentum_rounds": 3,
        "smoothing": 0.1,
    },
    "plane": {"objective": "ratio", "g_steps": 2},
    "tabular": {"objective": "minimax"},
}
WORLDS: dict[str, str] = {"tiny": "temperatures", "paper-like": "gaussian", "plane": "ring", "tabular": "alphabet"}
