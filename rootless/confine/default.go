package confine

import (
	"crypto/sha256"
	_ "embed" // the profile and what it compiles to
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// The default profile is Moby's, github.com/moby/profiles/seccomp v0.3.0,
// Copyright The Moby Authors, Apache License 2.0. It is compiled when bryo is
// made: TestGenerated says how.
var (
	//go:embed moby.json
	mobyProfile []byte
	//go:embed default_amd64.bpf
	defaultAMD64 []byte
	//go:embed default_arm64.bpf
	defaultARM64 []byte
	//go:embed default_riscv64.bpf
	defaultRISCV64 []byte
)

// DefaultProfile is the profile that a container has unless told.
func DefaultProfile() *Profile {
	p := DockerProfile()
	p.seeSockets()
	return p
}

// DockerProfile is Moby's as it is.
func DockerProfile() *Profile {
	p, err := ParseProfile(mobyProfile)
	if err != nil {
		panic("confine: the default profile: " + err.Error()) // a test reads it
	}
	return p
}

// Prebuilt is the default profile for a container with none of the capabilities
// that it asks about, for the machine that runs; nil where there is none.
func Prebuilt() []byte {
	switch runtime.GOARCH {
	case "amd64":
		return defaultAMD64
	case "arm64":
		return defaultARM64
	case "riscv64":
		return defaultRISCV64
	}
	return nil
}

// Build compiles a profile for a container with these capabilities, into what
// the kernel loads.
func (p *Profile) Build(machine string, caps Caps) ([]byte, error) {
	filters, err := p.Filters(machine, caps)
	if err != nil {
		return nil, err
	}
	program, err := Compile(filters...)
	if err != nil {
		return nil, err
	}
	return encode(program), nil
}

const instructionSize = 8 // struct sock_filter

func encode(program []unix.SockFilter) []byte {
	ne := binary.LittleEndian
	list := make([]byte, 0, len(program)*instructionSize)
	for _, i := range program {
		list = ne.AppendUint16(list, i.Code)
		list = append(list, i.Jt, i.Jf)
		list = ne.AppendUint32(list, i.K)
	}
	return list
}

// Seccomp is a container's filter.
type Seccomp struct {
	Profile string // default, docker, strict, off, or the file it is from
	Hash    string `json:",omitempty"` // of the filter, once it is summed up
	Filter  []byte `json:",omitempty"`
}

// Sum puts the filter's hash in its place, for people.
func (s *Seccomp) Sum() {
	if len(s.Filter) > 0 {
		sum := sha256.Sum256(s.Filter)
		s.Hash, s.Filter = hex.EncodeToString(sum[:]), nil
	}
}

// Instructions is the filter's length.
func (s *Seccomp) Instructions() int { return len(s.Filter) / instructionSize }

func (s Seccomp) String() string {
	count := s.Instructions()
	if count == 0 {
		return s.Profile
	}
	s.Sum()
	const shown = 12
	return fmt.Sprintf("%s, %d instructions, sha256 %s", s.Profile, count, s.Hash[:shown])
}
