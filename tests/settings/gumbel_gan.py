"""Settings under which the Gumbel-softmax GAN is tested."""

from typing import Any

FURTHER: dict[str, dict[str, Any]] = {
    "small-like": {
        "pretrain_steps": 4,
        "straight_through": True,
        "confidence_end": 1.0,
        "confuse": True,
        "objective": "relativistic",
        "clip": 1.0,
        "cool": True,
        "beta1": 0.5,
        "discriminator": "cnn",
    },
    "input-only": {"anneal": "input", "fake_batch": 12, "noise_in": "h", "objective": "non-saturating"},
    "literal": {"projection": False, "objective": "minimax", "straight_through": True},
}
LINES: dict[str, Any] = {
    "hidden_dim": 32,
    "embedding_dim": 16,
    "batch_size": 16,
    "rounds": 300,
    "tau_start": 1.0,
    "tau_end": 1.0,
    "anneal_rounds": 150,
    "confidence": 0.8,
    "confidence_end": 1.0,
    "straight_through": True,
    "objective": "relativistic",
    "lr": 1e-2,
    "d_lr": 2e-2,
    "beta1": 0.5,
    "cool": True,
    "discriminator": "cnn",
    "d_embedding_dim": 32,
    "d_hidden_dim": 64,
}
TABLE: dict[str, Any] = LINES | {
    "batch_size": 128,
    "rounds": 250,
    "tau_start": 0.5,
    "tau_end": 0.5,
    "confidence": 0.9,
    "confidence_end": 0.9,
    "confuse": True,
    "lr": 5e-3,
    "d_lr": 5e-3,
}
