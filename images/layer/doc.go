// Package layer flattens the layers of a container image, tar archives that are
// laid one over the other, into the one tree of files that they mean: what a
// container's root looks like. It reads the archives twice and unpacks nothing: Merge
// makes the tree out of the headers, Tree.WriteTar copies the contents that
// survived into one archive, in which every path is there once.
//
// It follows the OCI image specification (image-spec, layer.md): whiteouts and
// opaque whiteouts hide what lower layers have, never what their own layer has;
// a hard link may lead to a file of a lower layer. A path goes through the
// symbolic links of the tree as if the tree's root were /, as container engines
// have it, so that nothing is ever outside. Paths that name what is above the root, and everything
// that no file system could hold, are errors.
//
// Archives are not trusted. Limits bound the files, the bytes of headers and
// contents, and the work of looking up paths; a Tree never panics, and never takes
// more than its limits say.
//
// Names and extended attributes by which overlayfs marks its own whiteouts are left out:
// the tree may become the lower layer of an overlay.
package layer
