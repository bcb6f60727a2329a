"""Weights by content: stored in blocks, fetched from peers, served to them.

::

    limits, errors -> cid -> dag -> tree -> adding, files -> store -> messages -> transfer -> fetch, serve

    store = WeightsStore(home / "weights")                     # blocking: in a thread
    cid = store.add_folder(folder)                             # node.weights.store
    WeightsServer(store).attach(host)                          # node.weights.serve
    await fetch(host, store, cid, peers, size_bytes_max=...)   # node.weights.fetch
    store.export(cid, out_dir)                                 # a folder for diffusers

Nothing here imports libp2p: the network is `node.host.interface`.
"""
