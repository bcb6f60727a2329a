"""Every bound of the protocol, with its unit and its reason.

Decoding refuses what exceeds a bound before anything is allocated for it. A bound that belongs to one task or
one chain is a parameter (`pdfedchain.types.parameters`), not a constant here.
"""

from __future__ import annotations

from typing import Final

#: Ed25519 signatures and public keys (RFC 8032), SHA-256 digests (FIPS 180-4).
SIGNATURE_SIZE_BYTES: Final = 64
PUBLIC_KEY_SIZE_BYTES: Final = 32
HASH_SIZE_BYTES: Final = 32

#: CIDv1 with a one-byte codec and a sha2-256 multihash: 0x01, codec, 0x12, 0x20, 32 bytes.
CID_SIZE_BYTES: Final = 36

#: Unsigned integers on chain fit SQLite's and most languages' signed 64 bit.
UINT_MAX: Final = 2**63 - 1

#: Names people type: chains, tasks, data sets, roles.
NAME_LENGTH_MAX: Final = 64

#: Free text in a transaction (a registration's description). Weights and manifests never go on chain.
TEXT_LENGTH_MAX: Final = 1024

#: A model or scheduler configuration as canonical JSON. A diffusers UNet config is below 2 KiB.
CONFIG_LENGTH_MAX: Final = 16_384

#: Tensors in one model. The largest published UNets have below 2,000.
TENSORS_MAX: Final = 8_192
TENSOR_RANK_MAX: Final = 8

#: Parents of one checkpoint: averaging more than this many models at once is not sensible.
PARENTS_MAX: Final = 16

#: Authorities of one chain. All-to-all votes grow with the square; CometBFT's largest sets have about 180.
AUTHORITIES_MAX: Final = 200

#: Authority sets kept for evidence. One with many changes in a short time forgets the oldest early.
AUTHORITY_TERMS_MAX: Final = 1_024

#: Open proposals of one authority, so that none can fill the list for the others; and of all.
PROPOSALS_PER_AUTHORITY_MAX: Final = 4
PROPOSALS_OPEN_MAX: Final = PROPOSALS_PER_AUTHORITY_MAX * AUTHORITIES_MAX

#: Approved changes that wait for their height. All but one of them are in effect two blocks later.
SCHEDULED_CHANGES_MAX: Final = 1_024

#: A block smaller than this would keep out the proposal that mends it.
GOVERNED_BLOCK_SIZE_BYTES_MIN: Final = 65_536

#: Contributions to the beacon that one anchor commits to; computing a chain of this length takes seconds.
ONION_LENGTH_MAX: Final = 2**24

#: Checkpoints one block may settle; each costs every authority one scoring run.
SETTLEMENTS_PER_BLOCK_MAX: Final = 8

#: Tasks and allocations a genesis document may carry.
GENESIS_TASKS_MAX: Final = 64
GENESIS_ALLOCATIONS_MAX: Final = 100_000

#: Tasks of one chain; every block looks at each of them.
TASKS_MAX: Final = 1_024

#: Tasks that authorities deploy, in equal shares: one that is hostile takes its share of the places and no more.
TASKS_DEPLOYED_MAX: Final = TASKS_MAX - GENESIS_TASKS_MAX

#: Submissions of one task that wait in its queue; more are refused until some are settled.
TASK_QUEUE_MAX: Final = 1_000

#: Accepted checkpoints whose private ballots are open at one time.
PRIVATE_WINDOWS_MAX: Final = 10_000

#: Private ballots on one checkpoint. Their voters are listed in one value of the state.
PRIVATE_VOTERS_MAX: Final = 256

#: Settled checkpoints whose sealed scores may still be opened.
UNOPENED_MAX: Final = 10_000

#: Generations that share a reward, and ancestors looked at to find them: with the default decay the ninth
#: generation would get less than a five-hundredth.
REWARD_GENERATIONS_MAX: Final = 8
REWARD_ANCESTORS_MAX: Final = 256

#: A waiting transaction's nonce may be ahead of its account's by this much; more would only fill the pool.
NONCE_AHEAD_MAX: Final = 64

#: One encoded value in the ledger's state. The largest is a `TaskSpec`, which fits a transaction.
STATE_VALUE_SIZE_BYTES_MAX: Final = 2_097_152

#: One encoded transaction. The largest is CreateTask with its tensor list.
TRANSACTION_SIZE_BYTES_MAX: Final = 1_048_576

#: Transactions in one block, and one encoded block. CometBFT's default block is 4 MiB.
TRANSACTIONS_PER_BLOCK_MAX: Final = 10_000
BLOCK_SIZE_BYTES_MAX: Final = 4_194_304

#: Opaque bytes a proposer adds through `Application.propose`.
EXTENSION_SIZE_BYTES_MAX: Final = 65_536

#: One frame between a node and its worker process: job messages, never weights.
JOB_FRAME_SIZE_BYTES_MAX: Final = 16_777_216

#: Salt of a sealed ballot: below 16 bytes a small report could be found by trying.
SALT_SIZE_BYTES_MIN: Final = 16
SALT_SIZE_BYTES_MAX: Final = 32

#: Nesting of encoded values; the deepest type of ours has 7 levels.
NESTING_MAX: Final = 16

#: A light bundle is read at once: this many changes of the authority set, at up to 30 KiB each. A longer history is
#: followed in several bundles.
HANDOVERS_PER_BUNDLE_MAX: Final = 256
VALUES_PER_BUNDLE_MAX: Final = 256
LIGHT_BLOCK_SIZE_BYTES_MAX: Final = 65_536
LIGHT_BUNDLE_SIZE_BYTES_MAX: Final = 67_108_864

#: A snapshot's chunks aim at half a mebibyte of keys and values; a single value may be larger. A manifest of 65,536
#: parts is 2.6 MiB and stands for some 20 GiB of state.
SNAPSHOT_CHUNK_TARGET_SIZE_BYTES: Final = 524_288
SNAPSHOT_CHUNK_SIZE_BYTES_MAX: Final = 4_194_304
SNAPSHOT_CHUNK_KEYS_MAX: Final = 65_536
SNAPSHOT_CHUNKS_MAX: Final = 65_536
SNAPSHOT_MANIFEST_SIZE_BYTES_MAX: Final = 4_194_304
