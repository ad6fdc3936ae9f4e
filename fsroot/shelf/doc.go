// Package shelf puts images on the shelf and takes them off it; package image
// reads it, and says what is where. It runs as root of the user's map of ids, so
// that layers have the owners that they are to have.
//
// A layer is made in a directory of its own, which is locked meanwhile, and gets
// its name when it is complete and its digest is what was said. Several processes
// may add the same one. Who is killed loses the layers that were not finished.
//
//	import.go   an image comes on the shelf
//	layer.go    a layer is made, by one process
//	config.go   what an image says of itself
//	remove.go   images and layers go
package shelf
