// Package fetch is what bryo and the process that downloads an image tell each
// other. It is data only: bryo links it, and not what speaks to registries.
//
//	bryo                                   bryo-image fetch, confined
//	Request, on its standard input ------> asks the registry
//	<------- Events, one JSON value a line
//	end of the input --------------------> stops, and leaves what it has
package fetch

// Request is what is to be downloaded.
type Request struct {
	Reference  string   // in full
	Platform   string   // OS/ARCH[/VARIANT]; "" is this machine's
	Name       string   // what the image is called in the layout
	Have       []string // digests of layers that need not be downloaded
	MostBytes  int64    // of all layers together
	Unverified bool     // do not look at certificates, if the registry is on this machine
}

// Blob is a part of an image.
type Blob struct {
	Digest string
	Size   int64
}

// Image is what is known of an image before its layers are there.
type Image struct {
	Manifest string // its digest
	Index    string // the digest of what it was chosen from, or ""
	Missing  []Blob // what is going to be downloaded
	Skipped  int    // how many layers are not
}

// Progress is how much of a blob is there.
type Progress struct {
	Digest string
	Done   int64
}

// Event has one field that is not empty.
type Event struct {
	Image    *Image    `json:",omitempty"`
	Progress *Progress `json:",omitempty"`
	Warning  string    `json:",omitempty"`
	Error    string    `json:",omitempty"`
	Finished bool      `json:",omitempty"` // all is there, and in the layout's index
}
