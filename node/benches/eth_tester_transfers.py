"""Executes transfers on eth-tester with py-evm and prints how long that took.

Run by `node.benches.chain` with an interpreter that has ``eth-tester`` and ``py-evm``; it needs nothing of pdfedchain.
Reads ``{"accounts": n, "transfers": [[sender, receiver], ...]}``, answers with seconds and versions, both as JSON.
Accounts, keys and signatures are made before the clock starts; blocks are mined by hand.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version

TRANSFERS_PER_BLOCK = 100


def main() -> None:
    """Read, execute, print."""
    from eth_account import Account
    from eth_tester import EthereumTester, PyEVMBackend

    work = json.load(sys.stdin)
    accounts = [Account.from_key((index + 1).to_bytes(32, "big")) for index in range(work["accounts"])]
    genesis_state = {
        bytes.fromhex(account.address[2:]): {"balance": 10**24, "nonce": 0, "code": b"", "storage": {}}
        for account in accounts
    }
    tester = EthereumTester(PyEVMBackend(genesis_state=genesis_state), auto_mine_transactions=False)
    nonces = [0] * len(accounts)
    raw = []
    for sender, receiver in work["transfers"]:
        transaction = {
            "to": accounts[receiver].address,
            "value": 1,
            "gas": 21_000,
            "gasPrice": 10**10,
            "nonce": nonces[sender],
        }
        nonces[sender] += 1
        raw.append("0x" + bytes(accounts[sender].sign_transaction(transaction).raw_transaction).hex())
    started_wall, started_cpu = time.perf_counter(), time.process_time()
    in_block: set[int] = set()
    for (sender, _), transaction_hex in zip(work["transfers"], raw, strict=True):
        # A pending transaction does not raise the nonce that the next one is checked against.
        if sender in in_block or len(in_block) == TRANSFERS_PER_BLOCK:
            tester.mine_block()
            in_block.clear()
        tester.send_raw_transaction(transaction_hex)
        in_block.add(sender)
    tester.mine_block()
    wall_s, cpu_s = time.perf_counter() - started_wall, time.process_time() - started_cpu
    mined = sum(
        len(tester.get_block_by_number(number)["transactions"])
        for number in range(tester.get_block_by_number("latest")["number"] + 1)
    )
    if mined != len(raw):
        raise SystemExit(f"{mined} of {len(raw)} transfers were mined")
    answer = {"wall_s": wall_s, "cpu_s": cpu_s, "eth_tester": version("eth-tester"), "py_evm": version("py-evm")}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
