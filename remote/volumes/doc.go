// Package volumes is the control role of a storage monitor (remote.Volumes) over
// gRPC: the server's side and the client's, and what both make of errors.
//
// What it isn't: the data of volumes (remote/blockwire), the store itself
// (monitors/storage).
package volumes
