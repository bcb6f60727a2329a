"""The host: identity, connections, streams and gossip, hardened.

This package holds everything that imports libp2p; `interface` and `framing` do not. Importing the package imports
nothing: `from node.host.libp2p_host import open_host` is the line that costs a second.
"""
