package main

import (
	"context"
	"sync"

	"bryo/netslirp"
	"bryo/netslirp/peers"
)

// another is another project's program as the container's network: slirp4netns
// or pasta. bryo-net sees to it that it ends with the container.
type another struct {
	config  *netslirp.Config
	process *peers.Process
	published
}

func (p *another) start(ctx context.Context) (err error) {
	if p.process, err = peers.Start(ctx, p.config.Driver, *p.config); err != nil {
		return err
	}
	return p.open(ctx, p.config, nil)
}

func (p *another) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	if p.listener != nil {
		wg.Go(func() { _ = p.ports.Serve(ctx, p.listener) })
	}
	wg.Go(func() {
		<-ctx.Done()
		p.process.Stop()
	})
	err := p.process.Wait()
	cancel()
	return err
}

func (p *another) stop() {
	p.close()
	if p.process != nil {
		p.process.Stop()
	}
}
