"""The federated-learning ledger: what the chain of PDFed executes."""

from pdfedchain.state.errors import NotYet
from pdfedchain.state.ledger import Ledger, OwnResults
from pdfedchain.state.view import LedgerView, ballot_prefix

__all__ = ["Ledger", "LedgerView", "NotYet", "OwnResults", "ballot_prefix"]
