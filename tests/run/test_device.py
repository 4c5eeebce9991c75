import subprocess
import sys

COUNT_PAGE_FAULTS = """
import resource, torch
from textforge.run import keep_freed_memory
if {keep}:
    keep_freed_memory()
def step():
    blocks = [torch.ones(5_000_000) for _ in range(4)]
    del blocks
step(); step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*, keep: bool) -> int:
    program = COUNT_PAGE_FAULTS.format(keep=keep)
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout)


def test_freed_memory_is_used_again() -> None:
    """Five steps over 80 MB touch 97,656 pages of 4 KiB anew, unless the C library keeps them."""
    assert page_faults(keep=False) > 10 * max(1, page_faults(keep=True))
