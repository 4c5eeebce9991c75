"""A trained generator as a folder for others: for `load`, wherever it lies, or for a program without torch (ONNX)."""

from textforge.exporting.hugging_face import Exported as Exported
from textforge.exporting.hugging_face import files as files
from textforge.exporting.hugging_face import is_export as is_export
from textforge.exporting.hugging_face import read as read
from textforge.exporting.onnx import files as onnx_files
from textforge.exporting.place import write_folder as write_folder

__all__ = ["Exported", "files", "is_export", "onnx_files", "read", "write_folder"]
