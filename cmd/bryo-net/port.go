package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"bryo/netslirp"
	"bryo/netslirp/ports"
)

// askPorts is the client of another bryo-net, which bryo port executes:
//
//	bryo-net port SOCKET ls
//	bryo-net port SOCKET add PUBLISH...
//	bryo-net port SOCKET rm ID...
//
// It prints the ports that there are, or that were added, as JSON.
func askPorts(args []string, out io.Writer) error {
	const least = 2
	if len(args) < least {
		return errors.New("bryo port starts this program; there is nothing to do by hand")
	}
	ctx, client, operands := context.Background(), ports.Dial(args[0]), args[least:]
	var list []netslirp.Published
	var err error
	switch args[1] {
	case "ls":
		list, err = client.List(ctx)
	case "add":
		list, err = addPorts(ctx, client, operands)
	case "rm":
		err = removePorts(ctx, client, operands)
	default:
		return errors.New("bryo port starts this program; there is nothing to do by hand")
	}
	return errors.Join(err, json.NewEncoder(out).Encode(list))
}

// addPorts adds all or none.
func addPorts(ctx context.Context, client *ports.Client, texts []string) (added []netslirp.Published, err error) {
	var wanted []netslirp.Publish
	for _, text := range texts {
		list, err := netslirp.ParsePublish(text)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, list...)
	}
	for _, publish := range wanted {
		one, err := client.Add(ctx, publish)
		if err != nil {
			for _, a := range added {
				_ = client.Remove(ctx, a.ID)
			}
			return nil, err
		}
		added = append(added, one)
	}
	return added, nil
}

func removePorts(ctx context.Context, client *ports.Client, ids []string) error {
	for _, text := range ids {
		id, err := strconv.Atoi(text)
		if err == nil {
			err = client.Remove(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
