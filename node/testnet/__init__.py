"""A local testnet: real node processes on one machine, watched from outside through their home directories."""
