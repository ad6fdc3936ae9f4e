package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// pss returns the proportional set size of a process in KiB.
func pss(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	return parsePSS(string(text))
}

// parsePSS reads smaps_rollup, proc_pid_smaps(5).
func parsePSS(text string) (int, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
		}
	}
	return 0, errors.New("no line Pss")
}

// sizes are the memory of some processes.
type sizes struct {
	KiB        int
	Unreadable int // how many could not be asked
}

// weigh asks the kernel about each process. Those that are not dumpable answer
// only to root.
func weigh(pids []int) (sizes, error) {
	s := sizes{}
	for _, pid := range pids {
		if kib, err := pss(pid); err == nil {
			s.KiB += kib
		} else {
			s.Unreadable++
		}
	}
	return s, nil
}

// The measuring process is no root. It asks its parent, who is:
//
//	measure --[ 12, 15, 16 \n ]--> world
//	measure <-[ KiB unreadable \n ]-- world
//
// both as JSON.

// weigher answers one question after the other until there are no more.
func weigher(questions io.Reader, answers io.Writer) error {
	lines := bufio.NewScanner(questions)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		pids := []int{}
		if err := json.Unmarshal(lines.Bytes(), &pids); err != nil {
			return fmt.Errorf("read pids: %w", err)
		}
		s, _ := weigh(pids)
		if err := json.NewEncoder(answers).Encode(s); err != nil {
			return err
		}
	}
	return lines.Err()
}

// asker returns a weigh that asks the weigher.
func asker(questions io.Writer, answers io.Reader) func([]int) (sizes, error) {
	decoder := json.NewDecoder(answers)
	return func(pids []int) (sizes, error) {
		if err := json.NewEncoder(questions).Encode(pids); err != nil {
			return sizes{}, fmt.Errorf("ask for memory: %w", err)
		}
		s := sizes{}
		if err := decoder.Decode(&s); err != nil {
			return sizes{}, fmt.Errorf("read memory: %w", err)
		}
		return s, nil
	}
}
