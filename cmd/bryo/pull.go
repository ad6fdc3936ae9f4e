package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"bryo/fsroot/fetch"
	"bryo/fsroot/image"
)

const pullAbout = `REFERENCE is as for podman and docker: debian is docker.io/library/debian:latest.
LAYOUT is oci:DIR[:NAME], an image layout that is made or added to; NAME is the reference's tag unless told.
An image stays as it is in the registry, with its digest: skopeo and umoci take out of a layout what is in the OCI's format, and bryo also what is in docker's.

Credentials are those of podman login and docker login, with their helpers; mirrors, prefixes and blocks are those of registries.conf (containers-registries.conf(5)), except what short names mean there; certificates are the machine's, and those in containers/certs.d and docker/certs.d.
Plain HTTP and unknown certificates are for registries on this machine only.
HTTPS_PROXY, HTTP_PROXY and NO_PROXY are heeded.

A download that broke off, or was interrupted, goes on where it was when it is asked for again.
The digest of the image's manifest is printed.`

func pullExamples() []string {
	return []string{
		"bryo pull debian:stable oci:images",
		"bryo pull --platform linux/arm64 registry.example:5000/team/web@sha256:... oci:web:arm",
	}
}

type pullOptions struct {
	request fetch.Request
	quiet   bool
}

func pullFlags(o *pullOptions, s streams) *pflag.FlagSet {
	const most = 64 << 30
	o.request.MostBytes = most
	flags := verbFlags("pull", s)
	flags.Var(one(&o.request.Platform, "PLATFORM", asIs), "platform", "OS/ARCH[/VARIANT] of the image; this machine's by default")
	flags.Var(&value{kind: "SIZE", text: "64g", set: func(text string) (err error) { o.request.MostBytes, err = parseLogSize(text); return err }}, "max-size", "how large all layers together may be, compressed")
	verify := flags.VarPF(&value{kind: "bool", text: "true", set: o.setVerify}, "tls-verify", "", "look at the registry's certificate; false is for registries on this machine")
	verify.NoOptDefVal = "true"
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "do not tell how far it is")
	return flags
}

func (o *pullOptions) setVerify(text string) error {
	switch text {
	case "true", "false":
		o.request.Unverified = text == "false"
		return nil
	}
	return fmt.Errorf("%q: write true or false", text)
}

func pullSyntax() *pflag.FlagSet { return pullFlags(&pullOptions{}, streams{}) }

// runPull downloads an image into a layout.
func runPull(args []string, s streams) int {
	o := &pullOptions{}
	flags := pullFlags(o, s)
	if err := parse(flags, args); err != nil {
		return report(s, err)
	}
	const operands = 2
	if flags.NArg() != operands {
		return report(s, errors.New("pull takes a reference, and the layout that it goes to\nfix: bryo pull debian oci:images"))
	}
	o.request.Reference = flags.Arg(0)
	manifest, err := o.toLayout(flags.Arg(1), s)
	if err != nil {
		return report(s, err)
	}
	return write(s, manifest+"\n")
}

// toLayout downloads to a directory of the user's.
func (o *pullOptions) toLayout(layout string, s streams) (manifest string, err error) {
	reference, err := image.Parse(o.request.Reference)
	if err != nil {
		return "", err
	}
	path, is := strings.CutPrefix(layout, "oci:")
	if !is || path == "" {
		return "", fmt.Errorf("%q is no layout\nfix: bryo pull %s oci:DIRECTORY", layout, o.request.Reference)
	}
	o.request.Name = reference.Tag
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		if path, o.request.Name = path[:i], path[i+1:]; path == "" || o.request.Name == "" {
			return "", fmt.Errorf("%q: the directory or the name is missing\nfix: oci:DIRECTORY or oci:DIRECTORY:NAME", layout)
		}
	}
	made, err := makeDirectory(path)
	if err != nil {
		return "", err
	}
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	got, err := o.fetch(dir, s)
	if err != nil {
		if made {
			_ = os.Remove(path) // unless there is something to go on with
		}
		return "", err
	}
	return got.Manifest, nil
}

func makeDirectory(path string) (made bool, err error) {
	const mode = 0o755
	err = os.Mkdir(path, mode)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, err
}
