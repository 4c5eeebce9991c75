"""Runs: what happens between the iterations of a method, and the folder in which it is kept."""

from textforge.run.checkpoint import ended_phases as ended_phases
from textforge.run.checkpoint import load_checkpoint as load_checkpoint
from textforge.run.checkpoint import save_checkpoint as save_checkpoint
from textforge.run.checkpoint import saved_steps as saved_steps
from textforge.run.device import keep_freed_memory as keep_freed_memory
from textforge.run.files import finite as finite
from textforge.run.files import write_atomic as write_atomic
from textforge.run.folder import open_folder as open_folder
from textforge.run.folder import require_same as require_same
from textforge.run.folder import sole_writer as sole_writer
from textforge.run.measurement import Evaluate as Evaluate
from textforge.run.measurement import Measurement as Measurement
from textforge.run.measurement import Share as Share
from textforge.run.parts import Stateful as Stateful
from textforge.run.run import Run as Run
from textforge.run.seeds import derive as derive
from textforge.run.sentinel import OnCollapse as OnCollapse
from textforge.run.signals import StopSignals as StopSignals
