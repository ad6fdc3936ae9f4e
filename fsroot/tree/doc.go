// Package tree reads and writes directory trees that somebody hostile changes
// meanwhile, as tar streams. Everything below a tree is opened from one
// descriptor by openat2(2) or by a single name, and looked at again once it is
// open; a name is never resolved twice.
//
//	pack.go     a tree becomes a stream
//	unpack.go   a stream becomes a tree
//	image.go    an image's layers become a tree; overlay.go each one by itself
//	seam.go     what layers by themselves do not say
//	open.go     how paths are looked up
//	newfile.go  a file gets its name when it is complete
package tree
