"""Settings under which LeakGAN is tested."""

from typing import Any

FURTHER: dict[str, dict[str, Any]] = {
    "segments": {
        "goal_form": "segment",
        "rollout_every": "segment",
        "normalise_goal": True,
        "baseline": "leave-one-out",
        "temperature": 1.5,
        "interleave_lr": 0.002,
        "g_steps": 2,
        "rounds": 2,
    },
    "patient": {"dropout": 0.3, "pretrain_steps": 8, "patience": 1, "pretrain_lr": 2.0, "num_rollouts": 0},
    "objective": {"objective": "wishes:first_words", "objective_weight": 0.4, "rounds": 2},
}
LINES: dict[str, Any] = {
    "pretrain_steps": 60,
    "pretrain_every": 30,
    "hidden_dim": 32,
    "embedding_dim": 16,
    "normalise_goal": True,
    "pretrain_lr": 0.05,
    "rounds": 5,
    "g_lr": 0.005,
    "negatives": 32,
}
TABLE: dict[str, Any] = {  # mostly by likelihood: the intrinsic reward has no term for the distribution of the text
    "pretrain_steps": 120,
    "pretrain_every": 60,
    "pretrain_lr": 0.02,
    "normalise_goal": True,
    "rounds": 10,
    "batch_size": 64,
    "g_lr": 0.002,
    "baseline": "leave-one-out",
    "mle_every": 5,
    "negatives": 256,
    "d_lr": 0.01,
    "d_windows": ((1, 8), (2, 16), (3, 32)),
}
