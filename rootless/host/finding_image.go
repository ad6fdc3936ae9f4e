package host

// imageProgram is bryo-image, as it was found.
type imageProgram struct {
	path  string // "" for none
	build string // what it says that it is
	own   string // and bryo
}

// imageFinding is about what unpacks images. It and bryo have no protocol that
// would outlive a release: they are installed together.
func (s *symptoms) imageFinding() Finding {
	f := Finding{Topic: onImages, Level: Degraded}
	switch p := &s.image; {
	case p.path == "":
		f.ID = "bryo-image-missing"
		f.Cause = "the program bryo-image is missing, which belongs beside bryo or in ../libexec/bryo"
		f.Fix = "install it (make install); or unpack archives with tar: bryo unshare tar -xpf ARCHIVE -C DIRECTORY"
	case p.build != p.own:
		f.ID = "bryo-image-differs"
		said := p.build
		if said == "" {
			said = "does not say"
		}
		f.Cause = p.path + " is of another version than bryo: bryo is " + p.own + ", bryo-image " + said
		f.Fix = "install both together (make install)"
	default:
		return Finding{ID: "bryo-image-found", Topic: onImages, Cause: p.path + " unpacks images"}
	}
	return f
}
