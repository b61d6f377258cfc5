package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/clients/go"
)

func (a *agent) connect(ctx context.Context, c *command) (outcome, error) {
	options := []holdfast.Option{
		holdfast.WithTTL(c.TTL.span()),
		holdfast.WithPatience(c.Timeout.span()),
		holdfast.WithDialTimeout(c.Timeout.span()),
	}
	if c.Token != "" {
		options = append(options, holdfast.WithToken(c.Token))
	}
	if strings.HasPrefix(c.Address, "https://") {
		config, err := tlsConfig(c)
		if err != nil {
			return nil, err
		}
		options = append(options, holdfast.WithTLS(config))
	}
	client, err := holdfast.Dial(ctx, c.Address, options...)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.client = client
	return nil, nil
}

func tlsConfig(c *command) (*tls.Config, error) {
	config := &tls.Config{}
	if c.CA != "" {
		ca, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("ca: no certificate in %s", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func (a *agent) acquire(ctx context.Context, client *holdfast.Client, c *command) (outcome, error) {
	options := []holdfast.AcquireOption{
		holdfast.OnPosition(func(position int) {
			a.say(c.ID, "position", outcome{"position": position})
		}),
	}
	if c.Wait != nil {
		options = append(options, holdfast.Wait(c.Wait.span()))
	}
	grant, err := client.Lock(c.Lock).Acquire(ctx, options...)
	if err != nil {
		return nil, err
	}
	took := now()
	a.keep(c.ID, grant)
	go func() {
		select {
		case <-grant.Lost():
			a.say(c.ID, "lost", nil)
		case <-grant.Context().Done():
			// Both are so when it was lost.
			select {
			case <-grant.Lost():
				a.say(c.ID, "lost", nil)
			default:
			}
		}
	}()
	return outcome{"took": took, "token": grant.FencingToken()}, nil
}

func (a *agent) release(ctx context.Context, c *command) (outcome, error) {
	grant, err := take[*holdfast.Grant](a, c.Of)
	if err != nil {
		return nil, err
	}
	gave := now()
	return outcome{"gave": gave}, grant.Release(ctx)
}

// believe looks again and again whether the grant is held, until the command is ended.
func (a *agent) believe(c *command, end <-chan struct{}) (outcome, error) {
	grant, err := take[*holdfast.Grant](a, c.Of)
	if err != nil {
		return nil, err
	}
	var believed, lost int64
	looks, revived, ended := 0, false, false
	for {
		// The moment before the look: nothing that comes between them can make it wrong.
		moment := now()
		looks++
		if grant.Err() == nil {
			believed = moment
			revived = revived || lost > 0
		} else if lost == 0 {
			lost = now()
		}
		if ended {
			return outcome{"believed": believed, "lost": lost, "looks": looks, "revived": revived}, nil
		}
		select {
		case <-end:
			ended = true
		case <-time.After(c.Every.span()):
		}
	}
}

func createFifo(ctx context.Context, client *holdfast.Client, c *command) (outcome, error) {
	accept, done := c.Accept.span(), c.Done.span()
	err := client.Fifo(c.Fifo).Create(ctx, holdfast.FifoOptions{Accept: &accept, Done: &done})
	if errors.Is(err, holdfast.ErrExists) {
		err = nil
	}
	return nil, err
}

func (a *agent) wait(ctx context.Context, c *command) (outcome, error) {
	ticket, err := take[*holdfast.Ticket](a, c.Of)
	if err != nil {
		return nil, err
	}
	err = ticket.Wait(ctx, func(place holdfast.Place) {
		a.say(c.ID, "position", outcome{"position": place.Position})
	})
	return outcome{"took": now()}, err
}

func (a *agent) complete(ctx context.Context, c *command) (outcome, error) {
	ticket, err := take[*holdfast.Ticket](a, c.Of)
	if err != nil {
		return nil, err
	}
	gave := now()
	return outcome{"gave": gave}, ticket.Done(ctx)
}

// turn has a turn, which extends itself, until the command is ended.
func (a *agent) turn(
	ctx context.Context,
	client *holdfast.Client,
	c *command,
	end <-chan struct{},
) (outcome, error) {
	var gave int64
	err := client.Fifo(c.Fifo).Turn(ctx, func(ctx context.Context) error {
		a.say(c.ID, "took", nil)
		select {
		case <-end:
			gave = now()
			return nil
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), holdfast.ErrLost) {
				a.say(c.ID, "lost", nil)
			}
			return context.Cause(ctx)
		}
	})
	return outcome{"gave": gave}, err
}

func popOptions(c *command) []holdfast.PopOption {
	if c.Wait == nil {
		return nil
	}
	return []holdfast.PopOption{holdfast.PopWait(c.Wait.span())}
}

func popped(item *holdfast.Item, err error) (outcome, error) {
	if errors.Is(err, holdfast.ErrEmpty) {
		return outcome{"value": nil}, nil
	}
	if err != nil {
		return nil, err
	}
	return outcome{"value": string(item.Data)}, nil
}

func add(ctx context.Context, value *holdfast.Value) (outcome, error) {
	after, err := value.Transform(ctx, func(before holdfast.Stored) ([]byte, error) {
		if before.Revision == 0 {
			return []byte("1"), nil
		}
		sum, err := strconv.Atoi(string(before.Data))
		return []byte(strconv.Itoa(sum + 1)), err
	})
	if err != nil {
		return nil, err
	}
	sum, err := strconv.Atoi(string(after.Data))
	return outcome{"sum": sum}, err
}
