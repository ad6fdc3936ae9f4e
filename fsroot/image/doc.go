// Package image is the shelf of images as those see it who run them: names,
// records, and what keeps an image from being removed. It is light, since bryo
// links it; package shelf writes what is read here.
//
//	$XDG_DATA_HOME/bryo/           0700, the user's
//	    lock                       flock(2): shared by who adds layers or takes hold of
//	                               an image, exclusive by who removes some
//	    names.json                 names, and the ids of their images; flock(2) of names.lock
//	    images/ID.json             what is known of an image; flock(2), shared by who runs it
//	    blobs/sha256/HEX           manifests and configurations, as they came
//	    digests/sha256-HEX         of a layer as it came, a link that says what is in it
//	    layers/MAP/map             the map of ids under which these layers were made
//	               NAME/           a layer, as overlay file systems stack it
//	               NAME.json       what is known of it
//	               NAME.BOOT       one that this run of the machine has finished, and that
//	                               may not be on the disk yet
//	               NAME.half       one that is being made; flock(2), by who makes it
//	    holds/CONTAINER.json       the image of a container that does not run, and where
//	                               the container's state is
//	    trash/                     what is being removed
//	    downloads/HEX/             an image layout, of what is being downloaded or what
//	                               broke off; flock(2), by who downloads
//
// Every file is made beside and renamed, a layer's directory last of what
// belongs to it, so that what has its name is complete.
//
//	reference.go   how images are called
//	record.go      what is known of an image
//	shelf.go       the directory, and look-ups in it
//	names.go       names are given and taken
//	hold.go        images in use
//	download.go    images that are on their way
package image
