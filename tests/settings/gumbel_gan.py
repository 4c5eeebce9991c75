"""Settings under which the Gumbel-softmax GAN is tested."""

from typing import Any

SHARP: dict[str, Any] = {
    "tau_start": 0.5,
    "tau_end": 0.5,
    "confuse": True,
    "confidence_end": 0.99,
    "straight_through": True,
    "objective": "relativistic",
    "discriminator": "cnn",
}

FURTHER: dict[str, dict[str, Any]] = {
    "sharp": SHARP | {"pretrain_steps": 4, "clip": 1.0, "cool": True, "beta1": 0.5},
    "input-only": {"anneal": "input", "fake_batch": 12, "noise_in": "h", "objective": "non-saturating"},
    "literal": {"projection": False, "objective": "minimax", "straight_through": True},
}
LEARNING: dict[str, Any] = SHARP | {
    "hidden_dim": 32,
    "embedding_dim": 16,
    "batch_size": 16,
    "rounds": 300,
    "anneal_rounds": 200,
    "tau_start": 1.0,
    "tau_end": 1.0,
    "lr": 1e-2,
    "d_lr": 2e-2,
    "beta1": 0.5,
    "cool": True,
    "d_embedding_dim": 32,
    "d_hidden_dim": 64,
}
LINES: dict[str, Any] = LEARNING
TABLE: dict[str, Any] = LEARNING | {"batch_size": 64, "rounds": 250, "lr": 5e-3, "d_lr": 5e-3}
