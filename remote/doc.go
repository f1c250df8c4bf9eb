// Package remote holds the nouns of memory that lives in other processes and
// the roles that serve it.
//
// A vNode's guest-physical space is cut into vRegions of at most 1 GiB. A
// memory monitor owns a vRegion: it backs a line (4 KiB) with physical memory
// when the line is first written, serves it, and frees it when it is discarded.
//
// What it isn't: no wire format (remote/wire), no socket (remote/transport,
// remote/client, remote/server), no storage (monitors/memory), no placement.
//
// # One role, several forms
//
// LineStore is implemented by the store in process (monitors/memory.Store) and
// by remote/client.Client over TCP and unix sockets. One contract test,
// remote/remotetest, holds for all of them.
//
// # Invariants of every form
//
//   - Linearizable per line: a WriteLines that returned nil is seen by each
//     ReadLines of that line that starts after it, until the next write. Over
//     a network that holds for lines with one writer at a time; see
//     remote/client.
//   - All or nothing against refusal: an error of kind Full, StaleEpoch,
//     FutureEpoch, NoVRegion, Range or Corrupt means that no line was changed.
//     Kinds Timeout and Disconnected leave the outcome of a write open; see
//     remote/client for what fences it.
//   - A line that was never written, or was discarded, reads as zeroes, and is
//     reported as such instead of being sent.
//   - Acknowledged data is never damaged by a message that is cut short or
//     fails its checksum.
package remote
