"""Pretrained models and our own transformer in runs: trained, cut, resumed, saved, loaded, drawn from, handed on."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pretrained_models as models
import pytest
import torch
import transformers
from command import SENTENCES, call
from run import toy
from tasks import Cut, observed, tiny, train, trained

import textforge
from textforge import constraints, controls, methods
from textforge.errors import CallError, UserError
from textforge.fitting import fit, with_objective
from textforge.methods import seqgan
from textforge.model import Model
from textforge.nets.pretrained import PretrainedGenerator
from textforge.nets.transformer import TransformerGenerator
from textforge.options import Options, Strategy
from textforge.results import own_task
from textforge.run import load_checkpoint
from textforge.task import Task, task_from_texts
from textforge.text import Texts

SHORT = [" ".join(line.split()[1:3]) for line in SENTENCES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place: Path = tmp_path_factory.mktemp("models") / "small"
    models.save_text_model(place)
    return place


def fields(folder: Path, method: str, **others: Any) -> dict[str, Any]:
    short = {"steps": 4} if method == "mle" else {"pretrain_steps": 3, "rounds": 2, "baseline": "leave-one-out"}
    return {"pretrained": str(folder), "lora_rank": 2, **short, **others}


def task_of(folder: Path) -> Task:
    return task_from_texts(Texts("lines", SHORT), Options(data="lines", tokenizer=str(folder), max_length=16))


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A run of SeqGAN whose pretrained model is gone when it is loaded."""
    gone = tmp_path_factory.mktemp("gone") / "small"
    shutil.copytree(folder, gone)
    data = gone.parent / "lines.txt"
    data.write_text("\n".join(SHORT * 2) + "\n", encoding="utf-8")
    out = tmp_path_factory.mktemp("runs") / "run"
    own = fields(gone, "seqgan", preset="tiny", tokenizer=str(gone), valid=data)
    fitted = fit(data=data, method="seqgan", out=out, **own)
    shutil.rmtree(gone)
    loaded = textforge.load(out)
    assert isinstance(loaded, Model)
    assert isinstance(fitted, Model)
    np.testing.assert_array_equal(loaded.log_prob(SHORT[:5]), fitted.log_prob(SHORT[:5]))
    return loaded


# --- Training ---


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("name", ["mle", "seqgan"])
def test_training_begins_with_the_weights_and_changes_what_it_should(
    name: str, lora_rank: int, folder: Path, tmp_path: Path
) -> None:
    method = methods.load(name)
    config = tiny(method, fields(folder, name, lora_rank=lora_rank))
    run = trained(tmp_path, method, config, task_of(folder), checkpoint_seconds=0)
    saved = load_checkpoint(tmp_path)["modules"]["generator"]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).state_dict()
    begun = run.trained["generator"]
    key = (
        "model.base_model.model.transformer.h.0.mlp.c_fc.base_layer.weight"
        if lora_rank
        else ("model.transformer.h.0.mlp.c_fc.weight")
    )
    assert torch.equal(begun[key], theirs["transformer.h.0.mlp.c_fc.weight"])
    for parameter, _ in run.modules["generator"].named_parameters():
        changed = not torch.equal(saved[parameter], begun[parameter])
        assert changed == (not lora_rank or "lora_" in parameter), parameter
    sizes = [sum(p.numel() for g in optimizer.param_groups for p in g["params"]) for _, optimizer in run.steps]
    adapters = sum(p.numel() for n, p in run.modules["generator"].named_parameters() if not lora_rank or "lora_" in n)
    assert sizes[0] == adapters


@pytest.mark.parametrize("name", ["mle", "seqgan"])
def test_a_run_that_was_cut_equals_one_that_was_not(name: str, folder: Path, tmp_path: Path) -> None:
    method, task = methods.load(name), task_of(folder)
    config = tiny(method, fields(folder, name))
    whole = trained(tmp_path / "whole", method, config, task, checkpoint_seconds=0)
    for cut in (1, len(whole.steps) - 1) if name == "mle" else (len(whole.steps) - 1,):
        part = tmp_path / f"cut-{cut}"
        with pytest.raises(Cut), observed(part, task, cut=cut, checkpoint_seconds=0) as run:
            train(method, config, task, run)
        trained(part, method, config, task, resume=True, checkpoint_seconds=0)
        assert toy.differences(toy.content(part), toy.content(tmp_path / "whole")) == [], cut


def test_roll_out_policy_moves_once_where_a_weight_has_two_names(folder: Path) -> None:
    """GPT-2's output layer is its embedding."""
    task = task_of(folder)
    beta, policy = (PretrainedGenerator(task.vocabulary, 16) for _ in range(2))
    name = "model.transformer.wte.weight"
    assert beta.model.lm_head.weight is beta.model.transformer.wte.weight
    expected = 0.8 * beta.state_dict()[name] + 0.2 * policy.state_dict()[name]
    seqgan.follow(beta, policy, 0.8)
    torch.testing.assert_close(beta.state_dict()[name], expected)


@pytest.mark.parametrize("network", ["lstm", "transformer", "pretrained"])
def test_dropout_ends_with_pretraining(network: str, folder: Path, tmp_path: Path) -> None:
    method, own = methods.load("seqgan"), task_of(folder)
    choice = fields(folder, "seqgan") if network == "pretrained" else {"network": network, "num_heads": 2}
    run = trained(tmp_path, method, tiny(method, {**choice, "dropout": 0.5, "rounds": 1}), own)
    generator, tokens = run.modules["generator"], own.train.batch(np.arange(3), None).tokens
    assert torch.equal(generator(tokens), generator(tokens))


def test_the_folder_is_named_in_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From elsewhere, a relative one would be lost, or be taken for a name of the Hub."""
    method, task = methods.load("mle"), task_of(folder)
    config = tiny(method, fields(Path("models", "small"), "mle"))
    assert with_objective(config, task)[0].pretrained == "models/small"  # there is no such folder, so it is a name
    monkeypatch.chdir(folder.parent)
    config = tiny(method, fields(Path(folder.name), "mle"))
    assert with_objective(config, task)[0].pretrained == str(folder.resolve())


def test_the_control_goes_on_from_the_same_model() -> None:
    method = methods.load("seqgan")
    config = tiny(method, fields(Path("small"), "seqgan", pretrain_lr=3e-4, batch_size=5))
    ((_, name, control),) = controls.configurations("seqgan", "transformer", config, "mle")
    expected = {"pretrained": "small", "lora_rank": 2, "lr": 3e-4, "batch_size": 5}
    assert (name, control) == ("mle", methods.configure("mle", "transformer", expected))
    plain = controls.configurations("seqgan", "transformer", method.PRESETS["transformer"], "mle")
    assert next(plain)[2] == methods.load("mle").PRESETS["transformer"]


# --- Use ---


def test_a_run_needs_no_pretrained_folder(model: Model) -> None:
    assert isinstance(model.generator, PretrainedGenerator)
    assert model.folder is not None
    stored = json.loads((model.folder / "vocabulary.json").read_bytes())
    assert stored["tokenizer"] == "pretrained"
    assert not Path(model.settings["config"]["pretrained"]).exists()
    assert own_task(model).tokenizer == model.tokenizer
    said = call("evaluate", model.folder, "-n", 20, "--json")
    assert said.status == 0, said.err
    assert json.loads(said.out)["metrics"]["nll_test" if "nll_test" in said.out else "nll_valid"] > 0


@pytest.mark.parametrize("decode", ["ancestral", "greedy", "top-k", "top-p", "beam"])
def test_every_way_of_drawing(model: Model, decode: Any) -> None:
    texts = model.sample(3, seed=1, decode=decode)
    assert len(texts) == 3
    assert "<|endoftext|>" not in "".join(texts)


def test_prompts_blanks_and_constraints(model: Model) -> None:
    assert all(text.startswith("red c") for text in model.draw(4, prompt="red c", seed=0).texts)
    filled = model.infill("red ___ dog", 2, seed=0)
    assert all(text.startswith("red ") and text.endswith(" dog") for text in filled)
    wish = constraints.matching(model.tokenizer, "(red|quick) [a-z]{3}")
    drawn = model.draw(4, constraint=wish, seed=0)
    assert {text.split()[0] for text in drawn.texts} <= {"red", "quick"}


def test_a_detector_reads_it_and_searches_are_guided(model: Model) -> None:
    assert model.folder is not None
    said = call("detector", model.folder)
    assert said.status == 0, said.err
    for decode in ("resample", "rerank", "reject", "mcts"):
        drawn = model.draw(2, strategy=Strategy(decode, candidates=2, simulations=4), seed=0)
        assert len(drawn.texts) == 2


def test_an_export_needs_nothing_else(model: Model, tmp_path: Path) -> None:
    place = model.export(tmp_path / "export")
    config = json.loads((place / "config.json").read_bytes())
    assert config["tokenizer"] == config["config"]["pretrained"] == "small"
    again = textforge.load(place)
    assert isinstance(again, Model)
    np.testing.assert_array_equal(again.log_prob(SHORT[:5]), model.log_prob(SHORT[:5]))
    assert again.sample(5, seed=3) == model.sample(5, seed=3)


def test_onnx_has_no_place_for_it(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="seqgan of a pretrained model cannot go to ONNX"):
        model.export_onnx(tmp_path / "onnx")


# --- Our own transformer ---


@pytest.fixture(scope="module")
def own() -> Model:
    settings: dict[str, Any] = {"network": "transformer", "num_heads": 2, "num_layers": 2, "steps": 30, "lr": 0.02}
    model = fit(SHORT * 3, method="mle", preset="tiny", **settings)
    assert isinstance(model, Model)
    return model


def test_the_transformer_can_be_saved_and_drawn_from(own: Model, tmp_path: Path) -> None:
    again = textforge.load(own.save(tmp_path / "saved"))
    assert isinstance(again, Model)
    assert isinstance(again.generator, TransformerGenerator)
    np.testing.assert_array_equal(again.log_prob(SHORT[:5]), own.log_prob(SHORT[:5]))
    for decode in ("ancestral", "greedy", "top-k", "top-p", "beam"):
        assert again.sample(3, seed=1, decode=decode) == own.sample(3, seed=1, decode=decode)
    exported = textforge.load(own.export(tmp_path / "export"))
    assert isinstance(exported, Model)
    np.testing.assert_array_equal(exported.log_prob(SHORT[:5]), own.log_prob(SHORT[:5]))


def test_the_transformer_goes_to_onnx(own: Model, tmp_path: Path) -> None:
    """The graph is compared with the generator, over whole sequences, before it is written."""
    place = own.export_onnx(tmp_path / "onnx")
    about = json.loads((place / "generator.json").read_bytes())
    assert about["inputs"][:2] == ["token", "state.read"]
    assert len(about["inputs"]) == 2 + 2 * 2


# --- Refusals ---


def test_fields_that_do_not_go_together_are_refused(folder: Path, tmp_path: Path) -> None:
    for method in ("mle", "seqgan"):
        with pytest.raises(CallError, match="--num-heads 3 must divide --embedding-dim, which is 8"):
            methods.configure(method, "tiny", {"network": "transformer", "num_heads": 3})
        with pytest.raises(CallError, match="--lora-rank adapts a model that is there already"):
            methods.configure(method, "tiny", {"lora_rank": 2})
        with pytest.raises(CallError, match="--lora-rank must be at least 0, not -1"):
            methods.configure(method, "tiny", {"lora_rank": -1})
    with pytest.raises(CallError, match="--pretrained knows the tokens of its own tokenizer only"):
        fit(SHORT, method="mle", preset="tiny", pretrained=str(folder))
    said = call("train", "mle", "--preset", "tiny", "--tokenizer", folder, "--out", tmp_path / "run")
    assert (said.status, "captions has its own symbols" in said.reason) == (2, True)
