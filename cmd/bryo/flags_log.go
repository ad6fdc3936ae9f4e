package main

import (
	"fmt"
	"strconv"

	"bryo/rootless/logs"
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

// parseLogFiles takes no 0: some file has to be written.
func parseLogFiles(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > logs.MostFiles {
		return 0, fmt.Errorf("%q is no number of files to keep\nfix: write one from 1 to %d; %d by default", text, logs.MostFiles, logs.DefaultFiles)
	}
	return n, nil
}
