"""Settings under which TextGAN is tested."""

from typing import Any

FURTHER: dict[str, dict[str, Any]] = {
    "compressed": {"matching": "mmd-l", "square_root": True, "code": "latent"},
    "noisy": {"code_noise": 0.5, "blind": 0.3, "prior_weight": 1.0, "sharpness_start": 1.0, "sharpness": 3.0},
    "means": {"matching": "mm", "straight_through": True, "sharpness": 5.0, "rounds": 3},
    "covariances": {"matching": "cm", "warmup_words": None, "kernel": "mean", "soft_label": 0.0},
}
LINES: dict[str, Any] = {
    "pretrain_steps": 200,
    "pretrain_lr": 0.02,
    "hidden_dim": 32,
    "embedding_dim": 16,
    "noise_dim": 4,
    "code": "latent",
    "code_noise": 0.9,
    "warmup_words": None,
    "rounds": 10,
    "g_lr": 2e-4,
    "sharpness": 10.0,
}
TABLE: dict[str, Any] = {
    "pretrain_steps": 2,  # which change next to nothing: what is learnt is learnt from the features of D
    "pretrain_lr": 1e-6,
    "warmup_rounds": 0,
    "rounds": 60,
    "g_steps": 5,
    "batch_size": 128,
    "g_lr": 5e-3,
    "d_lr": 1e-3,
    "d_windows": ((1, 8), (2, 16), (3, 32)),
    "code": "latent",
    "sharpness": 50.0,
}
