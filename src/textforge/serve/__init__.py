"""A local web page to play with trained models; it needs the libraries of `textforge[serve]`."""

from textforge.serve.app import application as application
from textforge.serve.door import answer as answer
from textforge.serve.door import listen as listen
from textforge.serve.door import server as server
from textforge.serve.guard import LOOPBACK as LOOPBACK
