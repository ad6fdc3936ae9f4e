package main

import (
	_ "embed"
	"errors"
	"fmt"
)

const completionAbout = `Installed scripts are found by the shells.
One that is not is read in, as in: source <(bryo completion bash), or: bryo completion fish | source.`

const completionFix = "\nfix: bryo completion bash, zsh or fish"

// The scripts ask bryo complete, and hold nothing of the table of commands.
var (
	//go:embed completion/bryo.bash
	bashCompletion string
	//go:embed completion/bryo.zsh
	zshCompletion string
	//go:embed completion/bryo.fish
	fishCompletion string
)

func completions() []struct{ shell, script string } {
	return []struct{ shell, script string }{
		{"bash", bashCompletion}, {"zsh", zshCompletion}, {"fish", fishCompletion},
	}
}

func shells() []string {
	var list []string
	for _, c := range completions() {
		list = append(list, c.shell)
	}
	return list
}

// runCompletion prints the script that teaches a shell to complete bryo's
// command line.
func runCompletion(args []string, s streams) int {
	if len(args) != 1 {
		return report(s, errors.New("completion takes a shell"+completionFix))
	}
	for _, c := range completions() {
		if c.shell == args[0] {
			return write(s, c.script)
		}
	}
	return report(s, fmt.Errorf("there is no completion for %q%s", args[0], completionFix))
}
