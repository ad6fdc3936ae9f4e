package host

import (
	"strings"
	"unicode"
)

// FixScript is a POSIX shell script for the administrator with what findings
// have to be run as root. Nothing here runs it.
func FixScript(findings []Finding) string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# What lets bryo run on this host. Read it, then run it as root.\nset -eu\n" +
		"if [ \"$(id -u)\" != 0 ]; then echo 'run this as root' >&2; exit 1; fi\n")
	done := make(map[string]bool)
	for i := range findings {
		f := &findings[i]
		if f.Script == "" || done[f.Script] {
			continue
		}
		done[f.Script] = true
		b.WriteString("\n# " + f.ID + ": " + oneLine(f.Cause) + "\n" + f.Script)
	}
	if len(done) == 0 {
		b.WriteString("\n# There is nothing for root to do.\n")
	}
	return b.String()
}

// oneLine keeps a path or a program's output from ending a comment.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// quote makes one word of the shell.
func quote(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+"
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !strings.ContainsRune(plain, r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// setSysctl sets it now and at every boot.
func setSysctl(name, value string) string {
	return "sysctl -w " + name + "=" + quote(value) + "\n" +
		keep("/etc/sysctl.d", "90-bryo-"+strings.ReplaceAll(name, ".", "-")+".conf", name+" = "+value)
}

// loadModule loads it now and at every boot. It may be built in.
func loadModule(name string) string {
	return "modprobe " + name + " || true\n" + keep("/etc/modules-load.d", "bryo-"+name+".conf", name)
}

// keep writes a file for the next boot, on hosts that have such a directory.
func keep(dir, file, line string) string {
	return "[ ! -d " + dir + " ] || echo " + quote(line) + " >" + dir + "/" + file + "\n"
}

// appArmorScript writes a profile that confines nothing and allows user
// namespaces, for the executables at this path. A path that users can write
// to would pass the permission on to whatever they put there.
func appArmorScript(program string) string {
	if program == "" || oneLine(program) != program {
		return ""
	}
	return "cat >/etc/apparmor.d/bryo <<'END'\n" +
		"abi <abi/4.0>,\ninclude <tunables/global>\n\n" +
		"profile bryo \"" + appArmorPath(program) + "{,-oci}\" flags=(unconfined) {\n" +
		"  userns,\n  include if exists <local/bryo>\n}\nEND\n" +
		"apparmor_parser -r /etc/apparmor.d/bryo\n"
}

// appArmorPath escapes what a profile would take for a pattern or a variable.
func appArmorPath(path string) string {
	var b strings.Builder
	for _, r := range path {
		if strings.ContainsRune(`\?*[]{}^"@`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
