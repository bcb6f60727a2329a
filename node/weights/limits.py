"""Every bound of weights storage and transfer, with its unit and its reason."""

from __future__ import annotations

from typing import Final

#: Chunks of files and links per file node: profile unixfs-v1-2025 of IPIP-499.
CHUNK_SIZE_BYTES: Final = 1_048_576
LINKS_PER_FILE_NODE: Final = 1_024

#: No block is larger than one chunk. Bitswap's usual limit is 2 MiB.
BLOCK_SIZE_BYTES_MAX: Final = CHUNK_SIZE_BYTES

#: Encoded directory. The profile turns larger ones into a HAMT, which we do not write or read: a checkpoint has
#: about five files.
DIRECTORY_SIZE_BYTES_MAX: Final = 262_144

#: Directories within directories, the root counted. A diffusers folder has two levels.
DIRECTORY_DEPTH_MAX: Final = 16

#: Levels of nodes above a file's chunks: 1,024 ** 3 chunks of 1 MiB are an exbibyte.
FILE_HEIGHT_MAX: Final = 3

#: Bytes of a file name: the limit of ext4 and APFS.
NAME_SIZE_BYTES_MAX: Final = 255

#: Bytes of a path inside a folder: a quarter of Linux' PATH_MAX, so that it fits below any home directory. Bounded
#: here, since otherwise the disk would decide what is malformed, and disks differ.
PATH_SIZE_BYTES_MAX: Final = 1_024

#: Files and directories of one folder, repetitions counted.
ENTRIES_MAX: Final = 10_000

#: Distinct blocks of one folder: 256 GiB of chunks. What a transfer remembers grows with it (some 500 B each).
BLOCKS_MAX: Final = 262_144

#: Cumulative size of one folder where the caller names no smaller bound.
FOLDER_SIZE_BYTES_MAX: Final = 64 * 1_073_741_824

#: Blocks made durable together. A sync for each costs more than hashing and writing it.
SYNC_COUNT: Final = 32

#: Identifiers in one request. Answers come one block at a time, so this bounds what one request makes us send.
WANTS_PER_REQUEST_MAX: Final = 16

#: An answer: tag, identifier and one bit, below 80 bytes. The block follows in a frame of its own.
ANSWER_SIZE_BYTES_MAX: Final = 128
#: A request: identifiers and an envelope.
REQUEST_SIZE_BYTES_MAX: Final = WANTS_PER_REQUEST_MAX * 40 + 64

#: Blocks in flight from one peer, those that are being hashed and written included.
IN_FLIGHT_PER_PEER: Final = 8
#: Blocks in flight from a peer that has given none yet; each block it gives makes room for one more. A slow peer must
#: not hold many.
IN_FLIGHT_FIRST: Final = 2
#: A peer that owes blocks is asked for so many more at once.
REQUEST_COUNT: Final = 4
#: A peer with nothing to do is asked for what another owes that gave so many times fewer blocks.
FASTER_FACTOR: Final = 2
#: Peers one block is asked of at once.
ASKED_OF_MAX: Final = 2
#: The same for directories and nodes of files: they are small, and what they name cannot be asked for before they are
#: here, so a peer with nothing to do asks for them too, however fast the others have been.
NODE_ASKED_OF_MAX: Final = 4
#: Blocks of one peer that have arrived and wait to be hashed and written, beside the one that is.
WAITING_PER_PEER_MAX: Final = 1
#: Blocks in flight from all peers: bounds what a transfer holds in memory, however many peers there are.
IN_FLIGHT_MAX: Final = 16
#: Peers of one transfer. More sources add availability, not speed.
PEERS_PER_TRANSFER_MAX: Final = 64
#: A peer that lacks so many of the blocks it was asked for is asked no more.
LACKS_PER_PEER_MAX: Final = 256
#: Streams opened anew to one peer in one transfer before it is given up.
ATTEMPTS_PER_PEER: Final = 3
#: A peer that answers nothing for so long is left. One chunk at 100 kB/s takes ten seconds.
STALL_TIMEOUT_S: Final = 20.0

#: One message of Bitswap: the protocol's own bound. Ours carry one block.
BITSWAP_MESSAGE_SIZE_BYTES_MAX: Final = 4_194_304
#: The same from a peer that we have asked for nothing: twice as many wishes as wait to be answered.
BITSWAP_UNASKED_SIZE_BYTES_MAX: Final = 524_288
#: Messages that are being received, from all peers.
BITSWAP_ARRIVING_SIZE_BYTES_MAX: Final = 33_554_432
#: An identifier in a wish. Ours have 36 bytes; no other can be here.
BITSWAP_CID_SIZE_BYTES_MAX: Final = 64
#: Wishes of one peer that wait to be answered; a client of IPFS has some hundreds.
BITSWAP_WISHES_MAX: Final = 4_096

#: What one peer may say over Bitswap in the long run (a second) and at once: an entry of a message counts one, a KiB of
#: a block that was not asked for one, and a block that is sent gives one back. A client that fetches at 150 MB/s
#: sends some 300 entries a second that give nothing back; one with the wishes of many users sends thousands at once.
BITSWAP_SAID_PER_S: Final = 512.0
BITSWAP_SAID_MAX: Final = 16_384.0

#: Streams served at once, in all and to one peer; each holds at most two blocks in memory.
STREAMS_SERVED_MAX: Final = 64
STREAMS_SERVED_PER_PEER_MAX: Final = 16
#: Of these, to peers without a handshake: a peer id costs nothing, and four of them must not hold every place.
STREAMS_SERVED_TO_STRANGERS_MAX: Final = 32
#: A served stream without a request, or whose peer reads nothing, for so long is closed.
SERVE_IDLE_TIMEOUT_S: Final = 60.0
#: A block file that was hashed is served for so long without being hashed again, unless it has changed.
HASH_TRUSTED_S: Final = 600.0
