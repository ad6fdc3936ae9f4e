package image

import (
	"fmt"
	"strings"
)

// Reference is a name of an image in full, as in docker.io/library/debian:latest.
type Reference struct {
	Registry, Repository string
	Tag                  string // "" only if there is a digest
	Digest               string // as in sha256:HEX, or ""
}

// String is the reference as it is kept.
func (r Reference) String() string {
	text := r.Registry + "/" + r.Repository
	if r.Tag != "" {
		text += ":" + r.Tag
	}
	if r.Digest != "" {
		text += "@" + r.Digest
	}
	return text
}

// IsLocal holds for a name that is this machine's own, and no registry's.
func (r Reference) IsLocal() bool { return r.Registry == local }

// Familiar is a name in full without what Lookup adds by itself.
func Familiar(name string) string {
	return strings.TrimPrefix(strings.TrimPrefix(name, local+"/"), hub+"/"+official)
}

// What a reference without a registry or a tag means.
const (
	hub       = "docker.io"
	official  = "library/"
	local     = "localhost"
	latest    = "latest"
	mostBytes = 255 // of a registry with a repository
	mostTag   = 128
	mostShown = 80 // of what is no reference
)

// Parse reads a reference as its user writes it: debian is
// docker.io/library/debian:latest, as with podman and docker.
func Parse(text string) (Reference, error) {
	if err := refuseTransport(text); err != nil {
		return Reference{}, err
	}
	name, digest, hasDigest := strings.Cut(text, "@")
	if hasDigest && !isDigest(digest) {
		return Reference{}, errReference(text, "what follows the @ is no digest")
	}
	name, tag, hasTag := cutTag(name)
	switch {
	case hasTag && !isTag(tag):
		return Reference{}, errReference(text, "what follows the colon is no tag")
	case !hasTag && !hasDigest:
		tag = latest
	}
	r := Reference{Tag: tag, Digest: digest}
	r.Registry, r.Repository = place(name)
	if len(r.Registry)+1+len(r.Repository) > mostBytes || !isHost(r.Registry) || !isRepository(r.Repository) {
		return Reference{}, errReference(text, "it has lower-case letters, digits and - _ . between slashes")
	}
	return r, nil
}

// refuseTransport refuses other tools' words for where an image is. Some of them read
// as the name of an image, which no registry has to hear.
func refuseTransport(text string) error {
	for _, scheme := range []string{"docker://", "https://", "http://"} {
		if name, is := strings.CutPrefix(text, scheme); is {
			return fmt.Errorf("%.*q is no name of an image\nfix: leave %s out: %.*s", mostShown, text, scheme, mostShown, name)
		}
	}
	for transport, save := range map[string]string{"containers-storage:": "podman", "docker-daemon:": "docker"} {
		if name, is := strings.CutPrefix(text, transport); is {
			return fmt.Errorf("%s is not read by bryo\nfix: %s save %.*s | bryo pull -", transport, save, mostShown, name)
		}
	}
	return nil
}

// cutTag looks for the tag behind the last slash: before it there may be a port.
func cutTag(name string) (rest, tag string, found bool) {
	i := strings.LastIndexByte(name, ':')
	if i < 0 || i < strings.LastIndexByte(name, '/') {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

func place(name string) (registry, repository string) {
	registry, repository = hub, name
	if first, rest, more := strings.Cut(name, "/"); more && isRegistry(first) {
		registry, repository = first, rest
	}
	if registry == "index.docker.io" {
		registry = hub
	}
	if registry == hub && !strings.Contains(repository, "/") {
		repository = official + repository
	}
	return registry, repository
}

// ParseLocal reads a name that somebody gives to an image of his own: without a
// registry it is this machine's.
func ParseLocal(text string) (Reference, error) {
	if first, _, more := strings.Cut(text, "/"); !more || !isRegistry(first) {
		text = local + "/" + text
	}
	return Parse(text)
}

// InLayout reads the name that an image has in a layout, which is only a tag
// mostly. Then, or without a name, the image is called as the layout is; else it
// says itself what it is called.
func InLayout(name, layout string) (r Reference, said bool, err error) {
	switch {
	case name == "":
		r, err = ParseLocal(layout)
	case isTag(name):
		r, err = ParseLocal(layout + ":" + name)
	default:
		said = true
		r, err = ParseLocal(name)
	}
	return r, said, err
}

func errReference(text, why string) error {
	return fmt.Errorf("%.*q is no name of an image: %s\nfix: write it as in debian, or registry.example:5000/team/web:1.2", mostShown, text, why)
}

// isRegistry tells a registry from the first part of a repository, as docker does.
func isRegistry(first string) bool {
	return first == local || strings.ContainsAny(first, ".:") || strings.ToLower(first) != first
}

func only(text, chars string) bool { return strings.Trim(text, chars) == "" }

const (
	digits = "0123456789"
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	hexes  = digits + "abcdef"
)

func isHost(host string) bool {
	if rest, is := strings.CutPrefix(host, "["); is { // an IPv6 address
		address, port, closed := strings.Cut(rest, "]")
		return closed && address != "" && only(address, digits+"abcdefABCDEF:") && (port == "" || isPort(port))
	}
	name, port, _ := strings.Cut(host, ":")
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || strings.Trim(label, "-") != label || !only(label, lower+upper+digits+"-") {
			return false
		}
	}
	return host == name || isPort(":"+port)
}

func isPort(text string) bool {
	number, is := strings.CutPrefix(text, ":")
	return is && number != "" && only(number, digits)
}

// isRepository wants parts that begin and end with a letter or digit, with one
// separator between, or several of -.
func isRepository(repository string) bool {
	for part := range strings.SplitSeq(repository, "/") {
		words := strings.FieldsFunc(part, func(c rune) bool { return strings.ContainsRune("._-", c) })
		for i, word := range words {
			if !only(word, lower+digits) {
				return false
			}
			gap, rest, _ := strings.Cut(part, word)
			if part = rest; i == 0 && gap != "" || i > 0 && !isSeparator(gap) {
				return false
			}
		}
		if len(words) == 0 || part != "" {
			return false
		}
	}
	return true
}

func isSeparator(gap string) bool { return gap == "." || gap == "_" || gap == "__" || only(gap, "-") }

func isTag(tag string) bool {
	return tag != "" && len(tag) <= mostTag && only(tag, lower+upper+digits+"_.-") && !strings.ContainsRune(".-", rune(tag[0]))
}

func isDigest(text string) bool {
	algorithm, sum, _ := strings.Cut(text, ":")
	const short, long = 64, 128
	return (algorithm == "sha256" && len(sum) == short || algorithm == "sha512" && len(sum) == long) && only(sum, hexes)
}
