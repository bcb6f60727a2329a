// js-libp2p and Helia, told by lines of JSON what to do; answers each with one line. See check.py for the other side.
import fs from 'node:fs/promises'
import path from 'node:path'
import readline from 'node:readline'
import { createHeliaLight } from 'helia'
import { withBitswap } from '@helia/bitswap'
import { withLibp2pLight } from '@helia/libp2p'
import { unixfs } from '@helia/unixfs'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { CID } from 'multiformats/cid'

const TIMEOUT_MS = 60_000
const PROFILE = 'unixfs-v1-2025'

const helia = withBitswap(withLibp2pLight(createHeliaLight(), {
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    pubsub: gossipsub({ globalSignaturePolicy: 'StrictSign' })
  }
}))
await helia.start()
const { libp2p } = helia
const files = unixfs(helia)
const heard = []
libp2p.services.pubsub.addEventListener('message', ({ detail }) => {
  heard.push({ topic: detail.topic, data: new TextDecoder().decode(detail.data), signed: detail.type === 'signed' })
})

async function * walk (root, inside = '') {
  for (const entry of await fs.readdir(path.join(root, inside), { withFileTypes: true })) {
    const below = path.posix.join(inside, entry.name)
    if (entry.isDirectory()) yield * walk(root, below)
    else yield { path: below, content: await fs.readFile(path.join(root, below)) }
  }
}

async function writeOut (cid, out) {
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  await fs.mkdir(out)
  for await (const entry of files.ls(cid, { signal })) {
    const target = path.join(out, entry.name)
    const { type } = await files.stat(entry.cid, { signal })
    if (type === 'directory') await writeOut(entry.cid, target)
    else {
      const parts = []
      for await (const part of files.cat(entry.cid, { signal })) parts.push(part)
      await fs.writeFile(target, Buffer.concat(parts))
    }
  }
}

const commands = {
  async connect ({ address }) {
    await libp2p.dial(multiaddr(address), { signal: AbortSignal.timeout(TIMEOUT_MS) })
    return {}
  },
  async ping ({ address }) {
    return { ms: await libp2p.services.ping.ping(multiaddr(address), { signal: AbortSignal.timeout(TIMEOUT_MS) }) }
  },
  async identify ({ peer }) {
    for (let tries = 0; tries < 100; tries++) {
      const found = (await libp2p.peerStore.all()).find(({ id }) => id.toString() === peer)
      if (found?.protocols.length > 0) return { protocols: found.protocols }
      await new Promise(resolve => setTimeout(resolve, 50))
    }
    return { protocols: [] }
  },
  async subscribe ({ topic }) {
    libp2p.services.pubsub.subscribe(topic)
    return {}
  },
  async publish ({ topic, data }) {
    const { recipients } = await libp2p.services.pubsub.publish(topic, new TextEncoder().encode(data), { allowPublishToZeroTopicPeers: true })
    return { recipients: recipients.length }
  },
  async heard () {
    return { messages: heard }
  },
  async fetch ({ cid, out }) {
    const started = performance.now()
    await writeOut(CID.parse(cid), out)
    return { wall_ms: performance.now() - started }
  },
  async add ({ folder }) {
    let root
    for await (const entry of files.addAll(walk(folder), { profile: PROFILE, wrapWithDirectory: true })) root = entry
    return { cid: root.cid.toString() }
  }
}

console.log(JSON.stringify({ address: libp2p.getMultiaddrs()[0].toString(), peer: libp2p.peerId.toString() }))
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { do: name, ...parameters } = JSON.parse(line)
  try {
    console.log(JSON.stringify(await commands[name](parameters)))
  } catch (error) {
    console.log(JSON.stringify({ error: `${error.stack}` }))
  }
}
await helia.stop()
process.exit(0)
