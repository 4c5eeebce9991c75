"""Settings under which SeqGAN is tested."""

from typing import Any

FURTHER: dict[str, dict[str, Any]] = {
    "ema": {"rollout_policy": "ema", "dropout": 0.3, "pretrain_steps": 8, "patience": 1, "pretrain_lr": 2.0},
    "noise": {"reward": "random", "baseline": "leave-one-out", "g_steps": 2, "num_rollouts": 0, "rounds": 2},
    "transformer": {
        "network": "transformer",
        "num_layers": 2,
        "num_heads": 2,
        "dropout": 0.3,
        "pretrain_steps": 8,
        "patience": 1,
        "pretrain_lr": 1.0,
        "baseline": "leave-one-out",
    },
    "bleu": {"reward": "bleu", "pretrain_rounds": 0, "rounds": 1},
    "objective": {"objective": "wishes:first_words", "objective_weight": 0.4, "num_rollouts": 1, "rounds": 2},
}
LINES: dict[str, Any] = {
    "pretrain_steps": 60,
    "hidden_dim": 32,
    "embedding_dim": 16,
    "pretrain_lr": 0.05,
    "rounds": 10,
    "g_lr": 0.005,
    "negatives": 32,
}
TABLE: dict[str, Any] = {
    "pretrain_steps": 1,  # the one step changes next to nothing: what is learnt is learnt from the discriminator
    "pretrain_lr": 1e-6,
    "pretrain_rounds": 5,
    "rounds": 60,
    "batch_size": 64,
    "g_lr": 0.02,
    "num_rollouts": 4,
    "baseline": "leave-one-out",
    "negatives": 256,
    "d_lr": 0.01,
    "d_l2": 0.0,
    "d_dropout": 0.0,
    "d_embedding_dim": 16,
    "d_windows": ((1, 8), (2, 16), (3, 32)),
}
