package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	ossignal "os/signal"
	"syscall"

	"bryo/fsroot/fetch"
	"bryo/rootless/host"
	"bryo/rootless/launch"
)

// fetch has bryo-image download an image, and shows how far it is. A signal that
// asks bryo to end ends it; what there is of the image stays.
func (o *pulling) fetch(layout *os.File, s streams) (*fetch.Image, error) {
	o.request.MostBytes = o.bytes
	path := host.Companion("bryo-image")
	if path == "" {
		return nil, errNoImageHelper()
	}
	ends := make(chan os.Signal, 1)
	notifyEnds(ends)
	defer ossignal.Stop(ends)
	f, err := startFetch(path, layout, &o.request)
	if err != nil {
		return nil, err
	}
	defer f.report.Close()
	shown := newProgress(s, o.quiet)
	told := make(chan error)
	go func() { told <- f.follow(shown) }()
	var signal os.Signal
	for waiting := true; waiting; {
		select {
		case err = <-told:
			waiting = false
		case signal = <-ends:
			_ = f.life.Close()
		}
	}
	_ = f.life.Close() // it may be a second time
	ended, waitErr := f.process.Wait()
	shown.end()
	number, is := signal.(syscall.Signal)
	switch {
	case is:
		return nil, &launch.EndedError{Signal: number}
	case err != nil:
		return nil, err
	case waitErr != nil:
		return nil, waitErr
	case !f.finished || f.image == nil || !ended.Success():
		return nil, fmt.Errorf("bryo-image: %s", ended)
	}
	return f.image, nil
}

// fetching is a download by another process.
type fetching struct {
	process      *os.Process
	life, report *os.File // it ends when life does
	image        *fetch.Image
	finished     bool
}

// startFetch hands over the request, which is not for others to see, by a pipe.
func startFetch(path string, layout *os.File, request *fetch.Request) (f *fetching, err error) {
	var files [2][2]*os.File
	for i := range files {
		if files[i][0], files[i][1], err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	in, out := files[0], files[1]
	defer in[0].Close()
	defer out[1].Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	f = &fetching{life: in[1], report: out[0]}
	argv := []string{"bryo-image", "fetch", "3", "4"}
	f.process, err = os.StartProcess(path, argv, &os.ProcAttr{
		Env:   os.Environ(), // proxies, credential helpers and where settings are
		Files: []*os.File{in[0], null, os.Stderr, layout, out[1]},
	})
	if err != nil {
		return nil, errors.Join(err, f.life.Close(), f.report.Close())
	}
	// It reads all of it before anything else; if it has ended, that is told otherwise.
	_ = json.NewEncoder(f.life).Encode(request)
	return f, nil
}

// follow reads what is told until there is no more of it. Who tells it has
// spoken with a registry: nothing of it reaches a terminal as it is.
func (f *fetching) follow(shown *progress) error {
	const most = 1 << 20
	lines := bufio.NewScanner(f.report)
	lines.Buffer(nil, most)
	var failed error
	for lines.Scan() {
		var e fetch.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("bryo-image: %w", err)
		}
		switch {
		case e.Error != "":
			failed = errors.New(e.Error)
		case e.Image != nil:
			f.image = e.Image
		case e.Finished:
			f.finished = true
		}
		shown.show(&e)
	}
	return errors.Join(failed, lines.Err())
}
