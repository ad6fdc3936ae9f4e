// Package pack makes images of trees: an image layout, or an archive of one that
// docker load and podman load read, too. What reads the files is package tree; here
// is what makes layers of its streams, says what the image is, and puts all of it
// where it belongs. The same trees make the same image, byte by byte, on any
// machine.
//
//	compress.go  layers compressed, on all processors
//	config.go    what an image says about its containers
//	layout.go    image layouts: blobs and the index, each complete when it has its name
//	archive.go   archives of them
//	pack.go      all in order
package pack
