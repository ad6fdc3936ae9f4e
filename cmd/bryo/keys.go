package main

import (
	"bytes"
	"fmt"
	"strings"
)

// parseKeys takes podman's words for keys: single characters, and ctrl- with a
// letter or one of @ [ \ ] ^ _; an empty text is none.
func parseKeys(text string) (string, error) {
	if text == "" {
		return noKeys, nil
	}
	for key := range strings.SplitSeq(text, ",") {
		if _, err := keyByte(key); err != nil {
			return "", err
		}
	}
	return text, nil
}

const (
	noKeys      = "none"
	defaultKeys = "ctrl-p,ctrl-q"
)

func keyByte(key string) (byte, error) {
	if letter, control := strings.CutPrefix(key, "ctrl-"); control && len(letter) == 1 {
		c := letter[0] &^ 0x20 // upper case
		if letter[0] >= '@' && letter[0] <= '_' {
			c = letter[0]
		}
		if c >= '@' && c <= '_' {
			return c - '@', nil
		}
	}
	if len(key) == 1 && key[0] > ' ' && key[0] < 0x7f {
		return key[0], nil
	}
	return 0, fmt.Errorf("%q is no key; write single characters or ctrl-LETTER, with commas between, as ctrl-p,ctrl-q", key)
}

// keysOf are the bytes that leave an attached container; none, if nothing does.
func keysOf(text string) []byte {
	switch text {
	case noKeys:
		return nil
	case "":
		text = defaultKeys
	}
	var list []byte
	for key := range strings.SplitSeq(text, ",") {
		if b, err := keyByte(key); err == nil {
			list = append(list, b)
		}
	}
	return list
}

// keyFinder finds the keys that leave a container among those that are typed.
type keyFinder struct {
	all  []byte
	have int // of all, kept back until it is clear whether they are meant
}

// look returns what is for the container, and whether the keys came.
func (f *keyFinder) look(typed []byte) (data []byte, leave bool) {
	if len(f.all) == 0 {
		return typed, false
	}
	for _, b := range typed {
		for f.have > 0 && f.all[f.have] != b {
			// The end of what was kept back may be a new beginning.
			next := f.have - 1
			for !bytes.HasSuffix(f.all[:f.have], f.all[:next]) {
				next--
			}
			data = append(data, f.all[:f.have-next]...)
			f.have = next
		}
		if f.all[f.have] != b {
			data = append(data, b)
			continue
		}
		if f.have++; f.have == len(f.all) {
			f.have = 0
			return data, true
		}
	}
	return data, false
}

// rest is what was kept back when no more will come.
func (f *keyFinder) rest() []byte { return f.all[:f.have] }
