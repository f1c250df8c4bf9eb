// Package storage is the storage monitor: it holds volumes of 4 KiB blocks on a
// file system and serves them to virtual machines on other hosts.
//
// What it isn't: the format of blocks on the file system, and what survives a
// loss of power (storage/layer); the messages (remote/blockwire and remote/api).
//
// # Data directory
//
//	catalog.db   volumes, layers and the monitor's id: bbolt, see catalog.go
//	layers/ID/   one directory for each layer, see package layer
//
// A volume is a stack of layers: its own on top, which takes the writes, and
// below it frozen ones, which it may share. A block that a layer does not hold is
// looked for in the one below. A snapshot freezes the top layer and puts an
// empty one on it; a clone is another empty layer on the same frozen one. What
// belongs together changes in one transaction of the catalog; a layer without an
// entry there, left over by a crash, is removed at the next start.
//
// # Who may write
//
// A volume has an epoch, on disk, that only grows. A writer claims it by raising
// the epoch; from then on no request of an older one takes effect, and one that
// is under way has ended before the claim is answered.
//
// # Locks
//
// Store.mu (the catalog and what is open) before Volume.mu (requests share it;
// whoever changes the stack or the epoch holds it) before those of the layers.
// Store.mu is not held while a layer does I/O for a request.
package storage
