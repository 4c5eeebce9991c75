"""The replication ledger: the numbers of the papers, the commands that measure the same here, and what came out."""

from textforge.replication.ledger import Ledger, Ours, Row, Status, Value, as_toml, read

__all__ = ["Ledger", "Ours", "Row", "Status", "Value", "as_toml", "read"]
