"""Settings under which MaskGAN is tested."""

from typing import Any

FURTHER: dict[str, dict[str, Any]] = {
    "critic": {
        "critic_step": "discriminator",
        "critic_trunk": True,
        "num_layers": 2,
        "curriculum": 2,
        "patience": 1,
        "mle_steps": 8,
        "pretrain_lr": 0.5,
    },
    "bernoulli": {"mask": "bernoulli", "share_embedding": False, "label_matches_as_real": True, "rounds": 2},
    "objective": {
        "objective": "wishes:first_words",
        "objective_weight": 0.4,
        "critic_step": "discriminator",
        "rounds": 2,
    },
}
LINES: dict[str, Any] = {
    "hidden_dim": 32,
    "lm_steps": 20,
    "mle_steps": 60,
    "dropout": 0.0,
    "pretrain_lr": 0.02,
    "rounds": 5,
    "g_lr": 0.001,
}
TABLE: dict[str, Any] = {
    "mask": "bernoulli",
    "present_rate": 0.0,  # nothing is given: a language model, trained by the discriminator alone
    "whole_rate": 0.0,
    "hidden_dim": 24,
    "lm_steps": 1,
    "mle_steps": 1,
    "pretrain_lr": 1e-6,
    "d_pretrain_steps": 50,
    "d_pretrain_lr": 0.01,
    "rounds": 150,
    "batch_size": 64,
    "g_lr": 0.006,
    "d_lr": 0.02,
    "critic_lr": 0.02,
    "discount": 1.0,
    "d_dropout": 0.0,
}
