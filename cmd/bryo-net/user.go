package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"bryo/netslirp"
	"bryo/netslirp/dns"
	"bryo/netslirp/loop"
	"bryo/netslirp/ports"
	"bryo/netslirp/stack"
)

// resolvConf is the host's, which every question goes by: resolv.conf(5).
const resolvConf = "/etc/resolv.conf"

// user is bryo's own stack.
type user struct {
	config *netslirp.Config

	stack     *stack.Stack
	resolver  *dns.Resolver
	log       *flowLog
	packets   *capture
	published published
}

func (u *user) start(ctx context.Context) (err error) {
	device, err := receiveDevice()
	if err != nil {
		return err
	}
	routes, err := openRoutes()
	if err != nil {
		return err
	}
	var refused func(name string)
	if u.config.Log {
		u.log = &flowLog{file: os.NewFile(netslirp.LogFD, "net-log")}
		refused = u.log.refused
	}
	names := dns.NewNames()
	policy := netslirp.Policy{Rules: u.config.Rules, Default: u.config.Default}
	u.resolver = dns.New(dns.Options{
		Nameservers: u.config.Nameservers, ResolvConf: resolvConf, Learn: names.Learn, Allowed: policy.AllowsName, Refused: refused,
	})
	decider := &decider{loopback: u.config.HostLoopback, policy: policy, names: names.Lookup, host: routes.host}
	options := stack.Options{
		FD: device, Ethernet: u.config.Link == netslirp.Veth, MTU: u.config.MTU, Decide: decider.decide,
		DNS: u.resolver, Rate: u.config.Rate, UDPIdle: u.config.UDPIdle,
	}
	if u.log != nil {
		options.Log = u.log.add
	}
	if u.config.Pcap {
		if u.packets, err = newCapture(os.NewFile(netslirp.PcapFD, "pcap")); err != nil {
			return err
		}
		options.Tap = u.packets.add
	}
	if u.stack, err = stack.New(options); err != nil {
		return err
	}
	if err := u.published.open(ctx, u.config, u.stack.Loop()); err != nil {
		return err
	}
	return confineSelf(resolverDirs(), u.published.ports != nil)
}

// resolverDirs are the directories that resolv.conf is read from, by its name
// and where its link leads now: a directory outlives a file that is replaced.
func resolverDirs() []string {
	dirs := []string{filepath.Dir(resolvConf)}
	if target, err := filepath.EvalSymlinks(resolvConf); err == nil && filepath.Dir(target) != dirs[0] {
		dirs = append(dirs, filepath.Dir(target))
	}
	return dirs
}

func (u *user) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var served error
	if u.published.listener != nil {
		wg.Go(func() { served = u.published.ports.Serve(ctx, u.published.listener) })
	}
	err := u.stack.Run(ctx)
	cancel()
	wg.Wait()
	return errors.Join(err, served)
}

func (u *user) stop() {
	u.published.close()
	if u.stack != nil {
		u.stack.Close()
	}
	if u.resolver != nil {
		u.resolver.Close()
	}
	if u.packets != nil {
		u.packets.close()
	}
}

// published are the ports of the host that lead into the container.
type published struct {
	ports    *ports.Ports
	listener net.Listener
	lifeline *os.File
	dir      string
}

// order is what the side in the container is told.
type order struct {
	Opaque map[string]string
	Remove []string // when bryo-net has ended, however it did
}

// open binds the ports that are asked for; their connections are on the loop, or
// on one of their own.
func (p *published) open(ctx context.Context, config *netslirp.Config, on *loop.Loop) (err error) {
	if !config.Ports() {
		return nil
	}
	p.lifeline = os.NewFile(netslirp.InsideFD, "inside")
	if p.dir, err = ports.MakeDir(os.TempDir()); err != nil {
		return err
	}
	if p.ports, err = ports.New(ports.Options{Dir: p.dir, Loop: on}); err != nil {
		return errors.Join(err, os.RemoveAll(p.dir))
	}
	tell := order{Opaque: p.ports.Opaque(), Remove: []string{p.dir}}
	if config.PortSocket != "" {
		if p.listener, err = ports.Listen(config.PortSocket); err != nil {
			return errors.Join(err, os.RemoveAll(p.dir))
		}
		tell.Remove = append(tell.Remove, config.PortSocket)
	}
	text, err := json.Marshal(tell)
	if err != nil {
		return err
	}
	if _, err := p.lifeline.Write(append(text, '\n')); err != nil {
		return err
	}
	if err := p.ports.Ready(ctx); err != nil { // what it opens cannot be opened later
		return err
	}
	return p.publish(ctx, config.Publish)
}

// publish adds ports, and tells of those that bryo chose.
func (p *published) publish(ctx context.Context, list []netslirp.Publish) error {
	for _, publish := range list {
		added, err := p.ports.Add(ctx, publish)
		if err != nil {
			return err
		}
		if publish.HostPort == 0 {
			fmt.Fprintf(os.Stderr, "bryo: published %s\n", added)
		}
	}
	return nil
}

func (p *published) close() {
	if p.listener != nil {
		_ = p.listener.Close()
	}
	if p.ports != nil {
		p.ports.Close()
	}
	if p.lifeline != nil {
		_ = p.lifeline.Close() // the other side removes what is left
	}
}
