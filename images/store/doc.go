// Package store keeps images on this host: the layers as they were fetched, what
// each image is to run, and the root file systems that are made of layers. Everything is
// named by what is in it, so that images share what they have in common, and
// whatever is there is whole: files get their names when they are complete and checked.
//
// In the store's folder:
//
//	format              "1": how the rest is to be read
//	layers/HEX          a layer's archive, compressed as it came; HEX is the SHA-256 of the archive itself
//	partial/HEX         a layer that is being fetched; HEX is the SHA-256 of the compressed file
//	images/HEX.json     an Image; HEX is the SHA-256 of its configuration (its ID)
//	names/NAME          the ID that a name stands for; NAME is escaped as in a URL's path
//	roots/HEX.squashfs  a root made of layers; HEX tells which, and how
//	roots/HEX.raw       a disk that was imported as it is; HEX is its SHA-256
//	kernels/NAME/       a kernel and its modules, as package kernel lays them out
//	default-kernel      the name of the kernel that guests get
//	locks/              files that are locked and have nothing in them
//	tmp/                what is being made; whatever nobody is making is swept away
//
// Several processes may use one store. Locks are flock's, so that a killed
// process leaves none. In their order:
//
//	locks/add       shared by who adds an image, from its first layer until it has its name, and
//	                exclusive for sweeping
//	locks/names     exclusive while names and images change
//	partial/HEX, locks/root-HEX   exclusive: one process fetches or makes a thing, others wait for it
//	roots/*         shared by the guests that run on it; what can't be locked exclusively is in use
//
// The store isn't a cache of a registry: nothing is fetched by itself, and what has a
// name stays until it is removed.
package store
