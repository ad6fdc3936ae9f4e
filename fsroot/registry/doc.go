// Package registry downloads images from registries: the distribution
// specification's pull, into an image layout. Whatever comes over the network is
// hostile: a blob gets its name when it has the size and digest that were told,
// and everything has a limit, in bytes and in time.
//
//	settings.go     where an image is asked for: containers-registries.conf(5)
//	credentials.go  credentials, and certificates, of docker and podman
//	route.go        connections: whom to trust, where redirects may lead
//	endpoint.go     requests to one registry, and when to try again
//	manifest.go     manifests and indexes, and the choice of a platform
//	layout.go       the image layout on the disk
//	download.go     one blob, resumed where it broke off
//	pull.go         all in order
//
// Open reads what is the user's, and runs the user's credential helpers; Pull
// does the rest, and is for a process that has confined itself in between. How a
// registry asks for credentials, and who gets them, is the library's: oras-go.
package registry
