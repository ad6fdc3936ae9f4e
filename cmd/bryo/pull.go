package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"bryo/fsroot/image"
)

const pullAbout = `IMAGE is a reference as for podman and docker: debian is docker.io/library/debian:latest. Or it is what unpack takes: an image layout oci:DIR[:TAG], an archive of an image, or an archive of files, which becomes an image of one layer; its name is what it says itself, or what its file is called, and by its own word it takes none from another image.
The image's id is printed. Images are kept below $XDG_DATA_HOME/bryo, or ~/.local/share/bryo, and share layers: those that are there are not read again.

With LAYOUT, as oci:DIR[:NAME], an image is downloaded to an image layout instead, as it is in the registry, and the digest of its manifest is printed. NAME is the tag unless told.

Credentials are those of podman login and docker login, with their helpers; mirrors, prefixes and blocks are those of registries.conf (containers-registries.conf(5)), except what short names mean there; certificates are the machine's, and those in containers/certs.d and docker/certs.d.
Plain HTTP and unknown certificates are for registries on this machine only.
HTTPS_PROXY, HTTP_PROXY and NO_PROXY are heeded.

A download that broke off, or was interrupted, goes on where it was when it is asked for again; bryo prune --images gives it up.`

func pullExamples() []string {
	return []string{
		"bryo pull debian:stable",
		"bryo pull --platform linux/arm64 registry.example:5000/team/web@sha256:...",
		"bryo pull oci:layout:web",
		"podman save web | bryo pull -",
		"bryo pull --name debian debian.tar.zst",
		"bryo pull debian oci:images",
	}
}

func pullFlags(o *pulling, s streams) *pflag.FlagSet {
	flags := verbFlags("pull", s)
	flags.Var(one(&o.name, "NAME", asIs), "name", "the image's name, instead of its own")
	o.flags(flags)
	flags.Var(one(&o.request.Platform, "PLATFORM", asIs), "platform", "OS/ARCH[/VARIANT] of the image in a registry; this machine's by default")
	verify := flags.VarPF(&value{kind: "bool", text: "true", set: o.setVerify}, "tls-verify", "", "look at the registry's certificate; false is for registries on this machine")
	verify.NoOptDefVal = "true"
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "do not tell how far it is")
	return flags
}

func (o *pulling) setVerify(text string) error {
	switch text {
	case "true", "false":
		o.request.Unverified = text == "false"
		return nil
	}
	return fmt.Errorf("%q: write true or false", text)
}

func pullSyntax() *pflag.FlagSet { return pullFlags(newPulling(), streams{}) }

// runPull puts an image on the shelf, or downloads it to a layout.
func runPull(args []string, s streams) int {
	o := newPulling()
	flags := pullFlags(o, s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	const alone, withLayout = 1, 2
	switch flags.NArg() {
	case alone:
		id, err := o.toShelf(flags.Arg(0), s)
		if err != nil {
			return report(s, err)
		}
		return write(s, id+"\n")
	case withLayout:
		manifest, err := o.toLayout(flags.Arg(0), flags.Arg(1), s)
		if err != nil {
			return report(s, err)
		}
		return write(s, manifest+"\n")
	}
	return report(s, errors.New("pull takes one image\nfix: bryo pull debian, or bryo pull oci:layout:web"))
}

func (o *pulling) toShelf(text string, s streams) (id string, err error) {
	if !isLocal(text) && namesArchive(text) {
		return "", errNoArchive(text)
	}
	shelf, err := image.Open()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(withRoom(shelf, err), shelf.Close()) }()
	get := o.registry
	if isLocal(text) {
		get = o.local
	}
	added, err := get(shelf, text, s)
	if err != nil {
		return "", err
	}
	return added.ID, nil
}
