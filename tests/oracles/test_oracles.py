import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from textforge import oracles
from textforge.errors import CallError, UserError
from textforge.oracles import Oracle
from textforge.oracles.table import random_table


@pytest.mark.parametrize("name", oracles.names())
def test_every_named_oracle_keeps_the_protocol(name: str) -> None:
    oracle = oracles.load(name)
    assert isinstance(oracle, Oracle)
    assert oracle.name == name
    texts = oracle.sample(4, seed=0)
    assert len(texts) == 4
    assert np.isfinite(oracle.log_prob(texts)).all()
    modes = oracle.mode_of(texts)
    assert set(modes) <= (set(oracle.modes) or {""})
    assert all(len(oracle.tokenizer.encode(text)) <= oracle.max_length for text in texts)


def test_a_table_keeps_the_protocol() -> None:
    assert isinstance(random_table(seed=0), Oracle)


def test_a_grammar_is_loaded_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.grammar"
    file.write_text("join = space\n@scene.only\n  good morning\n", "utf-8")
    oracle = oracles.load(f"grammar:{file}")
    assert oracle.name == f"grammar:{file}"
    assert oracle.support() == ["good morning"]
    with pytest.raises(UserError, match="cannot be read"):
        oracles.load(f"grammar:{file}s")


@pytest.mark.parametrize("name", ["caption", "", "grammar", "captions:file", "arithmetic:file"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(CallError, match=f"there is no oracle '{name}'; choose from captions, captions-small"):
        oracles.load(name)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(CallError, match="did you mean 'arithmetic'"):
        oracles.load("arithmetics")


def test_the_other_oracles_do_not_load_the_network() -> None:
    program = (
        "import sys; from textforge import oracles; "
        "[oracles.load(name) for name in ('captions-small', 'arithmetic')]; "
        "sys.exit('textforge.oracles.lstm_oracle' in sys.modules or 'textforge.decoding' in sys.modules)"
    )
    source = str(Path(oracles.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": source}, check=False)
    assert done.returncode == 0
