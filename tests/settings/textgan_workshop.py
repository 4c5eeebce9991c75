"""Settings under which the workshop TextGAN is tested."""

from typing import Any

FURTHER: dict[str, dict[str, Any]] = {
    "unrolled": {"unroll": 2, "window": 2, "code_noise": 0.5, "prior_weight": 0.1, "rounds": 2},
    "plain": {"covariance": "identity", "window": 1, "straight_through": True, "d_head_dim": 5, "pretrain_steps": 2},
}
LINES: dict[str, Any] = {
    "hidden_dim": 32,
    "embedding_dim": 16,
    "pretrain_steps": 150,
    "pretrain_lr": 0.02,
    "code_noise": 0.9,
    "straight_through": True,
    "rounds": 5,
    "g_lr": 1e-3,
    "g_eps": 1e-5,
}
TABLE: dict[str, Any] = {
    "hidden_dim": 32,
    "embedding_dim": 16,
    "code_windows": ((1, 4), (2, 4), (3, 8)),
    "pretrain_steps": 1,  # the one step changes next to nothing: what is learnt is learnt by matching
    "pretrain_lr": 1e-6,
    "swap_steps": 5,
    "rounds": 60,
    "batch_size": 64,
    "g_steps": 5,
    "g_lr": 0.01,
    "window": 2,  # a longer one swings at this rate
    "sharpness": 1.0,
    "straight_through": True,
    "d_embedding_dim": 16,
    "d_windows": ((1, 8), (2, 16), (3, 32)),
    "d_lr": 0.003,
}
