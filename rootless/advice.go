package rootless

import "strings"

// shellWord is a text as a shell reads it back.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:@%=", r)
	}
	if text != "" && strings.TrimLeftFunc(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// mountFlag is how a directory of the host is mounted: -v has no way to write a
// colon.
func mountFlag(source string) string {
	if strings.Contains(source, ":") {
		return "--mount " + shellWord("type=bind,src="+source+",dst=/src")
	}
	return "-v " + shellWord(source+":/src")
}
