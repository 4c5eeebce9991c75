"""Many trainings from one file: methods with their settings and seeds, in worker processes, side by side at the end.

`plan` turns the file into trials, `trials` carries out one of them, `workers` all of them, on Ray, and `summary` puts
what they came to together. None of them chooses the best: a setting is what its seeds have in common.
"""
