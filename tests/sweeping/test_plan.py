"""From a file to trials: their order, their names, and what is said of files that make no sense."""

import dataclasses
import os
import re
import sys
from pathlib import Path

import pytest
from command import SENTENCES, call, lines
from pages import code_blocks

from textforge.errors import CallError, UserError
from textforge.fitting import settings_of
from textforge.methods import mle, seqgan
from textforge.run import open_folder, sole_writer
from textforge.sweeping import plan as planning
from textforge.sweeping.plan import Plan
from textforge.sweeping.summary import budgets
from textforge.task import load_task

WHOLE = """
data = "captions-small"
methods = ["mle", "seqgan/random-reward", "seqgan"]
preset = "tiny"
seeds = [3, 1]
temperatures = [1, 0.8]
on_collapse = "stop"

[fields.mle]
hidden_dim = [128, 256]
lr = [0.01, 2e-6]
batch_size = 4

[fields.seqgan]
d_windows = [[[1, 4], [2, 4]]]
"""


def read(folder: Path, text: str, device: str = "cpu") -> Plan:
    path = folder / "sweep.toml"
    path.write_text(text, encoding="utf-8")
    return planning.read(path, device=device)


def test_every_combination_is_a_trial_in_the_order_of_the_file(tmp_path: Path) -> None:
    plan = read(tmp_path, WHOLE)
    settings = [
        "mle-tiny-hidden_dim=128-lr=0.01-batch_size=4",
        "mle-tiny-hidden_dim=128-lr=2e-06-batch_size=4",
        "mle-tiny-hidden_dim=256-lr=0.01-batch_size=4",
        "mle-tiny-hidden_dim=256-lr=2e-06-batch_size=4",
        "seqgan-random-reward-d_windows=1,4_,_2,4",
        "seqgan-tiny-d_windows=1,4_,_2,4",
    ]
    assert [trial.name for trial in plan.trials] == [f"{name}/seed-{seed}" for name in settings for seed in (3, 1)]
    assert [trial.config for trial in plan.trials[::2]] == [
        *(
            dataclasses.replace(mle.PRESETS["tiny"], hidden_dim=size, lr=rate, batch_size=4)
            for size in (128, 256)
            for rate in (0.01, 2e-6)
        ),
        dataclasses.replace(seqgan.PRESETS["random-reward"], d_windows=((1, 4), (2, 4))),
        seqgan.PRESETS["tiny"],
    ]
    assert plan.temperatures == (1.0, 0.8)
    assert plan.tried == {"mle": 4, "seqgan": 2}
    assert [len(trials) for trials in plan.settings.values()] == [2] * 6
    first, last = (plan.options_of(plan.trials[i]) for i in (0, -3))
    assert (first.preset, first.seed, first.data, first.on_collapse) == ("tiny", 3, "captions-small", "stop")
    assert (last.preset, last.seed) == ("random-reward", 1)


def test_a_file_may_say_little(tmp_path: Path) -> None:
    plan = read(tmp_path, 'methods = ["mle"]', device="cuda")
    assert [trial.name for trial in plan.trials] == ["mle-small/seed-0"]
    assert plan.temperatures == (1.0,)
    assert (plan.options.data, plan.options.device) == ("captions", "cuda")
    many = read(tmp_path, 'methods = ["mle"]\nseeds = 3')
    assert [trial.seed for trial in many.trials] == [0, 1, 2]


def test_budgets_of_tuning_are_told_and_compared(tmp_path: Path) -> None:
    assert budgets(read(tmp_path, WHOLE)) == "mle 4, seqgan 2: no equal budgets"
    assert budgets(read(tmp_path, 'methods = ["mle", "seqgan"]\nseeds = 2')) == "mle 1, seqgan 1"


def test_text_is_found_where_the_command_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And from anywhere else, where workers are."""
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "my.txt", SENTENCES)
    assert read(tmp_path, 'data = "my.txt"\nmethods = ["mle"]').options.data == str(tmp_path / "my.txt")


def test_the_documented_file_is_one(tmp_path: Path) -> None:
    """And makes what the page says of it."""
    ((_, text),) = (block for block in code_blocks("docs/sweeps.md") if block[0] == "toml")
    plan = read(tmp_path, text)
    assert len(plan.trials) == 4 * 6
    assert plan.tried == {"mle": 2, "seqgan": 4}
    (page,) = (text for _, text in code_blocks("docs/sweeps.md") if "sweep.csv" in text)
    assert f"runs/sizes/{plan.trials[0].name}.log" in page.split()


MLE = 'methods = ["mle"]\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r'names nothing to train; add methods = \["mle"\]'),
        ("methods = []", "methods lists nothing to try"),
        ('methods = "mle"', "methods must be list.*, not 'mle'"),
        ('methods = ["mel"]', r"methods: there is no method 'mel'; .*did you mean 'mle'\?"),
        ('methods = ["mle/tini"]', r"methods: mle has no preset 'tini'; .*did you mean 'tiny'\?"),
        ('methods = ["mle", "mle"]', "methods lists mle twice"),
        ('methods = ["mle", "mle/small"]', "tries mle-small twice, the second time as mle-small"),
        ('methods = ["gan"]', "methods: gan learns worlds of points"),
        (MLE + "seeds = 0", "seeds lists nothing"),
        (MLE + "seeds = [1, 2, 1]", "seeds lists 1 twice"),
        (MLE + "seeds = [-1]", "seeds: seed must be at least 0, not -1"),
        (MLE + 'seeds = "many"', "seeds must be .*, not 'many'"),
        (MLE + "temperatures = [1, 0]", "temperatures: the temperature must be above 0, not 0"),
        (MLE + "temperatures = [nan]", "temperatures: the temperature must be above 0, not nan"),
        (MLE + "temperatures = [1, 1.0]", "temperatures lists 1.0 twice"),
        (MLE + "temperature = 1", r"there is no key 'temperature'; did you mean 'temperatures'\?"),
        (MLE + 'device = "cuda"', "there is no key 'device'"),
        (MLE + "max_length = 0", "max_length must be at least 1, not 0"),
        (MLE + 'on_collapse = "wait"', "on_collapse must be .*, not 'wait'"),
        (
            MLE + "[fields.mle]\nhiden_dim = 3",
            r"\[fields.mle\]: mle has no field 'hiden_dim'; did you mean 'hidden_dim'\?",
        ),
        (MLE + '[fields.mle]\nhidden_dim = [3, "4"]', r"\[fields.mle\]: hidden_dim must be int, not '4'"),
        (MLE + "[fields.mle]\nhidden_dim = [3, 0]", r"\[fields.mle\]: hidden_dim must be at least 1, not 0"),
        (MLE + "[fields.mle]\nhidden_dim = []", r"\[fields.mle\] hidden_dim lists nothing"),
        (MLE + "[fields.mle]\nhidden_dim = [3, 3]", r"\[fields.mle\] hidden_dim lists 3 twice"),
        (MLE + "[fields.mle]\nhidden_dim.x = 3", r"\[fields.mle\]: hidden_dim must be int"),
        (MLE + "[fields.seqgan]\nrounds = 3", r"\[fields.seqgan\] is of no method that is tried"),
        ('methods = ["seqgan"]\n[fields.seqgan]\nd_windows = [[1, 4], [2, 4]]', r"d_windows must be .*, not \(1, 4\)"),
        (MLE + "fields = 3", "fields must be .*, not 3"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(CallError, match=rf"sweep\.toml.*{reason}") as error:
        read(tmp_path, text)
    assert len(str(error.value).splitlines()) == 1


def test_what_is_no_file_of_settings_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sweep\.toml is not TOML: .*line 2"):
        read(tmp_path, MLE + "seeds = = 3")
    (tmp_path / "bytes.toml").write_bytes(b"methods = [\xff]")
    with pytest.raises(UserError, match=r"bytes\.toml is not TOML"):
        planning.read(tmp_path / "bytes.toml", device="cpu")
    with pytest.raises(UserError, match=r"none\.toml cannot be read: No such file"):
        planning.read(tmp_path / "none.toml", device="cpu")


def test_a_name_fits_into_a_folder(tmp_path: Path) -> None:
    for windows, fits in (("[1, 4]," * 20, True), ("[1, 4]," * 60, False)):
        text = f'methods = ["seqgan"]\n[fields.seqgan]\nd_windows = [[{windows}]]'
        if fits:
            (trial,) = read(tmp_path, text).trials
            (tmp_path / trial.name).mkdir(parents=True)
        else:
            with pytest.raises(CallError, match="is too long for a folder"):
                read(tmp_path, text)


def test_a_name_holds_one_training_for_ever(tmp_path: Path) -> None:
    """More seeds and values are welcome; another training by the name of one that is there is not."""
    text = lines(tmp_path / "my.txt", SENTENCES)
    one = f'data = "{text}"\npreset = "tiny"\n' + MLE
    plan = read(tmp_path, one)
    task = load_task(plan.options)
    (trial,) = plan.trials
    options = plan.options_of(trial)
    open_folder(tmp_path / trial.name, settings_of("mle", options, trial.config, task), resume=False)
    more = read(tmp_path, one + "seeds = 2\ntemperatures = [0.5]\n[fields.mle]\nhidden_dim = [3, 4]")
    assert planning.prepared(more, task, tmp_path).trials == more.trials
    other = read(tmp_path, one + "min_count = 2")
    with pytest.raises(UserError, match=rf"{re.escape(trial.name)} holds a run .*: min_count was 1, is 2;"):
        planning.prepared(other, load_task(other.options), tmp_path)


def test_a_dry_run_names_the_trials_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "my.txt", SENTENCES)
    (tmp_path / "small.toml").write_text('data = "my.txt"\nseeds = 2\n' + MLE, encoding="utf-8")
    said = call("sweep", "small.toml", "--dry-run")
    assert said.status == 0
    assert said.out.splitlines() == ["mle-small/seed-0", "mle-small/seed-1"]
    assert said.err.splitlines()[-1] == f"2 trials of 1 settings (mle 1), in {tmp_path}/runs/sweep-small"
    assert not (tmp_path / "runs").exists()
    (tmp_path / "small.toml").write_text('methods = ["mel"]', encoding="utf-8")
    said = call("sweep", "small.toml", "--dry-run")
    assert said.status == 2
    assert said.reason.startswith("small.toml, methods: there is no method 'mel'")
    for arguments in (["--workers", 0], ["--gpus", -1], ["--gpus", 1.5], ["--gpus", "inf"]):
        assert call("sweep", "small.toml", *arguments).status == 2
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    said = call("sweep", "small.toml", "--dry-run")
    assert (said.status, said.out) == (2, "")
    assert said.reason == "sweep starts workers of its own; start it by itself, without torchrun or srun"


def test_what_keeps_a_sweep_from_starting_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another sweep in the same folder, and the absence of Ray."""
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "my.txt", SENTENCES)
    (tmp_path / "small.toml").write_text('data = "my.txt"\n' + MLE, encoding="utf-8")
    with sole_writer(tmp_path / "out"):
        said = call("sweep", "small.toml", "--out", "out")
    assert (said.status, said.out) == (1, "")
    assert said.reason.startswith(f"another process is writing to {tmp_path}/out")
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    said = call("sweep", "small.toml", "--out", "out", "--workers", 3)
    assert (said.status, said.out) == (1, "")
    assert said.err.splitlines()[-2:] == [
        "starting Ray on this machine, 3 at once",
        "textforge: sweep needs ray, which is absent; run: pip install 'textforge[ray]'",
    ]
    assert not [name for name in os.environ if name.startswith("RAY_")]
    for address in ("127.0.0.1:1", "127.0.0.1:99999", "auto"):
        said = call("sweep", "small.toml", "--out", "out", "--address", address)
        assert said.status == 1
        assert said.err.splitlines()[-1].startswith(f"textforge: no Ray cluster answers at {address}: ")
