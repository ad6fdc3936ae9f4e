package main

import (
	"fmt"
	"strings"

	"bryo/fsroot"
)

// parseLogFormat says whether a format is the plain one.
func parseLogFormat(text string) (plain bool, err error) {
	switch text {
	case "json", "json-file":
		return false, nil
	case "plain", "k8s-file":
		return true, nil
	default:
		return false, fmt.Errorf("%q: write json or plain", text)
	}
}

func parseLogSize(text string) (int64, error) {
	size, err := fsroot.ParseSize(text)
	return int64(size), err
}

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
