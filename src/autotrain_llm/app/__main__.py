"""`python -m autotrain_llm.app check|answer`: a process of the app, which answers the orders of its server."""

from __future__ import annotations

import sys

from autotrain_llm.app.answering import answer_orders
from autotrain_llm.app.orders import check_orders

KINDS = {"check": check_orders, "answer": answer_orders}

if __name__ == "__main__":
    sys.exit(KINDS[sys.argv[1]]())
