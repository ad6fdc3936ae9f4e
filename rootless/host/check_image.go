package host

import (
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// lookImage finds bryo-image and asks it what it is.
func lookImage() imageProgram {
	p := imageProgram{path: Companion("bryo-image")}
	if info, is := debug.ReadBuildInfo(); is {
		p.own = info.Main.Version
	}
	if p.path != "" {
		p.build = askBuild(p.path)
	}
	return p
}

func askBuild(path string) string {
	const most, patience = 200, 5 * time.Second
	read, write, err := os.Pipe()
	if err != nil {
		return ""
	}
	defer read.Close()
	process, err := os.StartProcess(path, []string{path, "version"}, &os.ProcAttr{Env: []string{}, Files: []*os.File{nil, write, nil}})
	_ = write.Close()
	if err != nil {
		return ""
	}
	_ = read.SetReadDeadline(time.Now().Add(patience))
	said, _ := io.ReadAll(io.LimitReader(read, most))
	_ = process.Kill() // it has said all, or never will
	_, _ = process.Wait()
	return strings.TrimSpace(string(said))
}
