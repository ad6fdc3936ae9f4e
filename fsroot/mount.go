package fsroot

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Type is what a mount shows.
type Type uint8

// The types that a user can ask for.
const (
	Bind    Type = iota // a file or directory of the host
	Tmpfs               // an empty file system in memory
	Overlay             // a directory of the host, writes to which are thrown away
)

func (t Type) String() string {
	switch t {
	case Tmpfs:
		return "tmpfs"
	case Overlay:
		return "overlay"
	case Bind:
	}
	return "bind"
}

// Mount is one mount that the user asked for.
type Mount struct {
	Type       Type
	Source     string // Bind and Overlay: a path of the host
	Target     string // absolute, clean, in the container
	Attributes uint64 // MOUNT_ATTR_*: mount_setattr(2)
	Shallow    bool   // Bind: without the mounts below Source
	Size       uint64 // Tmpfs: bytes, 0 for half of the memory
	Mode       uint32 // Tmpfs: of its root directory
}

// Nosuid and nodev are the default: what a host's directory holds was not made
// for the container's ids.
const defaultAttributes = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV

const stickyMode = 0o1777

// ParseVolume reads -v's SOURCE:TARGET[:OPTION,...].
func ParseVolume(value string) (Mount, error) {
	source, rest, found := strings.Cut(value, ":")
	if !found {
		return Mount{}, fmt.Errorf("volume %q: write SOURCE:TARGET[:ro,...]", value)
	}
	target, options, _ := strings.Cut(rest, ":")
	m := Mount{Source: source, Target: target, Attributes: defaultAttributes}
	if source != "" && !strings.HasPrefix(source, ".") && !strings.Contains(source, "/") {
		return Mount{}, fmt.Errorf("volume %q: named volumes are not there; for a directory write ./%s:/%s", value, source, strings.TrimPrefix(target, "/"))
	}
	for option := range strings.SplitSeq(options, ",") {
		if option == "" {
			continue
		}
		if err := m.option(option); err != nil {
			return Mount{}, fmt.Errorf("volume %q: %w", value, err)
		}
	}
	return m, m.check("volume", value)
}

// Volume mounts a directory that is the container's own.
func Volume(source, target string) Mount {
	return Mount{Source: source, Target: target, Attributes: defaultAttributes}
}

// ParseTmpfs reads --tmpfs' TARGET[:OPTION,...].
func ParseTmpfs(value string) (Mount, error) {
	target, options, _ := strings.Cut(value, ":")
	m := Mount{Type: Tmpfs, Target: target, Attributes: defaultAttributes, Mode: stickyMode}
	if at, list, found := strings.Cut(target, ","); found && isTmpfsOption(list) {
		return Mount{}, fmt.Errorf("tmpfs %q: options come after a colon\nfix: --tmpfs %s:%s", value, at, strings.Trim(list+","+options, ","))
	}
	for option := range strings.SplitSeq(options, ",") {
		if option == "" {
			continue
		}
		if err := m.option(option); err != nil {
			return Mount{}, fmt.Errorf("tmpfs %q: %w", value, err)
		}
	}
	return m, m.check("tmpfs", value)
}

// ParseMount reads --mount's type=bind|tmpfs|overlay,src=...,dst=...,OPTION...;
// src-fd=N is what the descriptor N of the process is of.
func ParseMount(value string) (Mount, error) {
	m := Mount{Attributes: defaultAttributes, Mode: stickyMode}
	fields := strings.Split(value, ",")
	if err := m.findType(fields); err != nil {
		return Mount{}, fmt.Errorf("mount %q: %w", value, err)
	}
	for _, field := range fields {
		key, argument, hasArgument := strings.Cut(field, "=")
		var err error
		switch {
		case slices.Contains([]string{"type", "src-fd", "src", "source"}, key):
			err = m.setSource(key, argument)
		case slices.Contains([]string{"dst", "target", "destination"}, key):
			m.Target = argument
		case key == "tmpfs-size" && hasArgument:
			err = m.option("size=" + argument)
		case key == "tmpfs-mode" && hasArgument:
			err = m.option("mode=" + argument)
		default:
			err = m.option(field)
		}
		if err != nil {
			return Mount{}, fmt.Errorf("mount %q: %w", value, err)
		}
	}
	return m, m.check("mount", value)
}

// descriptors is where the kernel has the files that this process has open, by
// their numbers: proc_pid_fd(5).
const descriptors = "/proc/self/fd/"

// setSource takes what is mounted; the type has been read.
func (m *Mount) setSource(key, value string) error {
	switch key {
	case "src", "source":
		m.Source = value
	case "src-fd":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return fmt.Errorf("src-fd=%s: write the number of a descriptor, as src-fd=3", value)
		}
		m.Source = descriptors + strconv.FormatUint(n, 10)
	}
	return nil
}

// OfDescriptor says whether the source is a file that the process has open,
// which no other process can look up.
func (m *Mount) OfDescriptor() bool { return strings.HasPrefix(m.Source, descriptors) }

// findType reads the type first: what options there are depends on it.
func (m *Mount) findType(fields []string) error {
	for _, field := range fields {
		if name, found := strings.CutPrefix(field, "type="); found {
			if err := m.setType(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Mount) setType(name string) error {
	switch name {
	case "bind":
		m.Type = Bind
	case "tmpfs":
		m.Type = Tmpfs
	case "overlay":
		m.Type = Overlay
	default:
		return fmt.Errorf("type %q is none of bind, tmpfs, overlay", name)
	}
	return nil
}

// attribute is an option that sets or clears one attribute.
type attribute struct {
	name string
	bit  uint64
	set  bool
}

func attributes() []attribute {
	return []attribute{
		{"ro", unix.MOUNT_ATTR_RDONLY, true},
		{"readonly", unix.MOUNT_ATTR_RDONLY, true},
		{"rw", unix.MOUNT_ATTR_RDONLY, false},
		{"nosuid", unix.MOUNT_ATTR_NOSUID, true},
		{"suid", unix.MOUNT_ATTR_NOSUID, false},
		{"nodev", unix.MOUNT_ATTR_NODEV, true},
		{"dev", unix.MOUNT_ATTR_NODEV, false},
		{"noexec", unix.MOUNT_ATTR_NOEXEC, true},
		{"exec", unix.MOUNT_ATTR_NOEXEC, false},
		{"nosymfollow", unix.MOUNT_ATTR_NOSYMFOLLOW, true},
	}
}

func (m *Mount) option(option string) error {
	for _, a := range attributes() {
		switch {
		case a.name != option:
		case a.set:
			m.Attributes |= a.bit
			return nil
		default:
			m.Attributes &^= a.bit
			return nil
		}
	}
	key, argument, _ := strings.Cut(option, "=")
	if m.Type == Tmpfs {
		return m.tmpfsOption(key, argument)
	}
	switch key {
	case "rbind", "rprivate", "private":
		return nil // as it is anyway
	case "bind":
		m.Shallow = true
		return nil
	case "O":
		m.Type = Overlay
		return nil
	case "readonly":
		return m.setReadOnly(argument)
	}
	return refuse(option)
}

func (m *Mount) tmpfsOption(key, argument string) (err error) {
	switch key {
	case "size":
		m.Size, err = ParseSize(argument)
	case "mode":
		m.Mode, err = parseMode(argument)
	case "readonly":
		err = m.setReadOnly(argument)
	default:
		err = refuse(key)
	}
	return err
}

// isTmpfsOption says whether the first of a list is the name of an option.
func isTmpfsOption(list string) bool {
	first, _, _ := strings.Cut(list, ",")
	key, _, _ := strings.Cut(first, "=")
	return key == "size" || key == "mode" || slices.ContainsFunc(attributes(), func(a attribute) bool { return a.name == key })
}

// refuse says why podman's options for owners and labels are not taken.
func refuse(option string) error {
	switch option {
	case "z", "Z":
		return errors.New("bryo does not relabel files for SELinux; use chcon(1)")
	case "U":
		return errors.New("bryo does not change owners; use bryo unshare chown, or --userns keep-id")
	}
	return fmt.Errorf("option %q is unknown here", option)
}

func (m *Mount) setReadOnly(value string) error {
	on, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("readonly=%s: write true or false", value)
	}
	if on {
		return m.option("ro")
	}
	return m.option("rw")
}

func (m *Mount) check(flag, value string) error {
	switch {
	case !strings.HasPrefix(m.Target, "/"):
		return fmt.Errorf("%s %q: the target %q is not an absolute path", flag, value, m.Target)
	case strings.ContainsRune(value, 0):
		return fmt.Errorf("%s %q: a path with a NUL", flag, value)
	case m.Type != Tmpfs && m.Source == "":
		return fmt.Errorf("%s %q: the source is missing", flag, value)
	case m.Type == Tmpfs && m.Source != "":
		return fmt.Errorf("%s %q: a tmpfs has no source", flag, value)
	}
	m.Target = path.Clean(m.Target)
	if m.Target == "/" {
		return fmt.Errorf("%s %q: / is the root file system itself; give ROOTFS instead", flag, value)
	}
	return nil
}

// ParseSize reads a number of bytes with an optional k, m, g or t behind it,
// powers of 1024.
func ParseSize(value string) (uint64, error) {
	digits, shift := strings.TrimSuffix(strings.ToLower(value), "b"), 0
	if i := strings.IndexAny(digits, "kmgt"); i >= 0 && i == len(digits)-1 {
		shift = 10 * (1 + strings.IndexByte("kmgt", digits[i]))
		digits = digits[:i]
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > (1<<62)>>shift || n == 0 {
		return 0, fmt.Errorf("size %q: write a number of bytes, as 64m or 1g", value)
	}
	return n << shift, nil
}

func parseMode(value string) (uint32, error) {
	mode, err := strconv.ParseUint(value, 8, 32)
	if err != nil || mode > 0o7777 {
		return 0, fmt.Errorf("mode %q: write an octal mode, as 1777", value)
	}
	return uint32(mode), nil
}

// Device is a device node of the host that the container sees.
type Device struct{ Source, Target string }

// ParseDevice reads --device's SOURCE[:TARGET][:rwm].
func ParseDevice(value string) (Device, error) {
	parts := strings.Split(value, ":")
	if last := parts[len(parts)-1]; len(parts) > 1 && last != "" && strings.Trim(last, "rwm") == "" {
		parts = parts[:len(parts)-1]
	}
	d := Device{Source: parts[0], Target: parts[0]}
	if len(parts) == 2 {
		d.Target = parts[1]
	}
	d.Source, d.Target = path.Clean(d.Source), path.Clean(d.Target)
	if len(parts) > 2 || !strings.HasPrefix(d.Source, "/dev/") || !strings.HasPrefix(d.Target, "/dev/") {
		return Device{}, fmt.Errorf("device %q: write /dev/NAME[:/dev/NAME]", value)
	}
	return d, nil
}
