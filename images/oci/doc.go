// Package oci brings images into the store (package store): from a registry, and
// from what users have in files, such as OCI layouts and archives of `docker save`.
// Registries, manifests and layouts are go-containerregistry's; which bytes are fetched, from
// where on, and whether they are the right ones is the store's.
//
// It knows nothing of guests: what of an image's configuration matters to a
// guest is decided where the guest is put together.
package oci
