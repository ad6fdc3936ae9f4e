// Package unpack makes a root file system of an image: an archive of files, an
// image layout, or an archive of either an image layout or what docker save
// writes. All of it is hostile. What writes files is package tree; here is
// what finds the layers and checks them.
//
//	compress.go  compressed streams, and how far they may grow
//	ahead.go     decompression and the writing of files at the same time
//	blobs.go     where the parts of an image lie
//	oci.go       image layouts: index, manifest, configuration, layers
//	docker.go    archives of docker save
//	unpack.go    what a source is, and all in order
package unpack
