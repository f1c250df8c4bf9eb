// Package debs fetches Debian packages into a cache folder and unpacks them
// there: QEMU with every library that it needs, file system and benchmark tools,
// and Debian's stock cloud kernels. Nothing is installed on the machine, whose
// own packages, apt lists and dpkg status are neither read for their versions
// nor changed.
//
// It is not a package manager: a set of packages is fetched once, as the newest
// at that time, and used from the cache from then on without the network.
// [Cache.Refresh] fetches anew.
//
// # The cache folder
//
//	lock            flock(2)ed exclusively while anything is fetched
//	apt/            a private apt: sources, lists, downloaded packages
//	store/NAME-N/   an unpacked set, complete and never changed once it is there
//	current/NAME    the name of the store folder in use, a one-line file
//
// Invariants: a folder in store and a file in current appear whole, by rename(2);
// whatever else is found (a .tmp folder of a killed process) belongs to nobody
// and is removed by the next process that holds the lock.
package debs
