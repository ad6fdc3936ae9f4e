package main

import (
	"io"
	"os"

	"bryo/fsroot/order"
	"bryo/fsroot/pack"
	"bryo/fsroot/tree"
)

// packInto makes an image. Of the descriptors the last ones are its layers; one
// before them is the configuration of the image that it is made of.
func packInto(out int, args []string, outcome *tree.Outcome) error {
	last := len(args) - 1
	what, err := order.ParsePack(args[last])
	if err != nil {
		return err
	}
	fds, err := descriptors(args[:last]...)
	if err != nil {
		return err
	}
	request := pack.Request{Pack: what, Out: os.NewFile(uintptr(out), "image"), Layers: fds}
	if len(fds) > len(what.Upper) {
		const most = 4 << 20
		if request.Base, err = io.ReadAll(io.LimitReader(os.NewFile(uintptr(fds[0]), "configuration"), most)); err != nil {
			return err
		}
		request.Layers = fds[1:]
	}
	if err := confineSelf(out, request.Layers...); err != nil {
		return err
	}
	report, err := pack.Pack(request)
	if report != nil {
		outcome.Report = *report
	}
	return err
}
