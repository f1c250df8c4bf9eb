// Package mesh joins the switches of one named network on the hosts of a rack: a
// frame for a vNode of another host goes over a connection to that host and into
// its switch.
//
// The global monitor's table (Table) says which vNodes are on which network, and on
// which host; nothing is learned from frames. Each host has one TCP connection to each other
// one for what it sends, opened as soon as the table names that host and opened again
// whenever it is lost; frames that find no room, or no connection, are dropped, as
// a full or broken cable's are. So two hosts have two connections, and neither has to agree with
// the other on which of them is to be used.
//
// A frame travels with the vID of its sender (package wire), by which the receiver knows the
// network. It takes a frame only from the host on which that vNode is according to its own
// table, only with that vNode's addresses, and gives it to ports of that vNode's network alone:
// never to a gateway, which is for the vNodes of its own host, and never on to a third host.
//
// It authenticates nobody, as the rack's other services don't: keep it on a
// network of the rack's own.
//
// Locks: Mesh.mu, and link.mu inside of it.
package mesh
