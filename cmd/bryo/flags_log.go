package main

import (
	"fmt"

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
