"""Untrained models of every method, for what becomes of a model that leaves."""

import dataclasses

import torch

import textforge
from textforge import methods
from textforge.model import Model
from textforge.options import Options
from textforge.text import Tokenizer, train

LINES = ["a man rides a horse", "two dogs sleep", "a dog", "床前 明月光", "😀 smiles at <unk> | *all*"]


def model(method: str, tokenizer: Tokenizer | None = None, *, data: str = "<texts>", length: int = 9) -> Model:
    """The model of a method's preset `tiny` as `fit` would return it, with weights that tell texts apart."""
    tokenizer = tokenizer or train("word", LINES)
    config = methods.configure(method, "tiny", {})
    settings = {
        "textforge": textforge.__version__,
        "method": method,
        **dataclasses.asdict(Options(data=data, preset="tiny")),
        "max_length": length,
        "config": vars(config),
    }
    del settings["device"]
    torch.manual_seed(3)
    networks = methods.load(method).networks(config, tokenizer.vocabulary, length)
    for network in networks.values():
        network.eval()
    with torch.no_grad():
        for parameter in networks["generator"].parameters():
            parameter.mul_(3)
    return Model(settings, tokenizer, networks)
